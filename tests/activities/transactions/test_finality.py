"""When a deal's transactions cannot be undone any more, and giving up what was never signed."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from temporalio.testing import ActivityEnvironment

from domain.chains import Finality
from domain.deals import Step
from domain.errors import NotAllowed, Unavailable
from domain.tracking import Receipt
from domain.transactions import PreparedBatch
from tests.activities.desk import Desk
from tests.activities.rpc.front import front_of
from tests.activities.transactions.delivering import (
    executions,
    outcome_of,
    recording,
    until,
)

DEPTH = Finality(kind="depth", depth=3)
TAG = Finality(kind="tag")


@asynccontextmanager
async def finalizing(desk: Desk) -> AsyncIterator[asyncio.Task[tuple[Receipt, ...]]]:
    """A wait for finality that goes on while the test does something else."""
    waiting = asyncio.create_task(desk.finalize())
    try:
        yield waiting
    finally:
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)


class TestDepth:
    async def test_at_depth_0_a_transaction_is_final_when_it_is_mined(self, desk: Desk) -> None:
        async with desk.over(finality=Finality(kind="depth", depth=0)) as bold:
            delivery = await bold.deliver(await desk.signed(await recording(desk)))
            assert delivery.final
            assert await desk.states(await recording(desk)) == ["INCLUDED"]
            await bold.finalize()
        assert await desk.states(await recording(desk)) == ["FINALIZED"]

    async def test_otherwise_it_is_final_when_as_many_blocks_stand_on_it(self, desk: Desk) -> None:
        batch = await recording(desk, 2)
        async with desk.over(finality=DEPTH) as careful:
            delivery = await careful.deliver(await desk.signed(batch))
            assert not delivery.final
            assert await desk.states(batch) == ["INCLUDED", "INCLUDED"]
            async with finalizing(careful) as waiting:
                for _ in range(3):
                    await asyncio.sleep(0.05)
                    assert not waiting.done()
                    desk.node.mine()
                assert len(await asyncio.wait_for(waiting, 5)) == 2
        assert await desk.states(batch) == ["FINALIZED", "FINALIZED"]

    async def test_what_is_deep_enough_when_it_is_found_is_final_at_once(self, desk: Desk) -> None:
        order = await desk.signed(await recording(desk))
        await desk.store.save_attempts(order.batch, order.signed)
        desk.node.ask("eth_sendRawTransaction", order.signed[0].raw)
        desk.node.mine(3)
        async with desk.over(finality=DEPTH) as careful:
            assert (await careful.deliver(order)).final

    async def test_waiting_for_it_does_not_flood_the_node(self, desk: Desk) -> None:
        async with front_of(desk.node.url) as front:
            async with desk.over(
                front.url, finality=DEPTH, limits={"poll_interval_seconds": 0.05}
            ) as careful:
                await careful.deliver(await desk.signed(await recording(desk)))
                before = len(front.requests)
                async with finalizing(careful):
                    await asyncio.sleep(0.5)
            assert len(front.requests) - before < 30


class TestTag:
    async def test_it_is_final_when_the_node_says_so(self, desk: Desk) -> None:
        batch = await recording(desk)
        async with desk.over(finality=TAG) as careful:
            delivery = await careful.deliver(await desk.signed(batch))
            assert not delivery.final
            mined = outcome_of(delivery).inclusions[0].block_number
            async with finalizing(careful) as waiting:
                await asyncio.sleep(0.05)
                assert not waiting.done()
                desk.node.mine(200)  # the node calls a block final that so many stand upon
                assert len(await asyncio.wait_for(waiting, 5)) == 1
        assert int(desk.node.block("finalized")["number"], 16) >= mined
        assert await desk.states(batch) == ["FINALIZED"]

    async def test_a_node_that_knows_no_final_block_yet_is_waited_for(self, desk: Desk) -> None:
        async with (
            front_of(desk.node.url) as front,
            desk.over(front.url, finality=TAG, block_time_seconds=0) as careful,
        ):
            await careful.deliver(await desk.signed(await recording(desk)))
            desk.node.mine(200)
            front.lies["eth_getBlockByNumber"] = _not_final_yet
            async with finalizing(careful) as waiting:
                await until(lambda: front.count("eth_getBlockByNumber") > 1)
                assert not waiting.done()
                front.lies.clear()
                assert len(await asyncio.wait_for(waiting, 5)) == 1


class TestUndone:
    async def test_a_lagging_answer_undoes_nothing(self, desk: Desk) -> None:
        batch = await recording(desk)
        async with (
            front_of(desk.node.url) as front,
            desk.over(front.url, finality=DEPTH) as careful,
        ):
            await careful.deliver(await desk.signed(batch))
            front.lies["eth_getTransactionReceipt"] = _nowhere
            async with finalizing(careful) as waiting:
                await until(lambda: front.count("eth_getBlockByNumber") > 3)
                assert await desk.states(batch) == ["INCLUDED"]
                desk.node.mine(3)
                assert len(await asyncio.wait_for(waiting, 5)) == 1
        assert await desk.states(batch) == ["FINALIZED"]
        assert executions(desk.node, batch) == [1]

    async def test_what_comes_back_is_sent_again_and_ends_up_in_another_block(
        self, desk: Desk
    ) -> None:
        batch = await recording(desk, 2)
        node = desk.node
        async with desk.over(finality=DEPTH) as careful:
            before = node.ask("evm_snapshot")
            outcome = outcome_of(await careful.deliver(await desk.signed(batch)))
            assert node.ask("evm_revert", before)
            node.mine()  # so that they end up in a higher one
            async with finalizing(careful) as waiting:
                await until(lambda: executions(node, batch) == [1, 1])
                node.mine(3)
                receipts = await asyncio.wait_for(waiting, 5)
        assert [r.transaction_hash for r in receipts] == [
            i.transaction_hash for i in outcome.inclusions
        ]
        assert all(
            receipt.block_hash != inclusion.block_hash
            for receipt, inclusion in zip(receipts, outcome.inclusions, strict=True)
        )
        assert await desk.states(batch) == ["FINALIZED", "FINALIZED"]

    async def test_a_node_that_is_away_is_unavailable(self, desk: Desk) -> None:
        async with front_of(desk.node.url) as front, desk.over(front.url, finality=DEPTH) as other:
            await other.deliver(await desk.signed(await recording(desk)))
            front.down = True
            with pytest.raises(Unavailable):
                await other.finalize()


def _not_final_yet(params: Any, block: Any) -> Any:
    return None if params[0] == "finalized" else block


def _nowhere(_: Any, __: Any) -> None:
    return None


async def test_a_deal_without_transactions_is_final(desk: Desk) -> None:
    assert await desk.finalize() == ()


class TestGivingUp:
    async def give_up(self, desk: Desk, batch: PreparedBatch) -> PreparedBatch | None:
        fill: PreparedBatch | None = await ActivityEnvironment().run(
            desk.engine.abandon_batch, batch
        )
        return fill

    async def test_what_was_never_signed_leaves_no_gap(self, desk: Desk) -> None:
        await desk.run(Step.FUND)
        batch = await desk.prepare(Step.WRAP)
        assert await self.give_up(desk, batch) is None
        await desk.run(Step.WRAP, attempt=2)
        assert desk.node.nonce(desk.account) == 1

    async def test_what_others_follow_is_filled_and_they_go_on(self, desk: Desk) -> None:
        first, second = await recording(desk, 2, number=1), await recording(desk, 1, number=2)
        fill = await self.give_up(desk, first)
        assert fill is not None
        outcome = outcome_of(await desk.deliver(await desk.signed(fill)))
        assert outcome.problem is None
        assert outcome.changes == {}
        outcome_of(await desk.deliver(await desk.signed(second)))
        assert executions(desk.node, first) == [0, 0]
        assert executions(desk.node, second) == [1]
        assert desk.node.nonce(desk.account) == 3

    async def test_what_was_sent_is_not_given_up(self, desk: Desk) -> None:
        batch = await recording(desk)
        await desk.deliver(await desk.signed(batch))
        with pytest.raises(NotAllowed):
            await self.give_up(desk, batch)
