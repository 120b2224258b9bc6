"""What the deal does when the chain or the signer does something unusual."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from activities.deals.interface import DealRecord
from domain.deals import Command, DealStatus, Step
from domain.errors import (
    DealError,
    InvalidConfiguration,
    LimitExceeded,
    PostConditionFailed,
    SigningRefused,
    TransactionReverted,
)
from domain.transactions import Fees
from domain.views import DealView
from tests.workflows.conftest import LAUNCH, Theatre
from tests.workflows.fakes import FEES, GAS, GAS_PRICE, Script, expected_profit
from workflows.deal.messages import CommandMessage
from workflows.deal.workflow import TASK_QUEUE, DealWorkflow, workflow_id

HIGHER = Fees(max_fee_per_gas=3_000, max_priority_fee_per_gas=2_000)


def error(kind: type[DealError]) -> DealError:
    """An error of this kind."""
    return kind("the script says so", next_action="read the script", field="script")


def keys(view: DealView) -> list[str]:
    """The deal's batches in the order in which they were executed, without the deal id."""
    return [str(step.outcome.key).split("/", 1)[1] for step in view.steps]


async def test_a_deal_whose_script_is_empty_goes_well(theatre: Theatre) -> None:
    script = Script()
    view = await theatre.run(script)
    assert view.status is DealStatus.COMPLETED
    assert view.sizing is not None
    assert view.settlement is not None
    assert view.settlement.par == expected_profit(view.sizing)
    assert view.settlement.ether_wei == -GAS * GAS_PRICE
    assert "finalize" not in script.calls


async def test_a_refused_signature_gives_its_nonce_back_and_the_step_is_prepared_anew(
    theatre: Theatre,
) -> None:
    script = Script(refused={("sign", "borrow/1/1"): [error(SigningRefused)]})
    view = await theatre.run(script)
    assert view.status is DealStatus.COMPLETED
    at = script.calls.index("prepare borrow/1/1")
    assert script.calls[at : at + 7] == [
        "prepare borrow/1/1",
        "sign borrow/1/1",
        "withhold borrow/1/1",
        "abandon borrow/1/1",
        "prepare borrow/1/2",
        "sign borrow/1/2",
        "deliver borrow/1/2",
    ]
    assert "borrow/1/1" not in keys(view)


async def test_a_nonce_that_cannot_go_back_is_filled_and_its_gas_is_in_the_settlement(
    theatre: Theatre,
) -> None:
    script = Script(refused={("sign", "fund/1/1"): [error(SigningRefused)]}, gaps={"fund/1/1"})
    view = await theatre.run(script)
    assert view.status is DealStatus.COMPLETED
    at = script.calls.index("abandon fund/1/1")
    assert script.calls[at + 1 : at + 4] == [
        "sign fund/1/1/fill",
        "deliver fund/1/1/fill",
        "prepare fund/1/2",
    ]
    assert keys(view)[:2] == ["fund/1/1/fill", "fund/1/2"]
    filled = view.steps[0].outcome
    assert filled.problem is not None
    assert filled.problem.code == "signing_refused"
    assert view.settlement is not None
    assert view.settlement.ether_wei == 2 * -GAS * GAS_PRICE


async def test_what_was_signed_after_all_is_delivered_and_not_prepared_again(
    theatre: Theatre,
) -> None:
    script = Script(
        refused={("sign", "fund/1/1"): [error(SigningRefused)]}, signed_after_all={"fund/1/1"}
    )
    view = await theatre.run(script)
    assert view.status is DealStatus.COMPLETED
    assert script.of("prepare").count("fund/1/1") == 1
    assert script.of("abandon") == []
    assert [key for key in keys(view) if key.startswith("fund")] == ["fund/1/1"]


async def test_a_signer_that_goes_on_refusing_leads_to_the_way_out(theatre: Theatre) -> None:
    refusals = {("sign", f"borrow/1/{n}"): [error(SigningRefused)] for n in (1, 2, 3)}
    view = await theatre.run(Script(refused=refusals))
    assert view.status is DealStatus.UNWOUND
    assert keys(view) == ["fund/1/1", "wrap/1/1", "collateralize/1/1", "settle/1/1", "sweep/1/1"]
    assert view.problem is not None
    assert view.problem.code == "signing_refused"


async def test_a_higher_fee_is_signed_for_the_same_intent(theatre: Theatre) -> None:
    script = Script(dearer={"wrap/1/1": HIGHER})
    view = await theatre.run(script)
    assert view.status is DealStatus.COMPLETED
    first, second = (o for o in script.delivered if o.batch.key.step is Step.WRAP)
    assert (first.batch.intents[0].fees, second.batch.intents[0].fees) == (FEES, HIGHER)
    assert second.batch == first.batch.with_fees({first.batch.intents[0].intent_id: HIGHER})
    assert second.signed[0].fees == HIGHER
    wrapped = view.steps[1].outcome.inclusions[0]
    assert wrapped.transaction_hash == second.signed[0].transaction_hash


