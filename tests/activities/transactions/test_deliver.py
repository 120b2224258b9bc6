"""Delivering signed batches exactly once, whatever node and process do meanwhile."""

import asyncio
import time
from typing import Any

import pytest
from structlog.testing import capture_logs

from activities.transactions.interface import DeliverBatch
from domain.deals import Step
from domain.errors import OutcomeUnknown, Unavailable
from domain.identifiers import ModuleId
from domain.transactions import Asset, Bound, Fees
from tests.activities.chain import DOLLAR, ETHER, GWEI, OWNER
from tests.activities.desk import RESERVE, UP_TO_BORROW, UP_TO_REDEEM, WRAPPED, Desk
from tests.activities.rpc.front import Fault, front_of
from tests.activities.transactions.delivering import (
    LOW,
    executions,
    finished,
    mine_until,
    outcome_of,
    passed_over,
    pending,
    recording,
    under_way,
    until,
)

SHORT = {"submission_timeout_seconds": 1}
LOSE_SENDING = {"eth_sendRawTransaction"}


class TestTheOutcome:
    async def test_it_tells_where_and_how_everything_was_mined(self, desk: Desk) -> None:
        batch = await recording(desk, 3)
        order = await desk.signed(batch)
        outcome = outcome_of(await desk.deliver(order))
        assert outcome.key == batch.key
        assert outcome.problem is None
        for intent, signed, inclusion in zip(
            batch.intents, order.signed, outcome.inclusions, strict=True
        ):
            receipt = desk.node.receipt(signed.transaction_hash)
            assert receipt is not None
            assert inclusion.model_dump() == {
                "intent_id": intent.intent_id,
                "purpose": intent.purpose,
                "transaction_hash": signed.transaction_hash,
                "block_number": int(receipt["blockNumber"], 16),
                "block_hash": receipt["blockHash"],
                "succeeded": True,
                "gas_used": int(receipt["gasUsed"], 16),
                "effective_gas_price": int(receipt["effectiveGasPrice"], 16),
                "no_op": False,
                "value": 0,
            }
        assert executions(desk.node, batch) == [1, 1, 1]

    async def test_it_is_recorded_with_its_receipts(self, desk: Desk) -> None:
        batch = await recording(desk, 2)
        outcome = outcome_of(await desk.deliver(await desk.signed(batch)))
        rows = await desk.sql(
            "SELECT state, mined_hash, block_number, block_hash, gas_used, effective_gas_price_wei"
            " FROM transactions.intents ORDER BY nonce"
        )
        assert rows == [
            ("INCLUDED", i.transaction_hash, i.block_number, i.block_hash, i.gas_used, price)
            for i in outcome.inclusions
            for price in [i.effective_gas_price]
        ]

    async def test_its_position_is_the_account_right_after(self, desk: Desk) -> None:
        outcome = await desk.run(Step.FUND)
        assert outcome.position == await desk.position()
        assert outcome.position.wei == WRAPPED + RESERVE

    async def test_the_treasurys_changes_count_the_gas_it_paid_itself(self, desk: Desk) -> None:
        before = desk.node.ether(desk.treasury)
        outcome = await desk.run(Step.FUND)
        change = desk.node.ether(desk.treasury) - before
        assert outcome.treasury_changes == {Asset.ETHER: change}
        assert change == -(WRAPPED + RESERVE) - outcome.gas_cost_wei
        # The deal's account pays its own gas; that does not touch the treasury.
        assert (await desk.run(Step.WRAP)).treasury_changes == {Asset.ETHER: 0}

    async def test_a_whole_deal_changes_the_treasury_by_what_its_outcomes_say(
        self, desk: Desk
    ) -> None:
        node, treasury = desk.node, desk.treasury
        before = (node.ether(treasury), node.balance("usdt", treasury))
        steps = (*UP_TO_REDEEM, Step.SETTLE, Step.SWEEP)
        outcomes = [await desk.run(step) for step in steps]
        changes = [
            sum(outcome.treasury_changes.get(asset, 0) for outcome in outcomes)
            for asset in (Asset.ETHER, Asset.PAR)
        ]
        after = (node.ether(treasury), node.balance("usdt", treasury))
        assert changes == [after[0] - before[0], after[1] - before[1]]
        assert changes[1] > 90 * DOLLAR  # the discount on 7,000 USD

    async def test_a_post_condition_that_fails_is_reported_with_the_outcome(
        self, desk: Desk
    ) -> None:
        bound = Bound(asset=Asset.PAR, minimum=1, maximum=5)
        batch = await recording(desk, bounds=(bound,))
        outcome = outcome_of(await desk.deliver(await desk.signed(batch)))
        assert outcome.problem is not None
        assert (outcome.problem.code, outcome.problem.field) == ("post_condition_failed", "par")
        assert outcome.inclusions[0].succeeded

    async def test_a_request_of_another_module_is_no_reason_to_forget_what_was_signed(
        self, desk: Desk
    ) -> None:
        order = await desk.signed(await recording(desk))
        request = desk.request.model_copy(update={"module": ModuleId("other")})
        with pytest.raises(OutcomeUnknown) as caught:
            await desk.deliver(order.model_copy(update={"request": request}))
        assert caught.value.retryable
        assert outcome_of(await desk.deliver(order)).problem is None


