"""What a deal does when the chain goes back, and what people do to its transactions."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

import pytest
from temporalio.client import WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from activities.deals.interface import DealRecord
from activities.transactions.interface import Action, ChainReleased, FillNonce, ReleaseChain
from domain.deals import Command, DealRequest, DealStatus, Step
from domain.errors import DealError, NotAllowed, SigningRefused, TransactionReplaced
from domain.tracking import Notice, Receipt
from domain.views import DealView
from tests.workflows.conftest import LAUNCH, Theatre
from tests.workflows.fakes import (
    ACCOUNT,
    CHAIN,
    FEES,
    GAS,
    GAS_PRICE,
    OUTBIDDING,
    Script,
    expected_profit,
    released,
)
from workflows.chain.fill import FillNonceWorkflow
from workflows.chain.fill import workflow_id as fill_id
from workflows.chain.release import ReleaseChainWorkflow
from workflows.chain.release import workflow_id as release_id
from workflows.deal.messages import TransactionMessage
from workflows.deal.workflow import TASK_QUEUE, DealWorkflow


def error(kind: type[DealError]) -> DealError:
    """An error of this kind."""
    return kind("the script says so", next_action="read the script", field="script")


def receipt(request: DealRequest, key: str, **changes: Any) -> Receipt:
    """Where the only transaction of a batch is now; by default in another block, as it was."""
    fields: dict[str, Any] = {
        "intent_id": f"{request.deal_id}/{key}/0",
        "transaction_hash": "0xmoved",
        "block_number": 77,
        "block_hash": "0x" + "77" * 32,
        "succeeded": True,
        "gas_used": GAS,
        "effective_gas_price": GAS_PRICE,
    }
    return Receipt(**fields | changes)


def recorded(script: Script, key: str) -> list[int]:
    """The blocks that a batch was recorded in, one after the other."""
    steps = [record.step for record in script.records if record.step is not None]
    return [
        step.outcome.inclusions[0].block_number
        for step in steps
        if str(step.outcome.key).split("/", 1)[1] == key
    ]


class Held:
    """A deal whose delivery of one batch waits for the test."""

    def __init__(self, theatre: Theatre, key: str, **script: Any) -> None:
        """Hold the delivery of the batch of this key."""
        self.theatre = theatre
        self.key = key
        self.go_on = asyncio.Event()
        self.script = Script(held={key: self.go_on}, **script)
        self.request = theatre.request(self.script)
        self.handle = theatre.handle(self.request.deal_id)

    async def reached(self) -> Held:
        """Start the deal and wait until it delivers that batch."""
        await self.theatre.deals.start(self.request, LAUNCH)
        async with asyncio.timeout(20):
            while self.key not in self.script.of("deliver"):  # noqa: ASYNC110 - nobody tells us
                await asyncio.sleep(0.01)
        return self

    async def hear(
        self, number: int, *, undone: tuple[str, ...] = (), mined: tuple[Receipt, ...] = ()
    ) -> None:
        """Tell the deal what has become of the transactions of these batches."""
        deal_id = self.request.deal_id
        notice = Notice(
            notice_id=number,
            chain_id=CHAIN,
            deal_id=deal_id,
            undone=tuple(f"{deal_id}/{key}/0" for key in undone),
            mined=mined,
        )
        await self.handle.signal(DealWorkflow.chain_notice, notice)

    async def act(self, action: Action, intent_id: str | None = None) -> Any:
        """Act on the transaction that is held, or on another."""
        message = TransactionMessage(
            who="on-call",
            why="a test",
            intent_id=intent_id or f"{self.request.deal_id}/{self.key}/0",
            action=action,
        )
        async with asyncio.timeout(20):
            return await self.handle.execute_update(DealWorkflow.transact, message, id=uuid4().hex)

    async def waits(self) -> DealView:
        """The deal as it waits for the chain."""
        return await self.theatre.until(
            self.request.deal_id, lambda view: "the chain went back" in view.doing
        )

    async def end(self) -> DealView:
        """The deal as it ended."""
        return await self.theatre.end(self.request.deal_id)


class TestNotices:
    async def test_one_that_comes_while_the_end_is_recorded_takes_nothing_back(
        self, theatre: Theatre
    ) -> None:
        deal = Held(theatre, "wrap/1/1")
        deal.go_on.set()
        told = asyncio.Event()

        async def tell(record: DealRecord) -> None:
            if record.view.status is DealStatus.COMPLETED and not told.is_set():
                told.set()
                elsewhere = receipt(deal.request, "wrap/1/1")
                await deal.hear(1, mined=(elsewhere,))

        deal.script.on_record = tell
        await (await deal.reached()).end()
        statuses = [record.view.status for record in deal.script.records]
        assert statuses[-1] is DealStatus.COMPLETED
        assert statuses.count(DealStatus.COMPLETED) == 1

    async def test_it_builds_upon_nothing_that_is_in_no_block(self, theatre: Theatre) -> None:
        deal = await Held(theatre, "collateralize/1/1").reached()
        await deal.hear(1, undone=("wrap/1/1",))
        deal.go_on.set()
        waiting = await deal.waits()
        assert waiting.status is DealStatus.EXECUTING
        assert waiting.doing == "the chain went back before 1 transactions: waiting"
        assert len(waiting.steps) == 3
        assert "borrow/1/1" not in deal.script.of("prepare")

        await deal.hear(2, mined=(receipt(deal.request, "wrap/1/1"),))
        ended = await deal.end()
        assert ended.status is DealStatus.COMPLETED
        first, second = recorded(deal.script, "wrap/1/1")
        assert (first != 77, second) == (True, 77)
        moved = ended.steps[1].outcome.inclusions[0]
        assert (moved.block_number, moved.transaction_hash) == (77, "0xmoved")
        # What may move again is looked at until it cannot any more.
        assert "finalize" in deal.script.calls

    async def test_the_same_notice_twice_changes_nothing(self, theatre: Theatre) -> None:
        deal = await Held(theatre, "collateralize/1/1").reached()
        mined = (receipt(deal.request, "wrap/1/1"),)
        for number in (1, 2, 1, 2, 1):
            if number == 1:
                await deal.hear(1, undone=("wrap/1/1",))
            else:
                await deal.hear(2, mined=mined)
        deal.go_on.set()
        assert (await deal.end()).status is DealStatus.COMPLETED
        assert len(recorded(deal.script, "wrap/1/1")) == 2

    async def test_it_waits_for_every_transaction_that_was_undone(self, theatre: Theatre) -> None:
        deal = await Held(theatre, "collateralize/1/1").reached()
        await deal.hear(1, undone=("fund/1/1", "wrap/1/1"))
        deal.go_on.set()
        await deal.waits()
        await deal.hear(2, mined=(receipt(deal.request, "wrap/1/1"),))
        view = await deal.handle.query(DealWorkflow.view)
        assert "the chain went back" in view.doing
        assert "borrow/1/1" not in deal.script.of("prepare")
        await deal.hear(3, mined=(receipt(deal.request, "fund/1/1"),))
        assert (await deal.end()).status is DealStatus.COMPLETED

    async def test_a_result_that_is_another_now_leads_to_the_way_out(
        self, theatre: Theatre
    ) -> None:
        deal = await Held(theatre, "borrow/1/1").reached()
        await deal.hear(1, mined=(receipt(deal.request, "wrap/1/1", succeeded=False),))
        deal.go_on.set()
        ended = await deal.end()
        assert ended.status is DealStatus.UNWOUND
        assert "swap/1/1" not in deal.script.of("prepare")
        assert ended.problem is not None
        assert (ended.problem.code, ended.problem.field, ended.problem.actual) == (
            "transaction_reverted",
            f"{deal.request.deal_id}/wrap/1/1/0",
            "REVERTED",
        )
        assert not ended.steps[1].outcome.inclusions[0].succeeded

    async def test_a_no_op_in_a_transactions_place_is_another_result(
        self, theatre: Theatre
    ) -> None:
        deal = await Held(theatre, "borrow/1/1").reached()
        await deal.hear(1, mined=(receipt(deal.request, "wrap/1/1", no_op=True),))
        deal.go_on.set()
        ended = await deal.end()
        assert ended.status is DealStatus.UNWOUND
        assert ended.problem is not None
        assert ended.problem.actual == "REPLACED"

    async def test_it_can_be_cancelled_while_it_waits(self, theatre: Theatre) -> None:
        deal = await Held(theatre, "collateralize/1/1").reached()
        await deal.hear(1, undone=("wrap/1/1",))
        deal.go_on.set()
        await deal.waits()
        await theatre.command(deal.request.deal_id, Command.CANCEL)
        ended = await deal.end()
        assert ended.status is DealStatus.UNWOUND
        assert "borrow/1/1" not in deal.script.of("prepare")

    async def test_what_was_undone_during_a_pause_is_waited_for_when_it_resumes(
        self, theatre: Theatre
    ) -> None:
        deal = await Held(theatre, "collateralize/1/1").reached()
        deal_id = deal.request.deal_id
        await theatre.command(deal_id, Command.PAUSE)
        deal.go_on.set()
        await theatre.until(deal_id, lambda view: view.status is DealStatus.PAUSED)
        await deal.hear(1, undone=("wrap/1/1",))
        await theatre.command(deal_id, Command.RESUME)
        await deal.waits()
        assert "borrow/1/1" not in deal.script.of("prepare")
        await deal.hear(2, mined=(receipt(deal.request, "wrap/1/1"),))
        assert (await deal.end()).status is DealStatus.COMPLETED


class TestFinality:
    async def test_the_settlement_counts_the_gas_that_was_paid_in_the_end(
        self, theatre: Theatre
    ) -> None:
        script = Script(final=False)
        request = theatre.request(script)
        dearer = receipt(request, "fund/1/1", gas_used=GAS + 5, effective_gas_price=3 * GAS_PRICE)
        script.receipts = [(dearer,)]
        await theatre.deals.start(request, LAUNCH)
        ended = await theatre.end(request.deal_id)
        assert ended.status is DealStatus.COMPLETED
        assert ended.settlement is not None
        assert ended.sizing is not None
        assert ended.settlement.ether_wei == -(GAS + 5) * 3 * GAS_PRICE
        assert ended.settlement.par == expected_profit(ended.sizing)
        assert recorded(script, "fund/1/1")[-1] == 77

    async def test_a_result_that_turns_out_to_be_another_at_the_very_end_unwinds(
        self, theatre: Theatre
    ) -> None:
        script = Script(final=False)
        request = theatre.request(script)
        script.receipts = [(receipt(request, "sweep/1/1", succeeded=False),)]
        await theatre.deals.start(request, LAUNCH)
        ended = await theatre.end(request.deal_id)
        assert ended.status is DealStatus.UNWOUND
        assert ended.problem is not None
        assert ended.problem.field == f"{request.deal_id}/sweep/1/1/0"
        assert script.calls.count("finalize") == 2

    async def test_a_way_out_that_was_overturned_is_gone_again(self, theatre: Theatre) -> None:
        script = Script(final=False)
        request = theatre.request(script)
        swept = receipt(request, "sweep/1/1", succeeded=False)
        again = receipt(request, "sweep/2/1", succeeded=False, block_number=78)
        script.receipts = [(swept,), (swept, again), (swept, again)]
        noting = script.note

        def what_was_swept_is_back(what: str, key: str = "") -> None:
            if what == "finalize" and script.calls.count("finalize") < 2:
                script.position = script.position.model_copy(update={"wei": 10**18})
            noting(what, key)

        script.note = what_was_swept_is_back  # type: ignore[method-assign]
        await theatre.deals.start(request, LAUNCH)
        ended = await theatre.end(request.deal_id)
        assert ended.status is DealStatus.UNWOUND
        swept_how_often = [key for key in script.of("deliver") if key.startswith("sweep")]
        assert swept_how_often == ["sweep/1/1", "sweep/2/1", "sweep/3/1"]
        assert script.position.is_empty
        assert script.calls.count("finalize") == 3


class TestNoOps:
    async def test_a_no_op_is_signed_for_what_must_not_happen_any_more(
        self, theatre: Theatre
    ) -> None:
        script = Script(
            displaced={"wrap/1/1": OUTBIDDING}, outcomes={"wrap/1/1": error(TransactionReplaced)}
        )
        view = await theatre.run(script)
        assert view.status is DealStatus.COMPLETED
        at = script.calls.index("prepare wrap/1/1")
        assert script.calls[at : at + 6] == [
            "prepare wrap/1/1",
            "sign wrap/1/1",
            "deliver wrap/1/1",
            "sign wrap/1/1/fill",
            "deliver wrap/1/1",
            "prepare wrap/1/2",
        ]
        first, second = (o for o in script.delivered if str(o.batch.key).endswith("wrap/1/1"))
        assert second.batch == first.batch
        (signed,) = second.signed
        assert (signed.intent_id, signed.no_op, signed.fees) == (
            first.batch.intents[0].intent_id,
            True,
            OUTBIDDING,
        )
        assert view.steps[1].outcome.inclusions[0].no_op

    async def test_where_it_is_refused_the_first_bytes_are_waited_for(
        self, theatre: Theatre
    ) -> None:
        script = Script(
            displaced={"wrap/1/1": OUTBIDDING},
            refused={("sign", "wrap/1/1/fill"): [error(SigningRefused)]},
        )
        delivered = script.note

        def never_again(what: str, key: str = "") -> None:
            if (what, key) == ("sign", "wrap/1/1/fill"):
                script.displaced.clear()
            delivered(what, key)

        script.note = never_again  # type: ignore[method-assign]
        view = await theatre.run(script)
        assert view.status is DealStatus.COMPLETED
        first, second = (o for o in script.delivered if str(o.batch.key).endswith("wrap/1/1"))
        assert (second.signed, second.replaceable) == (first.signed, False)


class TestActing:
    async def test_a_higher_bid_is_signed_and_sent_for_the_same_intent(
        self, theatre: Theatre
    ) -> None:
        deal = await Held(theatre, "wrap/1/1").reached()
        view = await deal.act(Action.BUMP)
        assert view.intent_id == f"{deal.request.deal_id}/wrap/1/1/0"
        assert deal.script.calls[-3:] == ["replace bump", "sign wrap/1/1", "send wrap/1/1"]
        (order,) = deal.script.sent
        (signed,) = order.signed
        assert (signed.intent_id, signed.fees, signed.no_op) == (view.intent_id, OUTBIDDING, False)
        assert order.batch.intents[0].fees == FEES
        shown = await deal.handle.query(DealWorkflow.view)
        assert "bump" in shown.doing
        assert "a test (on-call)" in shown.doing
        deal.go_on.set()
        assert (await deal.end()).status is DealStatus.COMPLETED

    async def test_cancelling_signs_and_sends_a_no_op_at_the_nonce_of_the_intent(
        self, theatre: Theatre
    ) -> None:
        deal = await Held(theatre, "wrap/1/1").reached()
        view = await deal.act(Action.CANCEL)
        assert deal.script.calls[-3:] == ["replace cancel", "sign wrap/1/1/fill", "send wrap/1/1"]
        (order,) = deal.script.sent
        (signed,) = order.signed
        assert (signed.intent_id, signed.fees, signed.no_op) == (view.intent_id, OUTBIDDING, True)
        assert order.batch.intents[0].intent_id == view.intent_id
        deal.go_on.set()
        assert (await deal.end()).status is DealStatus.COMPLETED

    async def test_sending_again_signs_nothing(self, theatre: Theatre) -> None:
        deal = await Held(theatre, "wrap/1/1").reached()
        await deal.act(Action.REBROADCAST)
        assert deal.script.calls[-1] == "replace rebroadcast"
        assert deal.script.sent == []
        deal.go_on.set()
        await deal.end()

    @pytest.mark.parametrize("of", ["another/wrap/1/1/0", "{deal}0/wrap/1/1/0", "{deal}"])
    async def test_a_transaction_of_another_deal_is_refused(
        self, theatre: Theatre, of: str
    ) -> None:
        deal = await Held(theatre, "wrap/1/1").reached()
        with pytest.raises(WorkflowUpdateFailedError) as caught:
            await deal.act(Action.CANCEL, of.format(deal=deal.request.deal_id))
        cause = caught.value.cause
        assert isinstance(cause, ApplicationError)
        assert (cause.type, cause.details[0]["field"]) == ("not_found", "intent")
        assert deal.script.of("replace") == []
        deal.go_on.set()
        await deal.end()

    @pytest.mark.parametrize(
        "by", [("replace", "bump"), ("sign", "wrap/1/1"), ("send", "wrap/1/1")]
    )
    async def test_a_refusal_is_the_answer_and_harms_nothing(
        self, theatre: Theatre, by: tuple[str, str]
    ) -> None:
        deal = await Held(theatre, "wrap/1/1").reached()
        deal.script.refused[by] = [error(NotAllowed)]
        with pytest.raises(WorkflowUpdateFailedError) as caught:
            await deal.act(Action.BUMP)
        cause = caught.value.cause
        assert isinstance(cause, ApplicationError)
        assert (cause.type, cause.details[0]["field"]) == ("not_allowed", "script")
        assert deal.script.sent == []
        deal.go_on.set()
        assert (await deal.end()).status is DealStatus.COMPLETED

    async def test_nobody_acts_for_a_deal_that_has_ended(self, theatre: Theatre) -> None:
        deal = await Held(theatre, "wrap/1/1").reached()
        deal.go_on.set()
        await deal.end()
        with pytest.raises(RPCError) as caught:
            await deal.act(Action.REBROADCAST)
        assert caught.value.status is RPCStatusCode.NOT_FOUND
        assert deal.script.of("replace") == []


async def test_a_chain_is_released_in_the_name_of_who_asks(theatre: Theatre) -> None:
    order = ReleaseChain(chain_id=CHAIN, who="ann", why="looked " * 60)
    result = await theatre.client.execute_workflow(
        ReleaseChainWorkflow.run, order, id=release_id(CHAIN), task_queue=TASK_QUEUE
    )
    assert result == ChainReleased(chain_id=CHAIN, cleared=True)
    assert released == [order]


async def test_a_nonce_that_nothing_holds_is_filled_with_what_the_engine_plans(
    theatre: Theatre,
) -> None:
    script = Script()
    deal_id = (await theatre.run(script)).request.deal_id
    order = FillNonce(
        chain_id=CHAIN,
        account=ACCOUNT,
        deal_id=deal_id,
        deal_account=ACCOUNT,
        step=Step.SWEEP,
        nonce=7,
    )
    view = await theatre.client.execute_workflow(
        FillNonceWorkflow.run, order, id=fill_id(order), task_queue=TASK_QUEUE
    )
    key = "sweep/1/1/fill"
    assert script.calls[-3:] == ["plan 7", f"sign {key}", f"send {key}"]
    (sent,) = script.sent
    assert [signed.intent_id for signed in sent.signed] == [view.intent_id]
    assert view.intent_id == f"{deal_id}/{key}/0"