async def test_where_a_higher_fee_is_refused_the_first_bytes_are_waited_for(
    theatre: Theatre,
) -> None:
    script = Script(dearer={"wrap/1/1": HIGHER})
    script.refused[("sign", "wrap/1/1")] = []
    signed = script.note

    def second_is_refused(what: str, key: str = "") -> None:
        if (what, key) == ("sign", "wrap/1/1") and key in script.of("sign"):
            script.refused[what, key] = [error(SigningRefused)]
        signed(what, key)

    script.note = second_is_refused  # type: ignore[method-assign]
    view = await theatre.run(script)
    assert view.status is DealStatus.COMPLETED
    first, second = (o for o in script.delivered if o.batch.key.step is Step.WRAP)
    assert second.signed == first.signed
    assert second.batch == first.batch
    assert (first.replaceable, second.replaceable) == (True, False)
    assert script.of("withhold") == []


async def test_a_step_that_reverts_twice_is_built_anew_each_time(theatre: Theatre) -> None:
    reverted = error(TransactionReverted)
    script = Script(outcomes={"swap/1/1": reverted, "swap/1/2": reverted})
    view = await theatre.run(script)
    assert view.status is DealStatus.COMPLETED
    assert [key for key in keys(view) if key.startswith("swap")] == [
        "swap/1/1",
        "swap/1/2",
        "swap/1/3",
    ]
    assert [s.outcome.problem is not None for s in view.steps[4:7]] == [True, True, False]
    assert view.problem is None


async def test_a_step_that_reverts_three_times_leads_to_the_way_out(theatre: Theatre) -> None:
    outcomes = {f"swap/1/{n}": error(TransactionReverted) for n in (1, 2, 3)}
    view = await theatre.run(Script(outcomes=outcomes))
    assert view.status is DealStatus.UNWOUND
    # Only the interest that may accrue while it is repaid is missing.
    assert keys(view)[-3:] == ["top_up/1/1", "settle/1/1", "sweep/1/1"]
    assert view.problem is not None
    assert view.problem.code == "transaction_reverted"


async def test_a_step_that_was_executed_but_not_as_promised_is_never_repeated(
    theatre: Theatre,
) -> None:
    script = Script(outcomes={"borrow/1/1": error(PostConditionFailed)})
    view = await theatre.run(script)
    assert view.status is DealStatus.UNWOUND
    assert script.of("prepare").count("borrow/1/1") == 1
    assert "borrow/1/2" not in script.of("prepare")
    assert view.problem is not None
    assert view.problem.code == "post_condition_failed"


async def test_a_later_cycle_that_does_not_pay_ends_the_deal_well(theatre: Theatre) -> None:
    script = Script(refused={("prepare", "swap/2/1"): [error(LimitExceeded)]})
    view = await theatre.run(script, cycles=3)
    assert view.status is DealStatus.COMPLETED
    assert keys(view)[4:] == ["swap/1/1", "redeem/1/1", "settle/1/1", "sweep/1/1"]
    assert view.problem is None


async def test_a_first_cycle_that_does_not_pay_is_unwound(theatre: Theatre) -> None:
    script = Script(refused={("prepare", "swap/1/1"): [error(LimitExceeded)]})
    view = await theatre.run(script, cycles=3)
    assert view.status is DealStatus.UNWOUND
    assert view.problem is not None
    assert view.problem.code == "limit_exceeded"


async def test_a_deal_that_cannot_be_unwound_is_stuck_until_somebody_cancels_again(
    theatre: Theatre,
) -> None:
    script = Script(
        refused={
            ("prepare", "borrow/1/1"): [error(LimitExceeded)],
            ("prepare", "settle/1/1"): [error(LimitExceeded)],
        }
    )
    deal_id = (await theatre.start(script)).request.deal_id
    stuck = await theatre.until(deal_id, lambda view: view.status is DealStatus.STUCK)
    assert "`deal retry` tries to unwind again" in stuck.doing
    assert '"collateral":"9000000000000000000"' in stuck.doing
    assert stuck.problem is not None
    assert stuck.problem.code == "limit_exceeded"

    await theatre.command(deal_id, Command.CANCEL)
    ended = await theatre.end(deal_id)
    assert ended.status is DealStatus.UNWOUND
    assert keys(ended)[-2:] == ["settle/2/1", "sweep/1/1"]