def _as_if_new(order: DeliverBatch) -> DeliverBatch:
    """The order of a batch that was simulated just now, so that it is not looked at again."""
    batch = order.batch.model_copy(update={"prepared_at": int(time.time())})
    return order.model_copy(update={"batch": batch})


class TestReverts:
    async def reverting_swap(self, desk: Desk) -> DeliverBatch:
        """A swap whose price was gone between simulation and delivery."""
        await desk.walk(UP_TO_BORROW)
        order = await desk.signed(await desk.prepare(Step.SWAP))
        node = desk.node
        node.send("usdt", "issue", 40_000_000 * DOLLAR)
        router = node.manifest["uniswap_router"]
        node.send("usdt", "approve", router, 40_000_000 * DOLLAR)
        pair = (node.manifest["usdt"], node.manifest["usdtz"])
        move = (*pair, 100, OWNER, 2**64, 40_000_000 * DOLLAR, 0, 0)
        node.send("uniswap_router", "exactInputSingle", move)
        return _as_if_new(order)

    @pytest.mark.parametrize("same_block", [False, True])
    async def test_a_reverted_transaction_is_reported_with_its_reason(
        self,
        desk: Desk,
        same_block: bool,  # noqa: FBT001 - a parameter of the test
    ) -> None:
        order = await self.reverting_swap(desk)
        desk.node.automine(on=not same_block)
        async with under_way(desk, order) as delivering:
            if same_block:
                await until(lambda: pending(desk.node, order.signed[-1].transaction_hash))
                desk.node.mine()
            outcome = outcome_of(await finished(delivering))
        assert [inclusion.succeeded for inclusion in outcome.inclusions] == [True, False]
        problem = outcome.problem
        assert problem is not None
        assert problem.code == "transaction_reverted"
        assert problem.message == "Swap on Uniswap v3 reverted: Too little received"
        assert problem.value == order.signed[-1].transaction_hash
        assert outcome.changes == {}
        assert await desk.states(order.batch) == ["INCLUDED", "REVERTED"]

    async def test_the_ether_that_a_reverted_transaction_carried_stays(self, desk: Desk) -> None:
        # Only the pool may be sent ether by WETH's withdrawals; it refuses plain transfers.
        await desk.run(Step.FUND)
        pool = desk.profile.contract("aave_pool")
        batch = await recording(desk, calls=[(pool, "0x")])
        intents = (batch.intents[0].model_copy(update={"value": ETHER}),)
        order = await desk.signed(batch.model_copy(update={"intents": intents}))
        outcome = outcome_of(await desk.deliver(order))
        assert outcome.changes == {}
        assert outcome.problem is not None

    @pytest.mark.parametrize(
        ("answer", "reason"),
        [
            ("0x", "no reason found"),
            (Fault(code=-32000, message="missing trie node"), "missing trie node"),
            (Fault(code=3, message="execution reverted", data="0x"), "execution reverted"),
        ],
        ids=["gone", "forgotten", "silent"],
    )
    async def test_a_reason_that_cannot_be_told_does_not_hold_the_outcome_up(
        self, desk: Desk, answer: Any, reason: str
    ) -> None:
        order = await self.reverting_swap(desk)
        async with front_of(desk.node.url) as front, desk.over(front.url) as lied_to:
            front.lies["eth_call"] = lambda _, result: answer if result is None else result
            outcome = outcome_of(await lied_to.deliver(order))
        assert outcome.problem is not None
        assert outcome.problem.code == "transaction_reverted"
        assert reason in outcome.problem.message


