"""Watching over what no delivery looks after, on a real node that goes back, forgets and waits."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pytest

from activities.transactions.interface import (
    Action,
    FillNonce,
    ReleaseChain,
    SendAttempts,
    TransactionView,
)
from activities.transactions.monitor import ChainMonitor
from activities.transactions.tracker import Look, Tracker
from domain.chains import Finality
from domain.errors import Unavailable
from domain.identifiers import ChainId
from domain.tracking import Notice
from domain.transactions import IntentState, PreparedBatch
from tests.activities.chain import CHAIN, ETHER, GWEI
from tests.activities.desk import Desk
from tests.activities.rpc.front import front_of
from tests.activities.transactions.delivering import (
    SOON,
    executions,
    outcome_of,
    pending,
    recording,
)
from tests.support.desk import eventually

DEPTH = Finality(kind="depth", depth=4)
FORGETFUL = Finality(kind="depth", depth=4, on_violation="resend")


@dataclass
class Watch:
    """A monitor, and what it has told and asked for."""

    desk: Desk
    told: list[Notice] = field(default_factory=list)
    filled: list[FillNonce] = field(default_factory=list)
    deaf: bool = False

    @cached_property
    def monitor(self) -> ChainMonitor:
        """The monitor of this process."""
        return self.another()

    def another(self) -> ChainMonitor:
        """The monitor of another process."""
        return self.desk.engine.monitor(self.tell, self.fill)

    async def tell(self, notice: Notice) -> None:
        if self.deaf:
            raise Unavailable("nobody hears", next_action="speak louder")
        self.told.append(notice)

    async def fill(self, order: FillNonce) -> None:
        self.filled.append(order)

    async def looks(self, times: int = 1) -> None:
        for _ in range(times):
            await self.monitor.round()

    async def looks_until(self, batch: PreparedBatch, state: str) -> None:
        """Look again and again: a node mines a moment after it has answered."""
        async with asyncio.timeout(SOON):
            while set(await self.desk.states(batch)) != {state}:
                await self.looks()

    async def alerts(self) -> list[str]:
        rows = await self.desk.sql(
            "SELECT kind FROM transactions.alerts WHERE cleared_at IS NULL ORDER BY alert_id"
        )
        return [str(row[0]) for row in rows]

    async def observed(self) -> dict[str, Any]:
        await self.desk.sql(
            "INSERT INTO transactions.chain_status (chain_id, watcher, watches_until)"
            " VALUES (138, 'test', now()) ON CONFLICT DO NOTHING"
        )
        await self.looks()
        ((observed,),) = await self.desk.sql("SELECT observed FROM transactions.chain_status")
        return dict(observed)


@asynccontextmanager
async def watching(desk: Desk, finality: Finality = DEPTH) -> AsyncIterator[Watch]:
    """A process that watches and delivers nothing."""
    async with desk.over(finality=finality) as other:
        yield Watch(other)


async def saved(desk: Desk, count: int = 1, **options: Any) -> PreparedBatch:
    """A batch whose worker died right before it was sent."""
    batch = await recording(desk, count, **options)
    await desk.store.save_attempts(batch, await desk.sign(batch))
    return batch


def view_of(batch: PreparedBatch) -> TransactionView:
    (intent,) = batch.intents
    return TransactionView(
        intent_id=intent.intent_id,
        nonce=intent.nonce,
        state=IntentState.BROADCAST,
        action=Action.REBROADCAST,
        note="",
    )


async def test_what_was_saved_and_never_sent_is_sent(desk: Desk) -> None:
    async with watching(desk) as watch:
        batch = await saved(desk, 3)
        await watch.looks_until(batch, "INCLUDED")
        assert executions(desk.node, batch) == [1, 1, 1]
        desk.node.mine(4)
        await watch.looks_until(batch, "FINALIZED")
    assert executions(desk.node, batch) == [1, 1, 1]
    assert watch.told == []


async def test_what_the_pool_has_dropped_is_back_with_the_next_look(desk: Desk) -> None:
    desk.node.automine(on=False)
    async with watching(desk) as watch:
        batch = await saved(desk, 2)
        await watch.looks()
        rows = await desk.sql("SELECT transaction_hash FROM transactions.attempts")
        assert all(pending(desk.node, str(row[0])) for row in rows)
        desk.node.ask("anvil_dropAllTransactions")
        await watch.looks()
        assert all(pending(desk.node, str(row[0])) for row in rows)
        desk.node.mine()
    assert executions(desk.node, batch) == [1, 1]


async def test_what_was_never_signed_is_never_sent(desk: Desk) -> None:
    async with watching(desk) as watch:
        batch = await recording(desk)
        await watch.looks(2)
    assert await desk.states(batch) == ["PREPARED"]
    assert executions(desk.node, batch) == [0]


@pytest.mark.parametrize("depth", [1, 3])
async def test_an_undone_block_is_told_and_the_same_bytes_are_mined_again(
    desk: Desk, depth: int
) -> None:
    node = desk.node
    async with watching(desk) as watch:
        batch = await saved(desk, 2)
        before = node.ask("evm_snapshot")
        await watch.looks_until(batch, "INCLUDED")
        node.mine(depth - 1)
        assert node.ask("evm_revert", before)
        node.automine(on=False)
        await watch.looks()
        ids = tuple(intent.intent_id for intent in batch.intents)
        (undone,) = watch.told
        assert (undone.deal_id, set(undone.undone)) == (desk.request.deal_id, set(ids))
        assert await desk.states(batch) == ["BROADCAST", "BROADCAST"]
        assert "reorg" in await watch.alerts()
        node.mine()
        await watch.looks()
        again = watch.told[-1]
        assert {receipt.intent_id for receipt in again.mined} == set(ids)
        assert again.notice_id > undone.notice_id
        assert await desk.states(batch) == ["INCLUDED", "INCLUDED"]
        await watch.looks()
    assert len(watch.told) == 2
    assert executions(node, batch) == [1, 1]


async def test_a_deal_that_cannot_be_told_is_told_later(desk: Desk) -> None:
    node = desk.node
    async with watching(desk) as watch:
        batch = await saved(desk)
        before = node.ask("evm_snapshot")
        await watch.looks_until(batch, "INCLUDED")
        assert node.ask("evm_revert", before)
        node.automine(on=False)
        watch.deaf = True
        with pytest.raises(Unavailable):
            await watch.looks()
        watch.deaf = False
        await watch.looks()
        assert [notice.undone for notice in watch.told] == [(batch.intents[0].intent_id,)]


async def test_a_chain_that_takes_back_what_was_final_is_latched_until_somebody_releases_it(
    desk: Desk,
) -> None:
    node = desk.node
    async with watching(desk) as watch:
        node.give_ether(desk.account, ETHER)
        before = node.ask("evm_snapshot")
        batch = await saved(desk)
        await watch.looks_until(batch, "INCLUDED")
        node.mine(5)
        await watch.looks_until(batch, "FINALIZED")
        assert node.ask("evm_revert", before)
        await watch.looks()
        assert await watch.monitor.promises.latched() is None  # it may only be behind
        node.next_base_fee(3 * GWEI)
        node.mine(8)
        await watch.looks(2)
        latched = await watch.monitor.promises.latched()
        assert latched is not None
        assert latched.field == "finality"
        assert "latch" in await watch.alerts()
        assert await desk.states(batch) == ["FINALIZED"]
        assert executions(node, batch) == [0]

        order = ReleaseChain(chain_id=ChainId(CHAIN), who="ann", why="the node was restored")
        released = await desk.temporal.run(watch.desk.engine.release_chain, order)
        assert (released.cleared, released.problem) == (True, latched)
        assert await watch.monitor.promises.latched() is None
        assert await desk.states(batch) == ["BROADCAST"]
        await watch.looks_until(batch, "INCLUDED")
        assert executions(node, batch) == [1]
        again = await desk.temporal.run(watch.desk.engine.release_chain, order)
        assert not again.cleared
        await watch.looks()
        assert await watch.monitor.promises.latched() is None
        rows = await desk.sql("SELECT cleared_by, cleared_why FROM signing.latches")
        assert rows == [("ann", "the node was restored")]
        assert "latch" not in await watch.alerts()


@pytest.mark.parametrize("who", ["monitor", "finalizer"])
async def test_nothing_is_called_final_in_a_block_that_is_gone(desk: Desk, who: str) -> None:
    """Mined and undone between two looks: the newest block of the first one still stands."""
    node = desk.node
    async with watching(desk, Finality(kind="depth", depth=0)) as watch:
        node.give_ether(desk.account, ETHER)
        await watch.looks()
        before = node.ask("evm_snapshot")
        batch = await recording(desk)
        delivery = await watch.desk.deliver(await desk.signed(batch))
        assert delivery.final
        assert node.ask("evm_revert", before)
        node.next_base_fee(GWEI // 2)
        node.mine(3)
        if who == "monitor":
            await watch.looks_until(batch, "FINALIZED")
        else:
            await watch.desk.finalize()
        assert executions(node, batch) == [1]
        ((block_hash,),) = await desk.sql("SELECT block_hash FROM transactions.intents")
        assert block_hash != outcome_of(delivery).inclusions[0].block_hash
        assert node.ask("eth_getBlockByHash", block_hash, False) is not None  # noqa: FBT003 - positional


async def test_what_somebody_else_called_final_meanwhile_is_looked_at_again(desk: Desk) -> None:
    """Two look at once; what the slower one saw may be gone."""
    async with watching(desk, Finality(kind="depth", depth=0)) as watch:
        await watch.looks()
        promises, tracker = watch.monitor.promises, Tracker(watch.desk.profile, watch.desk.rpc)
        checkpoint = await promises.checkpoint()
        assert checkpoint is not None
        desk.node.mine()
        look = await tracker.look([], blocks=[checkpoint[0]])
        assert (await promises.check(look, checkpoint)).final
        assert not (await promises.check(look, checkpoint)).final


async def test_a_look_from_before_a_release_does_not_latch_the_chain_again(desk: Desk) -> None:
    node = desk.node
    async with watching(desk) as watch:
        before = node.ask("evm_snapshot")
        node.mine(5)
        await watch.looks()
        promises, tracker = watch.monitor.promises, Tracker(watch.desk.profile, watch.desk.rpc)
        checkpoint = await promises.checkpoint()
        assert checkpoint is not None
        assert node.ask("evm_revert", before)
        node.next_base_fee(3 * GWEI)
        node.mine(8)
        look = await tracker.look([], blocks=[checkpoint[0]])
        broken = (await promises.check(look, checkpoint)).broken
        assert broken is not None
        await promises.latch(broken, checkpoint)
        assert await promises.latched() is not None
        await promises.release("ann", "the node was restored")
        await promises.latch(broken, checkpoint)
        assert await promises.latched() is None
        await watch.looks(2)
        assert await promises.latched() is None


async def test_where_the_profile_says_so_it_goes_on_by_itself(desk: Desk) -> None:
    node = desk.node
    async with watching(desk, FORGETFUL) as watch:
        node.give_ether(desk.account, ETHER)
        before = node.ask("evm_snapshot")
        batch = await saved(desk)
        await watch.looks_until(batch, "INCLUDED")
        node.mine(5)
        await watch.looks_until(batch, "FINALIZED")
        assert node.ask("evm_revert", before)
        node.next_base_fee(3 * GWEI)
        node.mine(8)
        await watch.looks_until(batch, "INCLUDED")
        assert executions(node, batch) == [1]
        assert await watch.monitor.promises.latched() is None
        rows = await desk.sql("SELECT cleared_by FROM signing.latches")
        assert rows == [("the chain's profile",)]


async def test_somebody_elses_transaction_is_noticed(desk: Desk) -> None:
    async with watching(desk) as watch:
        await saved(desk)
        await watch.looks(2)
        assert await watch.alerts() == []
        await saved(desk, number=2)
        for salt in (b"\1", b"\2", b"\3"):
            desk.node.send_as(desk.account, "ledger", "record", salt * 32)
        await watch.looks()
        assert "foreign_nonce" not in await watch.alerts()  # it may be being written just now
        await watch.looks()
        assert "foreign_nonce" in await watch.alerts()


async def test_a_nonce_that_nothing_holds_is_filled(desk: Desk) -> None:
    node = desk.node
    async with watching(desk) as watch:
        # As after a restored backup: the account is ahead of what is known of it.
        await desk.sql(
            "INSERT INTO transactions.accounts (chain_id, address, next_nonce) VALUES (%s, %s, 1)",
            CHAIN,
            desk.account,
        )
        batch = await saved(desk)
        assert batch.intents[0].nonce == 1
        await watch.looks()
        assert "nonce_gap" not in await watch.alerts()  # it may be being written just now
        await watch.looks()
        assert executions(node, batch) == [0]
        assert "nonce_gap" in await watch.alerts()
        (order,) = watch.filled
        assert (order.account, order.nonce, order.deal_account) == (desk.account, 0, desk.account)
        assert order.step is batch.key.step

        fill = await desk.temporal.run(watch.desk.engine.plan_no_op, order)
        assert await desk.temporal.run(watch.desk.engine.plan_no_op, order) == fill
        (no_op,) = fill.batch.intents
        assert (no_op.nonce, no_op.to, no_op.value, no_op.data) == (0, desk.account, 0, "0x")
        sent = SendAttempts(
            chain_id=ChainId(CHAIN),
            batch=fill.batch,
            signed=await desk.sign(fill.batch),
            view=view_of(fill.batch),
        )
        await desk.temporal.run(watch.desk.engine.send_attempts, sent)
        await eventually(lambda: node.nonce(desk.account) == 2, "both are mined")
        assert executions(node, batch) == [1]
        await watch.looks(2)
        assert len(watch.filled) == 1
        assert (await watch.observed())["accounts"][0]["gap"] == []


async def test_what_is_numbered_while_it_looks_leaves_no_gap(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with watching(desk) as watch:
        await saved(desk)
        monitor = watch.monitor
        look = monitor._tracker.look

        async def slow_look(*arguments: Any, **options: Any) -> Look:
            await saved(desk, number=2)
            return await look(*arguments, **options)

        monkeypatch.setattr(monitor._tracker, "look", slow_look)
        await monitor.round()
        assert await watch.alerts() == []
        assert watch.filled == []


async def test_what_the_chain_lost_is_sent_again_and_is_no_gap(desk: Desk) -> None:
    """Final for us, and gone without another block in its place: no promise is broken yet."""
    node = desk.node
    async with watching(desk, Finality(kind="depth", depth=0)) as watch:
        node.give_ether(desk.account, ETHER)
        before = node.ask("evm_snapshot")
        first = await saved(desk)
        await watch.looks_until(first, "FINALIZED")
        assert node.ask("evm_revert", before)
        node.automine(on=False)
        second = await saved(desk, number=2)
        await watch.looks()
        assert await watch.alerts() == []  # the node may be starting just now
        await watch.looks()
        assert await watch.alerts() == ["reorg"]
        assert watch.filled == []
        assert await desk.states(first) == ["FINALIZED"]
        node.automine(on=True)
        node.mine()
    assert executions(node, first) == [1]
    assert executions(node, second) == [1]


async def test_it_tells_how_the_chain_stands(desk: Desk) -> None:
    desk.node.automine(on=False)
    async with watching(desk) as watch:
        await saved(desk, 2)
        observed = await watch.observed()
        assert observed["head"] == desk.node.head()
        assert observed["finalized"] == desk.node.head() - 4
        assert int(observed["base_fee_wei"]) > 0
        assert int(observed["priority_fee_wei"]) > 0
        assert [endpoint["healthy"] for endpoint in observed["endpoints"]] == [True]
        assert observed["accounts"] == [
            {
                "address": desk.account,
                "mined_nonce": 0,
                "next_nonce": 2,
                "pending": 2,
                "gap": [],
            }
        ]


async def test_one_watches_and_another_takes_over(desk: Desk) -> None:
    async with watching(desk) as watch:
        first, second = watch.monitor, watch.another()
        assert await first.watches()
        assert not await second.watches()
        assert await first.watches()
        await desk.sql("UPDATE transactions.chain_status SET watches_until = now()")
        assert await second.watches()
        assert not await first.watches()


async def test_a_node_that_is_away_is_waited_for(desk: Desk) -> None:
    async with front_of(desk.node.url, down=True) as front, desk.over(front.url) as other:
        watch = Watch(other)
        with pytest.raises(Unavailable):
            await watch.looks()
        batch = await saved(desk)
        front.down = False
        await watch.looks()
    assert executions(desk.node, batch) == [1]
