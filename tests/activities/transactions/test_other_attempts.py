"""Other attempts at a nonce: bids and no-ops, and which of them the chain takes."""

import asyncio
from typing import Any

import pytest

from activities.transactions.interface import (
    Action,
    DeliverBatch,
    Replacement,
    ReplaceTransaction,
    SendAttempts,
    TransactionView,
)
from domain.errors import LimitExceeded, NotAllowed, NotFound
from domain.identifiers import ChainId
from domain.transactions import Fees, PreparedBatch
from tests.activities.chain import CHAIN, GWEI
from tests.activities.desk import Desk
from tests.activities.rpc.front import front_of
from tests.activities.transactions.delivering import (
    LOW,
    RECORD,
    SOON,
    USUAL,
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

REVERTS = "0xdeadbeef"
"""Calldata that the Ledger has no function for."""
REFUSED = {"code": -32000, "message": "pool is full"}


async def with_no_ops(desk: Desk, batch: PreparedBatch, fees: dict[str, Fees]) -> DeliverBatch:
    """The order to deliver the batch with signed no-ops in place of some intents."""
    no_ops = batch.no_ops(fees)
    signed = batch.at_nonces_of(no_ops, await desk.sign(no_ops))
    return DeliverBatch(batch=batch, signed=signed, request=desk.request)


async def act(desk: Desk, intent_id: str, action: Action) -> Replacement:
    """What a person's action needs, under the deal's own cap."""
    order = ReplaceTransaction(
        chain_id=ChainId(CHAIN),
        deal_id=desk.request.deal_id,
        intent_id=intent_id,
        action=action,
        max_fee_per_gas_wei=desk.request.max_fee_per_gas_wei,
    )
    replacement: Replacement = await desk.temporal.run(desk.engine.replace_transaction, order)
    return replacement


async def send(desk: Desk, replacement: Replacement) -> TransactionView:
    """Sign and send what an action needs."""
    batch, to_sign = replacement.batch, replacement.to_sign
    assert batch is not None
    assert to_sign is not None
    signed = await desk.sign(to_sign)
    if to_sign.key != batch.key:
        signed = batch.at_nonces_of(to_sign, signed)
    order = SendAttempts(chain_id=ChainId(CHAIN), batch=batch, signed=signed, view=replacement.view)
    view: TransactionView = await desk.temporal.run(desk.engine.send_attempts, order)
    return view


async def alerts(desk: Desk) -> set[tuple[Any, ...]]:
    """Kind and subject of the open alerts."""
    return set(
        await desk.sql("SELECT kind, subject FROM transactions.alerts WHERE cleared_at IS NULL")
    )


async def attempts(desk: Desk) -> list[tuple[Any, ...]]:
    """The hashes that were saved, by nonce and time, and whether they are no-ops."""
    return await desk.sql(
        "SELECT a.transaction_hash, a.no_op FROM transactions.attempts a"
        " JOIN transactions.intents i USING (intent_id) ORDER BY i.nonce, a.created_at"
    )


async def mined(desk: Desk) -> list[tuple[Any, ...]]:
    """Nonce, state and the mined attempt of every intent."""
    return await desk.sql(
        "SELECT nonce, state, mined_hash FROM transactions.intents ORDER BY nonce"
    )


async def the_next_one_goes_out(desk: Desk) -> None:
    """Deliver another batch of the account."""
    desk.node.automine(on=True)
    order = await desk.signed(await recording(desk, number=9))
    outcome_of(await asyncio.wait_for(desk.deliver(order), SOON))
    assert executions(desk.node, order.batch) == [1]


def outbids(fees: Fees, before: Fees) -> bool:
    """Whether nodes take a transaction at these fees instead of one at those before."""
    return (
        fees.max_fee_per_gas * 10 >= before.max_fee_per_gas * 11
        and fees.max_priority_fee_per_gas * 10 >= before.max_priority_fee_per_gas * 11
    )


class TestAfterAFailure:
    async def test_the_third_becomes_a_no_op_when_the_second_has_reverted(self, desk: Desk) -> None:
        node, ledger = desk.node, desk.profile.contract("ledger")
        node.automine(on=False)
        record = RECORD.encode(b"\1" * 32)
        calls = [(ledger, record), (ledger, REVERTS), (ledger, record)]
        batch = await recording(desk, calls=calls)
        third = batch.intents[2]
        order = await desk.signed(batch.with_fees({third.intent_id: LOW}))
        async with under_way(desk, order) as delivering:
            await until(lambda: all(pending(node, s.transaction_hash) for s in order.signed))
            node.next_base_fee(3 * GWEI)  # too much for the third
            node.mine()
            delivery = await finished(delivering)
        assert delivery.outcome is None
        assert delivery.replacements == {}
        assert delivery.no_ops.keys() == {third.intent_id}
        assert outbids(delivery.no_ops[third.intent_id], LOW)

        filled = await with_no_ops(desk, order.batch, dict(delivery.no_ops))
        async with under_way(desk, filled) as delivering:
            await until(lambda: pending(node, filled.signed[0].transaction_hash))
            outcome = outcome_of(await mine_until(delivering, node))
        hashes = [
            *(s.transaction_hash for s in order.signed[:2]),
            filled.signed[0].transaction_hash,
        ]
        assert [i.transaction_hash for i in outcome.inclusions] == hashes
        assert [(i.succeeded, i.no_op) for i in outcome.inclusions] == [
            (True, False),
            (False, False),
            (True, True),
        ]
        states = ("INCLUDED", "REVERTED", "REPLACED")
        assert await mined(desk) == [
            (n, *each) for n, each in enumerate(zip(states, hashes, strict=True))
        ]
        assert node.read("ledger", "executions", b"\1" * 32) == 1
        assert outcome.problem is not None
        assert (outcome.problem.code, outcome.problem.field, outcome.problem.value) == (
            "transaction_reverted",
            "Record 1",
            hashes[1],
        )
        assert node.nonce(desk.account) == 3
        await the_next_one_goes_out(desk)

    async def test_what_the_state_has_moved_under_is_never_sent(self, desk: Desk) -> None:
        ledger = desk.profile.contract("ledger")
        calls = [(ledger, RECORD.encode(b"\2" * 32)), (ledger, REVERTS)]
        order = await desk.signed(await recording(desk, calls=calls))
        async with (
            front_of(desk.node.url) as front,
            desk.over(front.url, block_time_seconds=0) as late,
        ):
            delivery = await late.deliver(order)
            assert delivery.outcome is None
            assert delivery.no_ops == {i.intent_id: i.fees for i in order.batch.intents}
            assert front.sent() == []
            assert await attempts(desk) == []
            assert await desk.states(order.batch) == ["PREPARED", "PREPARED"]

            filled = await with_no_ops(desk, order.batch, dict(delivery.no_ops))
            outcome = outcome_of(await late.deliver(filled))
            assert set(front.sent()) == {signed.raw for signed in filled.signed}
        assert outcome.problem is not None
        assert outcome.problem.code == "transaction_replaced"
        assert await attempts(desk) == [(s.transaction_hash, True) for s in filled.signed]
        assert desk.node.read("ledger", "executions", b"\2" * 32) == 0
        assert desk.node.nonce(desk.account) == 2
        await the_next_one_goes_out(desk)


class TestCancelling:
    async def test_the_no_op_is_mined_first(self, desk: Desk) -> None:
        node = desk.node
        node.automine(on=False)
        order = await desk.signed(await recording(desk))
        (intent,), (signed,) = order.batch.intents, order.signed
        async with under_way(desk, order) as delivering:
            await until(lambda: pending(node, signed.transaction_hash))
            replacement = await act(desk, intent.intent_id, Action.CANCEL)
            assert replacement.to_sign is not None
            assert outbids(replacement.to_sign.intents[0].fees, USUAL)
            view = await send(desk, replacement)
            assert (view.nonce, view.state) == (intent.nonce, "BROADCAST")
            assert view.transaction_hash is not None
            assert pending(node, view.transaction_hash)
            again = await act(desk, intent.intent_id, Action.CANCEL)
            assert (again.to_sign, again.view.transaction_hash) == (None, view.transaction_hash)
            assert "already" in again.view.note
            outcome = outcome_of(await mine_until(delivering, node))
        assert outcome.problem is not None
        assert (outcome.problem.code, outcome.problem.value) == (
            "transaction_replaced",
            view.transaction_hash,
        )
        assert outcome.changes == {}
        assert await mined(desk) == [(0, "REPLACED", view.transaction_hash)]
        assert executions(node, order.batch) == [0]
        await the_next_one_goes_out(desk)

    @pytest.mark.parametrize("saved", ["before", "after"])
    async def test_the_original_is_mined_first(self, desk: Desk, saved: str) -> None:
        node = desk.node
        node.automine(on=False)
        order = await desk.signed(await recording(desk))
        (intent,), (signed,) = order.batch.intents, order.signed
        async with (
            front_of(node.url) as front,
            desk.over(front.url) as cut_off,
            under_way(desk, order) as delivering,
        ):
            await until(lambda: pending(node, signed.transaction_hash))
            replacement = await act(desk, intent.intent_id, Action.CANCEL)
            front.errors["eth_sendRawTransaction"] = REFUSED
            if saved == "before":
                await send(cut_off, replacement)
            node.mine()
            outcome = outcome_of(await finished(delivering))
            if saved == "after":
                await send(desk, replacement)
        assert outcome.problem is None
        assert [no_op for _, no_op in await attempts(desk)] == [False, True]
        assert await mined(desk) == [(0, "INCLUDED", signed.transaction_hash)]
        assert executions(node, order.batch) == [1]
        assert node.nonce(desk.account) == 1
        await the_next_one_goes_out(desk)


class TestBidding:
    async def test_a_higher_bid_is_mined_in_place_of_the_first_and_once(self, desk: Desk) -> None:
        node = desk.node
        node.automine(on=False)
        order = await desk.signed(await recording(desk, 2))
        async with under_way(desk, order) as delivering:
            await until(lambda: all(pending(node, s.transaction_hash) for s in order.signed))
            replacement = await act(desk, order.batch.intents[0].intent_id, Action.BUMP)
            assert replacement.to_sign is not None
            assert outbids(replacement.to_sign.intents[0].fees, USUAL)
            view = await send(desk, replacement)
            assert view.note == "sent with higher fees"
            outcome = outcome_of(await mine_until(delivering, node))
        assert [i.transaction_hash for i in outcome.inclusions] == [
            view.transaction_hash,
            order.signed[1].transaction_hash,
        ]
        assert outcome.problem is None
        assert executions(node, order.batch) == [1, 1]
        assert len(await attempts(desk)) == 3

    async def test_sending_again_signs_nothing(self, desk: Desk) -> None:
        desk.node.automine(on=False)
        order = await desk.signed(await recording(desk))
        await desk.store.save_attempts(order.batch, order.signed)
        (signed,) = order.signed
        replacement = await act(desk, signed.intent_id, Action.REBROADCAST)
        assert replacement.to_sign is None
        assert replacement.view.transaction_hash == signed.transaction_hash
        assert pending(desk.node, signed.transaction_hash)
        assert await attempts(desk) == [(signed.transaction_hash, False)]

    @pytest.mark.parametrize("action", Action)
    async def test_what_is_not_out_is_left_alone(self, desk: Desk, action: Action) -> None:
        with pytest.raises(NotFound):
            await act(desk, f"{desk.request.deal_id}/wrap/1/1/0", action)
        batch = await recording(desk)
        (intent,) = batch.intents
        with pytest.raises(NotAllowed) as unsigned:
            await act(desk, intent.intent_id, action)
        assert unsigned.value.problem.actual == "PREPARED"
        with pytest.raises(NotFound):
            await act(await desk.another(), intent.intent_id, action)
        outcome_of(await desk.deliver(await desk.signed(batch)))
        with pytest.raises(NotAllowed) as over:
            await act(desk, intent.intent_id, action)
        assert over.value.problem.actual == "INCLUDED"

    @pytest.mark.parametrize("cap", ["chain", "deal"])
    @pytest.mark.parametrize("action", [Action.BUMP, Action.CANCEL])
    async def test_nothing_bids_above_a_cap(self, desk: Desk, action: Action, cap: str) -> None:
        order = await desk.signed(await recording(desk))
        await desk.store.save_attempts(order.batch, order.signed)
        limit = USUAL.max_fee_per_gas
        fees = {"max_fee_per_gas_wei": limit} if cap == "chain" else {}
        deal = desk.asking(max_fee_per_gas_wei=limit) if cap == "deal" else desk
        async with deal.over(fees=fees) as capped:
            with pytest.raises(LimitExceeded) as caught:
                await act(capped, order.signed[0].intent_id, action)
        assert caught.value.problem.limit == str(limit)

    @pytest.mark.parametrize("cap", ["chain", "deal"])
    async def test_above_the_cap_the_same_bytes_go_out_and_somebody_is_told(
        self, desk: Desk, cap: str
    ) -> None:
        node, limit = desk.node, USUAL.max_fee_per_gas
        node.automine(on=False)
        fees = {"max_fee_per_gas_wei": limit} if cap == "chain" else {}
        deal = desk.asking(max_fee_per_gas_wei=limit) if cap == "deal" else desk
        order = await deal.signed(await recording(deal))
        async with (
            front_of(node.url) as front,
            deal.over(front.url, fees=fees) as capped,
            under_way(capped, order) as delivering,
        ):
            for blocks in range(1, 7):
                await until(lambda blocks=blocks: len(front.sent()) >= blocks)  # type: ignore[misc]
                node.next_base_fee(50 * GWEI)
                node.mine()
            assert not delivering.done()
            assert await alerts(desk) == {("fee_cap", order.signed[0].intent_id)}
            assert set(front.sent()) == {order.signed[0].raw}
            node.next_base_fee(GWEI)
            outcome = outcome_of(await mine_until(delivering, node))
        assert outcome.inclusions[0].effective_gas_price <= limit
        assert executions(node, order.batch) == [1]


class TestUnknown:
    async def test_what_bids_enough_and_is_never_mined_becomes_a_no_op_at_its_deadline(
        self, desk: Desk
    ) -> None:
        node = desk.node
        node.automine(on=False)
        order = await desk.signed(await recording(desk))
        (intent,) = order.batch.intents
        async with front_of(node.url) as front:
            front.errors["eth_sendRawTransaction"] = REFUSED
            async with (
                desk.over(front.url, limits={"unknown_deadline_seconds": 1}) as other,
                under_way(other, order) as delivering,
            ):
                delivery = await passed_over(delivering, node, GWEI)
        assert delivery.replacements == {}
        assert delivery.no_ops.keys() == {intent.intent_id}
        assert outbids(delivery.no_ops[intent.intent_id], intent.fees)
        ((age,),) = await desk.sql(
            "SELECT extract(epoch FROM now() - created_at) FROM transactions.attempts"
        )
        assert age > 1
        filled = await with_no_ops(desk, order.batch, dict(delivery.no_ops))
        async with under_way(desk, filled) as delivering:
            outcome = outcome_of(await mine_until(delivering, node))
        assert outcome.problem is not None
        assert outcome.inclusions[0].no_op
        assert executions(node, order.batch) == [0]
        assert node.nonce(desk.account) == 1

    async def test_a_nonce_of_somebody_else_is_given_up_past_deadline_and_finality(
        self, desk: Desk
    ) -> None:
        node = desk.node
        order = await desk.signed(await recording(desk))
        node.send_as(desk.account, "ledger", "record", b"\1" * 32)
        finality = desk.profile.finality.model_copy(update={"depth": 3})
        async with (
            front_of(node.url) as front,
            desk.over(
                front.url,
                limits={"unknown_deadline_seconds": 1},
                finality=finality,
                block_time_seconds=0,
            ) as other,
            under_way(other, order) as delivering,
        ):
            await asyncio.sleep(1.3)  # past the deadline
            assert not delivering.done()
            assert await desk.states(order.batch) == ["UNKNOWN"]
            node.mine(3)
            outcome = outcome_of(await finished(delivering))
            assert front.sent() == [order.signed[0].raw]
        assert outcome.inclusions == ()
        assert outcome.problem is not None
        assert outcome.problem.code == "transaction_replaced"
        assert "somebody else" in outcome.problem.message
        assert await mined(desk) == [(0, "REPLACED", None)]
        assert ("foreign_nonce", desk.account) in await alerts(desk)
        following = await recording(desk, number=2)
        assert [intent.nonce for intent in following.intents] == [1]
        outcome_of(await asyncio.wait_for(desk.deliver(await desk.signed(following)), SOON))
        assert executions(node, following) == [1]
        assert executions(node, order.batch) == [0]

    async def test_it_is_not_given_up_while_an_endpoint_cannot_tell_of_its_receipt(
        self, desk: Desk
    ) -> None:
        node = desk.node
        order = await desk.signed(await recording(desk))
        node.send_as(desk.account, "ledger", "record", b"\1" * 32)
        async with (
            front_of(node.url) as front,
            desk.over(
                node.url,
                front.url,
                limits={"unknown_deadline_seconds": 1},
                block_time_seconds=0,
            ) as other,
        ):
            front.errors["eth_getTransactionReceipt"] = REFUSED
            async with under_way(other, order) as delivering:
                # It is only asked when the others would give the nonce up.
                await until(lambda: front.count("eth_getTransactionReceipt") > 1)
                assert not delivering.done()
                ((seconds,),) = await desk.sql(
                    "SELECT extract(epoch FROM now() - updated_at) FROM transactions.intents"
                )
                assert seconds > 1
                assert await desk.states(order.batch) == ["UNKNOWN"]
                front.errors.clear()
                outcome = outcome_of(await finished(delivering))
        assert outcome.problem is not None
        assert await mined(desk) == [(0, "REPLACED", None)]

    async def test_receipts_that_are_missing_for_a_while_are_waited_for_and_told_of(
        self, desk: Desk
    ) -> None:
        order = await desk.signed(await recording(desk))
        (intent,) = order.batch.intents
        async with front_of(desk.node.url) as front, desk.over(front.url) as lied_to:
            front.lies["eth_getTransactionReceipt"] = lambda _, __: None
            async with under_way(lied_to, order) as delivering:
                await until(lambda: desk.node.nonce(desk.account) == 1)
                await asyncio.sleep(0.5)
                assert await desk.states(order.batch) == ["UNKNOWN"]
                assert await alerts(desk) == set()
                async with asyncio.timeout(SOON):
                    while await alerts(desk) != {("unknown", intent.intent_id)}:
                        desk.node.mine()
                        await asyncio.sleep(0.1)
                ((seconds,),) = await desk.sql(
                    "SELECT extract(epoch FROM a.raised_at - i.updated_at)"
                    " FROM transactions.alerts a JOIN transactions.intents i"
                    " ON i.intent_id = a.subject"
                )
                assert seconds >= 2 * desk.profile.block_time_seconds
                assert front.sent() == [order.signed[0].raw]
                front.lies.clear()
                outcome = outcome_of(await mine_until(delivering, desk.node))
            assert front.sent() == [order.signed[0].raw]
        assert outcome.problem is None
        assert executions(desk.node, order.batch) == [1]