class TestOnceOnly:
    async def test_a_lost_reply_is_no_failure_and_the_same_bytes_go_out_again(
        self, desk: Desk
    ) -> None:
        order = await desk.signed(await recording(desk, 2))
        async with front_of(desk.node.url, lose_reply_to=LOSE_SENDING) as front:
            async with desk.over(front.url) as cut_off:
                outcome = outcome_of(await cut_off.deliver(order))
            assert set(front.sent()) == {signed.raw for signed in order.signed}
        assert outcome.problem is None
        assert executions(desk.node, order.batch) == [1, 1]
        assert desk.node.nonce(desk.account) == 2

    async def test_a_reply_that_is_lost_while_it_waits_for_a_block_neither(
        self, desk: Desk
    ) -> None:
        desk.node.automine(on=False)
        order = await desk.signed(await recording(desk, 2))
        async with front_of(desk.node.url, lose_reply_to=LOSE_SENDING) as front:
            async with (
                desk.over(front.url, block_time_seconds=0) as cut_off,
                under_way(cut_off, order) as delivering,
            ):
                await until(lambda: len(front.sent()) > 4)
                outcome_of(await mine_until(delivering, desk.node))
            assert set(front.sent()) == {signed.raw for signed in order.signed}
        assert executions(desk.node, order.batch) == [1, 1]

    async def test_a_process_that_died_between_saving_and_sending_is_taken_over(
        self, desk: Desk
    ) -> None:
        order = await desk.signed(await recording(desk, 2))
        await desk.store.save_attempts(order.batch, order.signed)
        assert desk.node.nonce(desk.account) == 0
        outcome_of(await desk.deliver(order))
        assert executions(desk.node, order.batch) == [1, 1]

    async def test_what_may_have_been_sent_is_looked_for_before_it_is_sent_again(
        self, desk: Desk
    ) -> None:
        order = await desk.signed(await recording(desk))
        first = await desk.deliver(order)
        async with front_of(desk.node.url) as front, desk.over(front.url) as again:
            assert outcome_of(await again.deliver(order)) == first.outcome
            assert front.sent() == []

    async def test_a_delivery_that_ended_before_its_outcome_was_recorded_ends_the_same_way(
        self, desk: Desk
    ) -> None:
        order = await desk.signed(await recording(desk, 2))
        await desk.store.save_attempts(order.batch, order.signed)
        for signed in order.signed:
            desk.node.ask("eth_sendRawTransaction", signed.raw)
        outcome = outcome_of(await desk.deliver(order))
        assert outcome.problem is None
        assert await desk.states(order.batch) == ["INCLUDED", "INCLUDED"]
        assert executions(desk.node, order.batch) == [1, 1]

    async def test_two_processes_at_once_deliver_it_once(self, desk: Desk) -> None:
        desk.node.automine(on=False)
        order = await desk.signed(await recording(desk, 2))
        async with (
            desk.over() as other,
            under_way(desk, order) as one,
            under_way(other, order) as two,
        ):
            await until(lambda: pending(desk.node, order.signed[-1].transaction_hash))
            desk.node.mine()
            outcomes = [outcome_of(await finished(each)) for each in (one, two)]
        assert outcomes[0] == outcomes[1]
        assert executions(desk.node, order.batch) == [1, 1]

    async def test_a_delivery_that_is_cancelled_leaves_everything_for_the_next(
        self, desk: Desk
    ) -> None:
        desk.node.automine(on=False)
        order = await desk.signed(await recording(desk))
        async with under_way(desk, order) as delivering:
            await until(lambda: pending(desk.node, order.signed[0].transaction_hash))
            delivering.cancel()
            with pytest.raises(asyncio.CancelledError):
                await delivering
        desk.node.mine()
        outcome_of(await desk.deliver(order))
        assert executions(desk.node, order.batch) == [1]

    async def test_a_transaction_that_the_pool_has_dropped_is_sent_again_by_the_next_block(
        self, desk: Desk
    ) -> None:
        desk.node.automine(on=False)
        order = await desk.signed(await recording(desk, 2))
        hashes = [signed.transaction_hash for signed in order.signed]
        async with under_way(desk, order) as delivering:
            await until(lambda: all(pending(desk.node, each) for each in hashes))
            for each in hashes:
                desk.node.ask("anvil_dropTransaction", each)
            assert not any(pending(desk.node, each) for each in hashes)
            desk.node.mine()
            await until(lambda: all(pending(desk.node, each) for each in hashes))
            desk.node.mine()
            outcome_of(await finished(delivering))
        assert executions(desk.node, order.batch) == [1, 1]

    async def test_without_a_new_block_it_is_sent_again_all_the_same(self, desk: Desk) -> None:
        desk.node.automine(on=False)
        order = await desk.signed(await recording(desk))
        (signed,) = order.signed
        async with (
            desk.over(block_time_seconds=0) as restless,
            under_way(restless, order) as delivering,
        ):
            await until(lambda: pending(desk.node, signed.transaction_hash))
            desk.node.ask("anvil_dropTransaction", signed.transaction_hash)
            await until(lambda: pending(desk.node, signed.transaction_hash))
            desk.node.mine()
            outcome_of(await finished(delivering))
        assert executions(desk.node, order.batch) == [1]

    async def test_what_comes_before_it_and_was_never_sent_is_sent_too(self, desk: Desk) -> None:
        # Another delivery of the account died before it sent anything, and nobody has taken over.
        before = await desk.signed(await recording(desk, 2, number=1))
        await desk.store.save_attempts(before.batch, before.signed)
        order = await desk.signed(await recording(desk, 1, number=2))
        async with desk.over(block_time_seconds=0) as other:
            outcome_of(await asyncio.wait_for(other.deliver(order), 5))
        assert executions(desk.node, before.batch) == [1, 1]
        assert executions(desk.node, order.batch) == [1]

    async def test_what_comes_before_it_and_was_never_signed_is_waited_for(
        self, desk: Desk
    ) -> None:
        before = await recording(desk, 1, number=1)
        order = await desk.signed(await recording(desk, 1, number=2))
        async with (
            desk.over(block_time_seconds=0) as other,
            under_way(other, order) as delivering,
        ):
            await asyncio.sleep(0.1)
            assert not delivering.done()
            outcome_of(await desk.deliver(await desk.signed(before)))
            outcome_of(await finished(delivering))
        assert executions(desk.node, before) == executions(desk.node, order.batch) == [1]