@pytest.mark.parametrize("what", ["read_position", "finalize"])
async def test_no_failed_activity_ends_a_deal_that_has_funds_on_the_chain(
    theatre: Theatre, what: str
) -> None:
    script = Script(refused={(what, ""): [error(InvalidConfiguration)]}, final=False)
    script.refused["prepare", "borrow/1/1"] = [error(LimitExceeded)]
    deal_id = (await theatre.start(script)).request.deal_id
    stuck = await theatre.until(deal_id, lambda view: view.status is DealStatus.STUCK)
    assert stuck.problem is not None
    assert stuck.problem.code == "invalid_configuration"

    await theatre.command(deal_id, Command.CANCEL)
    assert (await theatre.end(deal_id)).status is DealStatus.UNWOUND


async def test_a_deal_is_closed_only_when_its_transactions_are_final(theatre: Theatre) -> None:
    script = Script(final=False)
    view = await theatre.run(script)
    assert view.status is DealStatus.COMPLETED
    assert script.calls[-1] == "finalize"
    assert [r.view.status for r in script.records].count(DealStatus.COMPLETED) == 1


async def test_every_step_is_recorded_once_in_order(theatre: Theatre) -> None:
    script = Script()
    view = await theatre.run(script)
    versions = [record.view.version for record in script.records]
    assert versions == list(range(1, view.version + 1))
    recorded = [record.step for record in script.records if record.step is not None]
    assert tuple(recorded) == view.steps


async def test_paused_again_while_it_resumes_a_deal_stays_paused(theatre: Theatre) -> None:
    admitted, resuming, recorded = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def slow_when_resumed(record: DealRecord) -> None:
        if record.view.doing == "resumed" and not recorded.is_set():
            resuming.set()
            await recorded.wait()

    script = Script(admitted_when=admitted, on_record=slow_when_resumed)
    request = theatre.request(script)
    await theatre.client.start_workflow(
        DealWorkflow.run,
        args=[request, LAUNCH],
        id=workflow_id(request.deal_id),
        task_queue=TASK_QUEUE,
        task_timeout=timedelta(seconds=1),  # how long a slow record keeps messages waiting
    )
    await theatre.command(request.deal_id, Command.PAUSE)
    admitted.set()
    await theatre.until(request.deal_id, lambda view: view.status is DealStatus.PAUSED)

    await theatre.command(request.deal_id, Command.RESUME)
    await resuming.wait()
    again = await theatre.command(request.deal_id, Command.PAUSE)
    assert again.status is DealStatus.EXECUTING
    recorded.set()
    await theatre.until(request.deal_id, lambda view: view.status is DealStatus.PAUSED)
    assert script.of("prepare") == []

    await theatre.command(request.deal_id, Command.RESUME)
    assert (await theatre.end(request.deal_id)).status is DealStatus.COMPLETED


async def test_each_change_is_recorded_with_the_message_that_made_it(theatre: Theatre) -> None:
    holds = {"admitted": asyncio.Event(), "resumed": asyncio.Event()}

    async def hold(record: DealRecord) -> None:
        if record.view.doing in holds:
            await holds[record.view.doing].wait()

    script = Script(on_record=hold)
    request = theatre.request(script)
    await theatre.client.start_workflow(
        DealWorkflow.run,
        args=[request, LAUNCH],
        id=workflow_id(request.deal_id),
        task_queue=TASK_QUEUE,
        task_timeout=timedelta(seconds=1),  # as above
    )

    async def give(command: Command) -> None:
        message = CommandMessage(who=f"who {command}s", why=f"to {command}")
        name = f"{request.deal_id}-{command}"
        await theatre.deals.command(request.deal_id, command, message, name)

    await give(Command.PAUSE)
    holds["admitted"].set()
    await theatre.until(request.deal_id, lambda view: view.status is DealStatus.PAUSED)
    await give(Command.RESUME)
    await give(Command.CANCEL)
    holds["resumed"].set()
    assert (await theatre.end(request.deal_id)).status is DealStatus.UNWOUND

    told = {
        (record.cause.who, record.cause.why, record.cause.command_id, record.view.status)
        for record in script.records
        if record.cause is not None
    }
    made = {
        Command.PAUSE: DealStatus.PAUSED,
        Command.RESUME: DealStatus.EXECUTING,
        Command.CANCEL: DealStatus.UNWINDING,
    }
    assert told == {
        (f"who {command}s", f"to {command}", f"{request.deal_id}-{command}", status)
        for command, status in made.items()
    }
    by_itself = {record.view.doing for record in script.records if record.cause is None}
    assert by_itself >= {"sizing", "admitted", "done"}
