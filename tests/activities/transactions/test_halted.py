"""A halt that comes at any moment: nothing that adds risk goes out after it, and exits do."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from psycopg import sql

from activities.halts.interface import DealScope
from activities.halts.standing import Halts, Releases
from activities.transactions.broadcast import Broadcaster
from activities.transactions.interface import Action, DeliverBatch, ReplaceTransaction, SendAttempts
from activities.transactions.monitor import ChainMonitor
from activities.transactions.store import Attempt, TransactionStore
from domain.deals import Step
from domain.errors import Halted, NotAllowed
from domain.halts import TradingState
from domain.identifiers import ChainId
from domain.transactions import Fees, PreparedBatch
from tests.activities.chain import CHAIN, GWEI
from tests.activities.desk import MODULE, RESERVE, UP_TO_BORROW, UP_TO_SWAP, Desk
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
from tests.support.halting import forget_halts, put_halt
from tests.support.postgres import Database

Halting = Callable[..., None]
SCOPES = ("desk", "bank=acme", f"chain={CHAIN}", f"module={MODULE}")
HIGHER = Fees(max_fee_per_gas=9 * GWEI, max_priority_fee_per_gas=3 * GWEI)


@pytest.fixture
def halting(engine_database: Database) -> Iterator[Halting]:
    """Changes a halt at once; in the end there was none."""

    def put(scope: str = "desk", state: str = "HALTED", who: str = "risk-1") -> None:
        put_halt(engine_database.role("deal_control"), scope, state, who)

    yield put
    forget_halts(engine_database.owner)


async def attempts_of(desk: Desk, batch: PreparedBatch) -> list[bool]:
    """Of every saved attempt of the batch, oldest first: whether it is a no-op."""
    return [attempt.no_op for attempt in await desk.store.attempts(batch)]


async def no_ops_for(desk: Desk, order: DeliverBatch, fees: dict[str, Fees]) -> DeliverBatch:
    """The order to deliver the no-ops that were asked for."""
    no_ops = order.batch.no_ops(fees)
    signed = order.batch.at_nonces_of(no_ops, await desk.sign(no_ops))
    return order.model_copy(update={"signed": signed})


class TestPreparing:
    @pytest.mark.parametrize("scope", SCOPES)
    @pytest.mark.parametrize("state", ["HALTED", "REDUCING"])
    async def test_nothing_is_numbered_for_what_is_halted(
        self, desk: Desk, halting: Halting, scope: str, state: str
    ) -> None:
        halting(scope, state)
        with pytest.raises(Halted) as refused:
            await desk.prepare(Step.FUND)
        assert refused.value.problem.actual == state
        assert str(refused.value).startswith(scope)
        assert await desk.sql("SELECT next_nonce FROM transactions.accounts") == []

    @pytest.mark.parametrize("scope", ["bank=other", "chain=1", "module=other"])
    async def test_what_others_have_halted_is_none_of_it(
        self, desk: Desk, halting: Halting, scope: str
    ) -> None:
        halting(scope)
        await desk.run(Step.FUND)

    async def test_every_way_out_passes(self, desk: Desk, halting: Halting) -> None:
        await desk.walk(UP_TO_SWAP)
        halting()
        for step in (Step.REDEEM, Step.SETTLE, Step.SWEEP):
            outcome = await desk.run(step)
        assert outcome.position.is_empty

    async def test_selling_back_passes(self, desk: Desk, halting: Halting) -> None:
        await desk.walk(UP_TO_SWAP)
        halting(state="REDUCING")
        assert (await desk.run(Step.UNWIND)).position.discount == 0


class TestSaving:
    @pytest.mark.parametrize("step", [Step.FUND, Step.WRAP, Step.COLLATERALIZE, Step.BORROW])
    async def test_what_was_signed_before_the_halt_is_not_saved_and_its_nonces_are_filled(
        self, desk: Desk, halting: Halting, step: Step
    ) -> None:
        for before in UP_TO_BORROW[: UP_TO_BORROW.index(step)]:
            await desk.run(before)
        order = await desk.signed(await desk.prepare(step))
        halting()
        delivery = await desk.deliver(order)
        assert delivery.outcome is None
        assert delivery.because is not None
        assert delivery.because.message == "desk halted by risk-1: the market moves"
        assert set(delivery.no_ops) == {intent.intent_id for intent in order.batch.intents}
        assert await attempts_of(desk, order.batch) == []
        outcome = outcome_of(
            await desk.deliver(await no_ops_for(desk, order, dict(delivery.no_ops)))
        )
        assert all(inclusion.no_op for inclusion in outcome.inclusions)
        halting(state="ACTIVE", who="risk-2")
        await desk.run(step, attempt=2)

    @pytest.mark.parametrize("stopped", [0.0, 0.3])
    async def test_what_was_saved_long_before_is_not_sent_first_after_a_halt(
        self, desk: Desk, halting: Halting, monkeypatch: pytest.MonkeyPatch, stopped: float
    ) -> None:
        """As where the process is stopped between the two: a moment is let through, more is not."""
        order = await desk.signed(await desk.prepare(Step.FUND))
        save, sent = TransactionStore.save_attempts, list[int]()

        async def saved(self: TransactionStore, *given: Any) -> Any:
            try:
                return await save(self, *given)
            finally:
                halting()
                await asyncio.sleep(stopped)

        async def send(_: Broadcaster, attempts: Sequence[Attempt], **__: bool) -> None:
            sent.append(len(attempts))

        monkeypatch.setattr(TransactionStore, "save_attempts", saved)
        monkeypatch.setattr(Broadcaster, "send", send)
        delivery = await desk.deliver(order)
        assert set(delivery.no_ops) == {intent.intent_id for intent in order.batch.intents}
        assert sent == ([] if stopped else [1])

    async def test_the_database_knows_the_bank_before_the_records_do(
        self, desk: Desk, halting: Halting
    ) -> None:
        order = await desk.signed(await desk.prepare(Step.FUND))
        assert await desk.sql("SELECT bank, module FROM transactions.batches") == [("acme", MODULE)]
        halting("bank=acme")
        with pytest.raises(Halted, match="bank=acme halted"):
            await desk.store.save_attempts(order.batch, order.signed)
        assert await desk.states(order.batch) == ["PREPARED"]

    async def test_a_batch_of_nobodys_bank_is_stopped_by_every_banks_halt(
        self, desk: Desk, halting: Halting
    ) -> None:
        """Batches of before have none, and here no record that would say."""
        order = await desk.signed(await recording(desk))
        halting("bank=other")
        with pytest.raises(Halted):
            await desk.store.save_attempts(order.batch, order.signed)

    async def test_no_ops_in_place_of_what_was_given_up_are_saved(
        self, desk: Desk, halting: Halting
    ) -> None:
        batch = await desk.prepare(Step.FUND)
        await recording(await desk.another())
        halting()
        fill = batch.no_ops()
        await desk.store.add_at(
            fill.model_copy(
                update={
                    "intents": tuple(
                        intent.model_copy(update={"nonce": intent.nonce + 10})
                        for intent in fill.intents
                    )
                }
            )
        )
        _, sent_before = await desk.store.save_attempts(fill, await desk.sign(fill))
        assert not sent_before


class TestSending:
    async def test_bytes_saved_by_a_process_that_died_before_it_sent_them_are_never_sent(
        self, desk: Desk, halting: Halting
    ) -> None:
        order = await desk.signed(await recording(desk, 2))
        await desk.store.save_attempts(order.batch, order.signed)
        halting()
        delivery = await desk.deliver(order)
        assert delivery.because is not None
        assert set(delivery.no_ops) == {intent.intent_id for intent in order.batch.intents}
        assert not any(desk.node.receipt(each.transaction_hash) for each in order.signed)
        await desk.deliver(await no_ops_for(desk, order, dict(delivery.no_ops)))
        assert executions(desk.node, order.batch) == [0, 0]

    async def test_what_is_out_and_not_mined_is_outbid_by_no_ops(
        self, desk: Desk, halting: Halting
    ) -> None:
        desk.node.automine(on=False)
        order = await desk.signed(await recording(desk))
        async with under_way(desk, order) as delivering:
            await until(lambda: pending(desk.node, order.signed[0].transaction_hash))
            halting()
            delivery = await finished(delivering)
        (fees,) = delivery.no_ops.values()
        assert fees.max_fee_per_gas > order.signed[0].fees.max_fee_per_gas
        cancelling = await no_ops_for(desk, order, dict(delivery.no_ops))
        async with under_way(desk, cancelling) as delivering:
            await until(lambda: pending(desk.node, cancelling.signed[0].transaction_hash))
            outcome = outcome_of(await mine_until(delivering, desk.node))
        assert outcome.inclusions[0].no_op
        assert executions(desk.node, order.batch) == [0]

    async def test_what_is_mined_first_is_mined(self, desk: Desk, halting: Halting) -> None:
        order = await desk.signed(await recording(desk))
        await desk.store.save_attempts(order.batch, order.signed)
        desk.node.ask("eth_sendRawTransaction", order.signed[0].raw)
        halting()
        assert outcome_of(await desk.deliver(order)).problem is None
        assert executions(desk.node, order.batch) == [1]

    async def test_where_no_ops_cannot_be_signed_it_is_not_sent_again_and_mined_after_the_release(
        self, desk: Desk, halting: Halting
    ) -> None:
        order = await desk.signed(await recording(desk))
        await desk.store.save_attempts(order.batch, order.signed)
        halting()
        async with under_way(desk, order.model_copy(update={"replaceable": False})) as delivering:
            for _ in range(5):
                desk.node.mine()
                await asyncio.sleep(0.05)
            assert executions(desk.node, order.batch) == [0]
            assert not delivering.done()
            halting(state="ACTIVE", who="risk-2")
            assert outcome_of(await mine_until(delivering, desk.node)).problem is None

    async def test_a_higher_bid_that_comes_too_late_is_not_saved(
        self, desk: Desk, halting: Halting
    ) -> None:
        desk.node.automine(on=False)
        batch = await recording(desk, fees=LOW)
        order = await desk.signed(batch)
        async with under_way(desk, order) as delivering:
            delivery = await passed_over(delivering, desk.node, 3 * GWEI)
        dearer = await desk.signed(batch.with_fees(delivery.replacements))
        halting()
        delivery = await desk.deliver(dearer)
        assert delivery.because is not None
        assert set(delivery.no_ops) == {batch.intents[0].intent_id}
        assert await attempts_of(desk, batch) == [False]

    async def test_the_watch_over_the_chain_sends_nothing_that_is_halted(
        self, desk: Desk, halting: Halting
    ) -> None:
        order = await desk.signed(await recording(desk))
        await desk.store.save_attempts(order.batch, order.signed)
        halting()
        monitor = watching(desk)
        await monitor.round()
        assert executions(desk.node, order.batch) == [0]
        halting(state="ACTIVE", who="risk-2")
        await monitor.round()
        assert executions(desk.node, order.batch) == [1]

    @pytest.mark.parametrize("action", [Action.BUMP, Action.REBROADCAST])
    async def test_nobody_pushes_it_by_hand(
        self, desk: Desk, halting: Halting, action: Action
    ) -> None:
        order = await desk.signed(await recording(desk))
        await desk.store.save_attempts(order.batch, order.signed)
        halting()
        with pytest.raises(Halted):
            await desk.temporal.run(desk.engine.replace_transaction, acting(desk, order, action))
        assert executions(desk.node, order.batch) == [0]

    async def test_it_can_be_cancelled_by_hand(self, desk: Desk, halting: Halting) -> None:
        order = await desk.signed(await recording(desk))
        await desk.store.save_attempts(order.batch, order.signed)
        halting()
        cancelling = acting(desk, order, Action.CANCEL)
        replacement = await desk.temporal.run(desk.engine.replace_transaction, cancelling)
        signed = await desk.sign(replacement.to_sign)
        batch = order.batch
        order_to_send = SendAttempts(
            chain_id=ChainId(CHAIN),
            batch=batch,
            signed=batch.at_nonces_of(replacement.to_sign, signed),
            view=replacement.view,
        )
        view = await desk.temporal.run(desk.engine.send_attempts, order_to_send)
        assert view.note == "a no-op was sent at its nonce"
        assert executions(desk.node, batch) == [0]


class TestTheLoan:
    async def test_a_fresh_loan_is_held_against_the_collateral_of_now(self, desk: Desk) -> None:
        await desk.walk(UP_TO_BORROW[:-1])
        order = await desk.signed(await desk.prepare(Step.BORROW))
        desk.node.send("eth_usd_feed", "setAnswer", 2_100 * 10**8)  # of 3,000 USD
        delivery = await desk.deliver(order)
        assert set(delivery.no_ops) == {intent.intent_id for intent in order.batch.intents}
        assert delivery.because is None
        assert await attempts_of(desk, order.batch) == []

    async def test_a_loan_is_not_bid_for_again_if_it_is_too_large_by_now(self, desk: Desk) -> None:
        await desk.walk(UP_TO_BORROW[:-1])
        batch = await desk.prepare(Step.BORROW)
        desk.node.automine(on=False)
        order = await desk.signed(batch)
        async with under_way(desk, order) as delivering:
            await until(lambda: pending(desk.node, order.signed[0].transaction_hash))
            desk.node.ask("anvil_dropAllTransactions")
            desk.node.automine(on=True)
            desk.node.send("eth_usd_feed", "setAnswer", 2_100 * 10**8)
            desk.node.automine(on=False)
            delivery = await passed_over(
                delivering, desk.node, batch.intents[0].fees.max_fee_per_gas * 2
            )
        assert set(delivery.no_ops) == {intent.intent_id for intent in batch.intents}
        assert not delivery.replacements


class TestWaiting:
    async def test_every_deal_that_waits_is_told_of_its_release(
        self, desk: Desk, halting: Halting
    ) -> None:
        halting()
        releases = Releases(Halts(desk.pool))
        order = DealScope(
            deal_id=desk.request.deal_id,
            bank=desk.request.bank,
            chain_id=desk.request.chain_id,
            module=desk.request.module,
        )
        waiting = [
            asyncio.create_task(desk.temporal.run(releases.await_release, order)) for _ in range(50)
        ]
        done, _ = await asyncio.wait(waiting, timeout=1.2)
        assert not done
        halting(state="REDUCING", who="risk-2")
        async with asyncio.timeout(5):
            assert set(await asyncio.gather(*waiting)) == {TradingState.REDUCING}
        halting(state="ACTIVE", who="risk-2")
        assert await desk.temporal.run(releases.await_release, order) is TradingState.ACTIVE


def acting(desk: Desk, order: DeliverBatch, action: Action) -> ReplaceTransaction:
    return ReplaceTransaction(
        chain_id=ChainId(CHAIN),
        deal_id=desk.request.deal_id,
        intent_id=order.batch.intents[0].intent_id,
        action=action,
    )


def watching(desk: Desk) -> ChainMonitor:
    async def nothing(_: object) -> None:
        pass

    return desk.engine.monitor(nothing, nothing)


class TestTheAdmission:
    """Held against the row of `control.admissions`, by the database, at every first broadcast."""

    async def admit(self, desk: Desk, database: Database, **fields: object) -> None:
        """The deal as it was admitted, behind the back of what would check it."""
        request = desk.request
        admission = {
            "deal_id": request.deal_id,
            "command_id": f"start-{request.deal_id}",
            "bank": request.bank,
            "initiator": "ted",
            "initiator_roles": ["trader"],
            "request_digest": request.digest(),
            "policy_version": 1,
            "rule": "all",
            "value_usd8": 1,
            "approvals_needed": 0,
            "expiry_seconds": 60,
        } | fields
        deal = {
            "deal_id": request.deal_id,
            "bank": request.bank,
            "module": request.module,
            "chain_id": request.chain_id,
            "status": "EXECUTING",
            "working_liquidity": request.working_liquidity.units,
            "max_ltv": request.max_ltv,
            "max_slippage": request.max_slippage,
            "cycles": 1,
            "mode": "stepwise",
            "request": "{}",
            "request_digest": request.digest(),
            "sizing": json.dumps({"gas_reserve_wei": str(RESERVE)}),
            "doing": "fund 1",
            "version": 1,
            "created_at": datetime.now(UTC),
            "updated_at": datetime.now(UTC),
        }
        with psycopg.connect(database.owner) as connection:
            connection.execute("SET session_replication_role = replica")
            for table, row in (("deals.deals", deal), ("control.admissions", admission)):
                connection.execute(
                    sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
                        sql.Identifier(*table.split(".")),
                        sql.SQL(", ").join(map(sql.Identifier, row)),
                        sql.SQL(", ").join(sql.Placeholder() * len(row)),
                    ),
                    list(row.values()),
                )

    @pytest.fixture(autouse=True)
    def forgotten(self, engine_database: Database) -> Iterator[None]:
        yield
        with psycopg.connect(engine_database.owner) as connection:
            connection.execute("SET session_replication_role = replica")
            for table in ("control.admissions", "deals.deals"):
                connection.execute(
                    sql.SQL("DELETE FROM {}").format(sql.Identifier(*table.split(".")))
                )

    async def test_one_that_stands_lets_everything_through(
        self, desk: Desk, engine_database: Database
    ) -> None:
        await self.admit(desk, engine_database)
        assert not (await desk.walk((Step.FUND, Step.WRAP))).is_empty

    @pytest.mark.parametrize(
        ("fields", "reason"),
        [
            ({"released_at": datetime.now(UTC)}, "it is not counted any more"),
            ({"request_digest": "0" * 64}, "the deal has another request"),
            ({"approvals_needed": 1}, "it needs 1 approvals"),
        ],
    )
    async def test_what_it_does_not_cover_is_not_sent(
        self, desk: Desk, engine_database: Database, fields: dict[str, object], reason: str
    ) -> None:
        order = await desk.signed(await desk.prepare(Step.FUND))
        await self.admit(desk, engine_database, **fields)
        delivery = await desk.deliver(order)
        assert delivery.because is not None
        assert delivery.because.code == NotAllowed.code
        assert delivery.because.message.endswith(reason)
        assert set(delivery.no_ops) == {intent.intent_id for intent in order.batch.intents}
        assert await attempts_of(desk, order.batch) == []

    async def test_more_wei_than_were_admitted_are_not_sent(
        self, desk: Desk, engine_database: Database
    ) -> None:
        more = desk.sized(gas_reserve_wei=RESERVE + 1)
        order = await more.signed(await more.prepare(Step.FUND))
        await self.admit(desk, engine_database)
        with pytest.raises(NotAllowed, match="wei are more than the"):
            await desk.store.save_attempts(order.batch, order.signed)

    async def test_exits_ask_for_none(self, desk: Desk, engine_database: Database) -> None:
        await desk.walk((Step.FUND,))
        await self.admit(desk, engine_database, released_at=datetime.now(UTC))
        assert (await desk.run(Step.SWEEP)).position.is_empty