class TestEndpoints:
    async def test_it_is_delivered_while_one_endpoint_is_dead(self, desk: Desk) -> None:
        order = await desk.signed(await recording(desk, 2))
        async with front_of(desk.node.url, down=True) as dead:
            async with desk.over(dead.url, desk.node.url) as other:
                outcome_of(await other.deliver(order))
            assert dead.checks > 0
        assert executions(desk.node, order.batch) == [1, 1]

    async def test_it_is_sent_to_every_endpoint(self, desk: Desk) -> None:
        order = await desk.signed(await recording(desk, 2))
        async with front_of(desk.node.url) as one, front_of(desk.node.url) as two:
            async with desk.over(one.url, two.url) as other:
                outcome_of(await other.deliver(order))
            assert one.sent() == two.sent() == [signed.raw for signed in order.signed]
        assert executions(desk.node, order.batch) == [1, 1]

    async def test_while_all_are_away_it_is_unavailable_and_afterwards_it_goes_on(
        self, desk: Desk
    ) -> None:
        order = await desk.signed(await recording(desk, 2))
        async with front_of(desk.node.url, down=True) as front, desk.over(front.url) as other:
            for _ in range(2):
                with pytest.raises(Unavailable):
                    await other.deliver(order)
            front.down = False
            outcome_of(await other.deliver(order))
        assert executions(desk.node, order.batch) == [1, 1]

    async def test_an_answer_that_refuses_it_is_noted_and_decides_nothing(self, desk: Desk) -> None:
        desk.node.automine(on=False)
        order = await desk.signed(await recording(desk))
        async with front_of(desk.node.url) as front:
            front.errors["eth_sendRawTransaction"] = {"code": -32000, "message": "pool is full"}
            with capture_logs() as logs:
                async with desk.over(front.url) as other, under_way(other, order) as delivering:
                    await until(lambda: len(front.sent()) == 1)
                    front.errors.clear()
                    await mine_until(delivering, desk.node)
            assert set(front.sent()) == {order.signed[0].raw}
        noted = [entry for entry in logs if entry["event"] == "not accepted"]
        assert {(each["transaction"], each["result"]) for each in noted} == {
            (order.signed[0].transaction_hash, "POOL_FULL")
        }
        assert [each.rpartition(": ")[2] for each in noted[0]["answers"]] == ["pool is full"]
        assert executions(desk.node, order.batch) == [1]

    async def test_receipts_of_many_are_asked_for_only_when_a_nonce_is_used(
        self, desk: Desk
    ) -> None:
        desk.node.automine(on=False)
        order = await desk.signed(await recording(desk, 20))
        async with (
            front_of(desk.node.url) as front,
            desk.over(front.url) as other,
            under_way(other, order) as delivering,
        ):
            await until(lambda: front.count("eth_getTransactionCount") > 0)
            assert front.count("eth_getTransactionReceipt") == 0
            outcome = outcome_of(await mine_until(delivering, desk.node))
        assert len(outcome.inclusions) == 20
        assert executions(desk.node, order.batch) == [1] * 20

    async def test_an_endpoint_that_knows_it_already_is_no_reason_to_worry(
        self, desk: Desk
    ) -> None:
        order = await desk.signed(await recording(desk))
        desk.node.automine(on=False)
        async with front_of(desk.node.url) as front:
            with capture_logs() as logs:
                async with (
                    desk.over(desk.node.url, front.url) as other,
                    under_way(other, order) as delivering,
                ):
                    await until(lambda: len(front.sent()) == 1)
                    await mine_until(delivering, desk.node)
        # Sent again just when it was mined, it may be told that the nonce is used; that is noted.
        assert not [e for e in logs if e["event"] == "not accepted" and "already" in e["reason"]]

    async def test_errors_instead_of_receipts_are_waited_through(self, desk: Desk) -> None:
        order = await desk.signed(await recording(desk))
        async with front_of(desk.node.url) as front, desk.over(front.url) as other:
            front.errors["eth_getTransactionReceipt"] = {"code": -32000, "message": "try later"}
            with pytest.raises(Unavailable):
                await other.deliver(order)
            front.errors.clear()
            outcome_of(await other.deliver(order))
            assert front.sent() == [order.signed[0].raw]
        assert executions(desk.node, order.batch) == [1]

    @pytest.mark.parametrize("looking_again_helps", [True, False])
    @pytest.mark.parametrize("told", ["old", "error"])
    async def test_only_a_position_from_after_the_receipts_is_taken_for_the_one_after(
        self,
        desk: Desk,
        told: str,
        looking_again_helps: bool,  # noqa: FBT001 - a parameter of the test
    ) -> None:
        # A cluster of nodes may answer each call of a request from another block, and a node that
        # mines meanwhile may call on the new state with the old clock, which reverts.
        order = await desk.signed(await desk.prepare(Step.FUND))
        before = hex(desk.node.head())

        def tell(params: list[Any], _: Any) -> Any:
            if told == "error":
                return Fault(code=3, message="execution reverted: Multicall3: call failed")
            return desk.node.ask("eth_call", params[0], before)

        async with front_of(desk.node.url) as front, desk.over(front.url) as other:
            await other.reader.decimals(desk.request.module)
            front.lies["eth_call"] = tell
            front.honest_to_single_calls = looking_again_helps
            if not looking_again_helps:
                with pytest.raises(Unavailable):
                    await other.deliver(order)
                front.lies.clear()
            outcome = outcome_of(await other.deliver(order))
        assert outcome.position.wei == WRAPPED + RESERVE
        assert outcome.position.block_number >= outcome.inclusions[0].block_number


