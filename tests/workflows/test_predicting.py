"""A deal is run dry beside its admission, and what came of it is held against that in the end."""

from __future__ import annotations

import asyncio

import pytest
from temporalio.client import WorkflowFailureError

from activities.dryrun.interface import DryRun
from domain.deals import Command, DealStatus, Step
from domain.errors import NoPrediction, RedemptionFrozen, SimulationFailed
from tests.workflows.conftest import Theatre
from tests.workflows.fakes import ACCOUNT, GAS, PREDICTION, TREASURY, Script
from workflows.deal.failures import problem_of
from workflows.deal.workflow import TASK_QUEUE
from workflows.dryrun.workflow import DryRunWorkflow, workflow_id


async def test_a_deal_is_predicted_at_its_admission_and_compared_at_its_end(
    theatre: Theatre,
) -> None:
    script = Script()
    ended = await theatre.run(script)
    assert ended.status is DealStatus.COMPLETED
    (order,) = script.dry_runs
    assert (order.request, order.sizing) == (ended.request, ended.sizing)
    # Its own account may be funded by the time that it is looked at.
    assert (order.account, order.treasury, order.from_safe) == (None, TREASURY, False)
    assert ended.account == ACCOUNT
    assert ended.prediction == PREDICTION
    assert ended.settlement is not None
    assert ended.realised is not None
    assert ended.realised.gas == len(ended.steps) * GAS
    assert ended.realised.profit_usd8 == ended.settlement.profit_usd8
    assert ended.comparison is not None
    assert ended.comparison.realised == ended.realised


async def test_both_are_recorded_once(theatre: Theatre) -> None:
    script = Script()
    ended = await theatre.run(script)
    assert [r.prediction for r in script.records if r.prediction] == [PREDICTION]
    assert [r.realised for r in script.records if r.realised] == [ended.realised]
    assert script.records[-1].realised == ended.realised
    # They would be in every record's payload otherwise, as steps would.
    assert not any(r.view.prediction or r.view.realised for r in script.records)


@pytest.mark.parametrize("why", [NoPrediction, SimulationFailed])
async def test_a_deal_that_cannot_be_predicted_goes_on_without(
    theatre: Theatre, why: type[NoPrediction]
) -> None:
    script = Script(unpredictable=why("cannot be run dry", next_action="nothing"))
    ended = await theatre.run(script)
    assert ended.status is DealStatus.COMPLETED
    assert (ended.prediction, ended.realised, ended.comparison) == (None, None, None)
    assert not any(record.prediction or record.realised for record in script.records)


async def test_a_deal_that_is_unwound_is_compared_too(theatre: Theatre) -> None:
    script = Script(
        outcomes={
            f"borrow/1/{attempt}": SimulationFailed("no", next_action="none")
            for attempt in (1, 2, 3)
        }
    )
    ended = await theatre.run(script)
    assert ended.status is DealStatus.UNWOUND
    assert ended.comparison is not None
    assert {step.step for step in ended.comparison.realised.steps} >= {Step.FUND, Step.BORROW}


async def test_a_safe_that_pays_is_said_to(theatre: Theatre) -> None:
    script = Script(owners_decide=True, expiry_seconds=1)
    await theatre.run(script)
    assert [order.from_safe for order in script.dry_runs] == [True]


async def test_what_people_approve_is_predicted_first_with_the_deals_own_account(
    theatre: Theatre,
) -> None:
    script = Script(approvals_needed=1)
    view = await theatre.start(script)
    assert view.status is DealStatus.AWAITING_APPROVAL
    assert view.prediction == PREDICTION
    assert view.desk_approval is not None
    assert view.desk_approval.prediction_digest == PREDICTION.digest()
    assert [order.account for order in script.dry_runs] == [ACCOUNT]
    await theatre.command(view.request.deal_id, Command.CANCEL)
    ended = await theatre.end(view.request.deal_id)
    assert (ended.status, ended.realised) == (DealStatus.REJECTED, None)


@pytest.mark.parametrize("why", [NoPrediction, RedemptionFrozen])
async def test_nobody_approves_what_cannot_be_predicted(
    theatre: Theatre, why: type[NoPrediction]
) -> None:
    refusal = why("cannot be run dry", next_action="nothing")
    script = Script(approvals_needed=1, unpredictable=refusal)
    view = await theatre.start(script)
    assert view.status is DealStatus.DENIED
    assert view.problem == refusal.problem
    assert script.ordered == []


class TestDryRunWorkflow:
    async def test_it_answers_with_what_the_deal_would_do(self, theatre: Theatre) -> None:
        script = Script()
        request = theatre.request(script)
        result = await theatre.client.execute_workflow(
            DryRunWorkflow.run,
            DryRun(request=request),
            id=workflow_id(request.deal_id, "one"),
            task_queue=TASK_QUEUE,
        )
        assert result.prediction == PREDICTION
        assert result.sizing.borrow > 0
        assert script.calls == []  # nothing of a deal

    async def test_it_fails_with_what_a_deal_would_meet(self, theatre: Theatre) -> None:
        refusal = RedemptionFrozen("frozen", next_action="wait")
        request = theatre.request(Script(unpredictable=refusal))
        with pytest.raises(WorkflowFailureError) as caught:
            async with asyncio.timeout(30):
                await theatre.client.execute_workflow(
                    DryRunWorkflow.run,
                    DryRun(request=request),
                    id=workflow_id(request.deal_id, "two"),
                    task_queue=TASK_QUEUE,
                )
        assert problem_of(caught.value) == refusal.problem