class TestUnknown:
    async def test_a_used_nonce_without_a_receipt_is_unknown_until_it_is_seen(
        self, desk: Desk
    ) -> None:
        order = await desk.signed(await recording(desk, 2))
        async with (
            front_of(desk.node.url) as front,
            desk.over(front.url, limits=SHORT, block_time_seconds=0) as lied_to,
        ):
            front.lies["eth_getTransactionReceipt"] = lambda _, __: None
            with pytest.raises(OutcomeUnknown) as caught:
                await lied_to.deliver(order)
            assert caught.value.retryable
            assert await desk.states(order.batch) == ["UNKNOWN", "UNKNOWN"]
            # Nothing was sent but what was signed, and that not again.
            assert front.sent() == [signed.raw for signed in order.signed]
            front.lies.clear()
            outcome = outcome_of(await lied_to.deliver(order))
            assert front.sent() == [signed.raw for signed in order.signed]
        assert outcome.problem is None
        assert await desk.states(order.batch) == ["INCLUDED", "INCLUDED"]
        assert executions(desk.node, order.batch) == [1, 1]

    async def test_no_replacement_is_asked_for_while_it_is_unknown(self, desk: Desk) -> None:
        order = await desk.signed(await recording(desk))
        async with (
            front_of(desk.node.url) as front,
            desk.over(
                front.url, limits=SHORT, block_time_seconds=0, fees={"bump_after_blocks": 1}
            ) as lied_to,
        ):
            front.lies["eth_getTransactionReceipt"] = lambda _, __: None
            async with under_way(lied_to, order) as delivering:
                await until(lambda: desk.node.nonce(desk.account) == 1)
                # Now the market is above what was bid, so that a replacement would be due.
                desk.node.next_base_fee(50 * GWEI)
                while not delivering.done():
                    desk.node.mine()
                    await asyncio.sleep(0.02)
                assert isinstance(delivering.exception(), OutcomeUnknown)

    async def test_a_nonce_that_somebody_else_used_is_never_sent_for_again(
        self, desk: Desk
    ) -> None:
        order = await desk.signed(await recording(desk))
        desk.node.send_as(desk.account, "ledger", "record", b"\1" * 32)
        async with (
            front_of(desk.node.url) as front,
            desk.over(front.url, limits=SHORT, block_time_seconds=0) as other,
        ):
            with pytest.raises(OutcomeUnknown):
                await other.deliver(order)
            for _ in range(2):
                with pytest.raises(OutcomeUnknown):
                    await other.deliver(order)
            # Once before anything was known, then never again.
            assert front.sent() == [order.signed[0].raw]
        assert await desk.states(order.batch) == ["UNKNOWN"]
        assert executions(desk.node, order.batch) == [0]


class TestFees:
    async def test_what_is_passed_over_needs_replacements_under_the_cap(self, desk: Desk) -> None:
        node = desk.node
        node.automine(on=False)
        order = await desk.signed(await recording(desk, 2, fees=LOW))
        async with under_way(desk, order) as delivering:
            await until(lambda: pending(node, order.signed[-1].transaction_hash))
            delivery = await passed_over(delivering, node, 20 * GWEI)
        assert delivery.replacements.keys() == {i.intent_id for i in order.batch.intents}
        for fees in delivery.replacements.values():
            assert fees.max_fee_per_gas >= LOW.max_fee_per_gas * 1.1
            assert fees.max_priority_fee_per_gas >= LOW.max_priority_fee_per_gas * 1.1
            assert fees.max_fee_per_gas <= desk.profile.fees.max_fee_per_gas_wei

    async def test_what_bids_enough_is_waited_for(self, desk: Desk) -> None:
        node = desk.node
        node.automine(on=False)
        order = await desk.signed(await recording(desk))
        async with front_of(node.url) as front:
            # It never reaches the node, so blocks pass it over, but not because of its fee.
            front.errors["eth_sendRawTransaction"] = {"code": -32000, "message": "pool is full"}
            async with desk.over(front.url) as other, under_way(other, order) as delivering:
                for _ in range(8):
                    node.mine()
                    await asyncio.sleep(0.03)
                assert not delivering.done()
                front.errors.clear()
                assert outcome_of(await mine_until(delivering, node))

    async def test_if_replacements_are_refused_none_are_asked_for(self, desk: Desk) -> None:
        node = desk.node
        node.automine(on=False)
        order = await desk.signed(await recording(desk, fees=LOW))
        order = order.model_copy(update={"replaceable": False})
        async with under_way(desk, order) as delivering:
            for _ in range(8):
                node.next_base_fee(20 * GWEI)
                node.mine()
                await asyncio.sleep(0.03)
            assert not delivering.done()
            node.next_base_fee(GWEI // 2)
            outcome_of(await mine_until(delivering, node))
        assert executions(node, order.batch) == [1]

    async def replaced(self, desk: Desk) -> tuple[DeliverBatch, DeliverBatch]:
        """An order that was passed over, saved and pending, and the order of its replacement."""
        order = await desk.signed(await recording(desk, 2, fees=LOW))
        await desk.store.save_attempts(order.batch, order.signed)
        higher = Fees(max_fee_per_gas=30 * GWEI, max_priority_fee_per_gas=2 * GWEI)
        batch = order.batch.with_fees({i.intent_id: higher for i in order.batch.intents})
        return order, await desk.signed(batch)

    async def test_the_replacement_is_mined_and_found(self, desk: Desk) -> None:
        desk.node.automine(on=False)
        order, replacement = await self.replaced(desk)
        for signed in order.signed:
            desk.node.ask("eth_sendRawTransaction", signed.raw)
        desk.node.next_base_fee(20 * GWEI)
        async with under_way(desk, replacement) as delivering:
            await until(lambda: pending(desk.node, replacement.signed[-1].transaction_hash))
            outcome = outcome_of(await mine_until(delivering, desk.node))
        assert [inclusion.transaction_hash for inclusion in outcome.inclusions] == [
            signed.transaction_hash for signed in replacement.signed
        ]
        assert executions(desk.node, order.batch) == [1, 1]

    async def test_if_what_it_replaces_is_mined_after_all_that_is_found(self, desk: Desk) -> None:
        desk.node.automine(on=False)
        order, replacement = await self.replaced(desk)
        for signed in order.signed:
            desk.node.ask("eth_sendRawTransaction", signed.raw)
        async with front_of(desk.node.url) as front:
            front.errors["eth_sendRawTransaction"] = {"code": -32000, "message": "underpriced"}
            async with desk.over(front.url) as other, under_way(other, replacement) as delivering:
                outcome = outcome_of(await mine_until(delivering, desk.node))
        assert [inclusion.transaction_hash for inclusion in outcome.inclusions] == [
            signed.transaction_hash for signed in order.signed
        ]
        assert executions(desk.node, order.batch) == [1, 1]
        attempts = await desk.sql("SELECT transaction_hash FROM transactions.attempts")
        assert len(attempts) == 4

    async def test_one_of_each_may_be_mined(self, desk: Desk) -> None:
        desk.node.automine(on=False)
        order, replacement = await self.replaced(desk)
        desk.node.ask("eth_sendRawTransaction", order.signed[0].raw)
        desk.node.mine()
        async with under_way(desk, replacement) as delivering:
            outcome = outcome_of(await mine_until(delivering, desk.node))
        assert [inclusion.transaction_hash for inclusion in outcome.inclusions] == [
            order.signed[0].transaction_hash,
            replacement.signed[1].transaction_hash,
        ]
        assert executions(desk.node, order.batch) == [1, 1]

    async def test_above_the_cap_it_waits_without_bidding_more_and_is_mined_after_the_fall(
        self, desk: Desk
    ) -> None:
        node, cap = desk.node, 10 * GWEI
        node.automine(on=False)
        async with desk.over(fees={"max_fee_per_gas_wei": cap}) as capped:
            order = await desk.signed(await recording(capped, fees=LOW))
            async with under_way(capped, order) as delivering:
                replaced = await passed_over(delivering, node, 50 * GWEI)
            # It bids what it may, and from then on waits, however long the market is above.
            assert {f.max_fee_per_gas for f in replaced.replacements.values()} == {cap}
            order = await desk.signed(order.batch.with_fees(replaced.replacements))
            async with under_way(capped, order) as delivering:
                for _ in range(10):
                    node.next_base_fee(50 * GWEI)
                    node.mine()
                    await asyncio.sleep(0.02)
                assert not delivering.done()
                node.next_base_fee(GWEI)
                outcome = outcome_of(await mine_until(delivering, node))
        assert outcome.inclusions[0].effective_gas_price <= cap
        assert executions(node, order.batch) == [1]

    async def test_not_included_in_time_is_unavailable_and_goes_on(self, desk: Desk) -> None:
        desk.node.automine(on=False)
        order = await desk.signed(await recording(desk))
        async with desk.over(limits=SHORT) as hurried:
            with pytest.raises(Unavailable) as caught:
                await hurried.deliver(order)
        problem = caught.value.problem
        assert problem.field == "submission_timeout_seconds"
        assert problem.actual == order.signed[0].transaction_hash
        assert await desk.states(order.batch) == ["BROADCAST"]
        desk.node.mine()
        outcome_of(await desk.deliver(order))


class TestSweep:
    async def test_it_leaves_exactly_nothing(self, desk: Desk) -> None:
        await desk.run(Step.FUND)
        desk.node.send("usdt", "transfer", desk.account, 5 * DOLLAR)
        outcome = await desk.run(Step.SWEEP)
        assert len(outcome.inclusions) == 2
        assert outcome.position.is_empty
        assert desk.node.ether(desk.account) == 0
        assert desk.node.balance("usdt", desk.account) == 0

    async def test_it_leaves_nothing_whatever_the_base_fee_was(self, desk: Desk) -> None:
        await desk.run(Step.FUND)
        batch = await desk.prepare(Step.SWEEP)
        desk.node.next_base_fee(batch.intents[0].fees.max_fee_per_gas - 1)
        outcome = outcome_of(await desk.deliver(await desk.signed(batch)))
        assert outcome.position.wei == 0
        assert outcome.problem is None

    @pytest.mark.parametrize("mined", ["replacement", "replaced"])
    async def test_a_replaced_sweep_leaves_nothing_and_keeps_its_promise(
        self, desk: Desk, mined: str
    ) -> None:
        await desk.run(Step.FUND)
        node = desk.node
        order = await desk.signed(await desk.prepare(Step.SWEEP))
        node.automine(on=False)
        price = order.batch.intents[0].fees.max_fee_per_gas
        async with under_way(desk, order) as delivering:
            await until(lambda: pending(node, order.signed[0].transaction_hash))
            delivery = await passed_over(delivering, node, 3 * price)
        batch = order.batch.with_fees(delivery.replacements)
        replacement = await desk.signed(batch)
        if mined == "replaced":
            await desk.store.save_attempts(batch, replacement.signed)
            node.next_base_fee(GWEI // 2)
            node.ask("anvil_dropAllTransactions")
            node.ask("eth_sendRawTransaction", order.signed[0].raw)
            node.mine()
        async with under_way(desk, replacement) as delivering:
            outcome = outcome_of(await mine_until(delivering, node))
        winner = order if mined == "replaced" else replacement
        assert outcome.inclusions[0].transaction_hash == winner.signed[0].transaction_hash
        assert outcome.problem is None
        assert outcome.position.wei == 0
        assert outcome.treasury_changes[Asset.ETHER] == winner.batch.intents[0].value

    async def test_a_rest_that_cannot_pay_more_waits_for_cheaper_gas(self, desk: Desk) -> None:
        node = desk.node
        node.give_ether(desk.account, 21_000 * 50 * GWEI)
        node.next_base_fee(20 * GWEI)
        node.mine()
        order = await desk.signed(await desk.prepare(Step.SWEEP))
        assert 0 < order.batch.intents[0].value < 21_000 * 15 * GWEI
        node.automine(on=False)
        async with under_way(desk, order) as delivering:
            for _ in range(8):
                node.next_base_fee(70 * GWEI)
                node.mine()
                await asyncio.sleep(0.03)
            assert not delivering.done()
            node.next_base_fee(GWEI)
            outcome = outcome_of(await mine_until(delivering, node))
        assert outcome.position.is_empty

    async def test_the_gas_before_the_rest_is_not_bid_up_at_the_expense_of_the_rest(
        self, desk: Desk
    ) -> None:
        await desk.run(Step.FUND)
        node = desk.node
        node.send("usdt", "transfer", desk.account, 5 * DOLLAR)
        order = await desk.signed(await desk.prepare(Step.SWEEP))
        node.automine(on=False)
        price = order.batch.intents[0].fees.max_fee_per_gas
        async with under_way(desk, order) as delivering:
            for _ in range(8):
                node.next_base_fee(3 * price)
                node.mine()
                await asyncio.sleep(0.03)
            assert not delivering.done()
            node.next_base_fee(GWEI // 2)
            outcome = outcome_of(await mine_until(delivering, node))
        assert outcome.position.is_empty


class TestConfirmations:
    async def test_it_waits_for_as_many_blocks_as_the_profile_says(self, desk: Desk) -> None:
        order = await desk.signed(await recording(desk, 2))
        async with desk.over(confirmations=3) as careful, under_way(careful, order) as delivering:
            await until(lambda: desk.node.nonce(desk.account) == 2)
            last = desk.node.head()
            await asyncio.sleep(0.1)
            assert not delivering.done()
            desk.node.mine()
            await asyncio.sleep(0.1)
            assert not delivering.done()
            desk.node.mine()
            outcome_of(await finished(delivering))
        assert desk.node.head() == last + 2

    async def test_a_block_that_is_undone_meanwhile_is_waited_for_again(self, desk: Desk) -> None:
        node = desk.node
        node.automine(on=False)
        order = await desk.signed(await recording(desk))
        async with desk.over(confirmations=3) as careful, under_way(careful, order) as delivering:
            await until(lambda: pending(node, order.signed[0].transaction_hash))
            before = node.ask("evm_snapshot")
            node.mine()
            await asyncio.sleep(0.1)
            assert node.ask("evm_revert", before)
            assert node.nonce(desk.account) == 0
            outcome = outcome_of(await mine_until(delivering, node))
        receipt = node.receipt(order.signed[0].transaction_hash)
        assert receipt is not None
        assert outcome.inclusions[0].block_hash == receipt["blockHash"]
        assert executions(node, order.batch) == [1]
