"""What a deal is predicted to do: a dry run at its admission, kept beside what it then does."""

import asyncio

from temporalio import workflow
from temporalio.exceptions import ActivityError

from activities.dryrun.interface import DryRun, DryRunActivities, DryRunResult
from domain.identifiers import Address
from domain.predictions import Prediction, realised
from workflows.deal import options
from workflows.deal.failures import DealFailure, problem_of
from workflows.deal.state import DealState
from workflows.deal.transaction import chain_queue


def predict_beside(deal: DealState, *, from_safe: bool = False) -> None:
    """Have the deal run dry beside what it does next; that it is not predicted holds up nothing.

    The deal's own account may be funded meanwhile, so a throwaway address stands for it.
    """
    deal.predicting = asyncio.create_task(_note(deal, from_safe=from_safe))


async def predict(deal: DealState, *, from_safe: bool = False) -> Prediction:
    """Run the deal dry and keep what is predicted, for people to approve.

    Raises `DealFailure` with what the deal would meet, or that it cannot be predicted.
    """
    try:
        deal.prediction = await _dry_run(deal, deal.account, from_safe=from_safe)
    except ActivityError as error:
        raise DealFailure(problem_of(error)) from error
    return deal.prediction


async def compare(deal: DealState) -> None:
    """Put what was realised beside the prediction, if there is one and anything was done."""
    if deal.predicting is not None:
        await deal.predicting
    if deal.prediction is None or deal.settlement is None:
        return
    took = deal.steps[-1].finished_at - deal.steps[0].started_at
    deal.realised = realised(
        [step.outcome for step in deal.steps],
        deal.settlement,
        price_e18=deal.prediction.pool_price_e18,
        duration_seconds=round(took.total_seconds()),
    )


async def _note(deal: DealState, *, from_safe: bool) -> None:
    try:
        deal.prediction = await _dry_run(deal, None, from_safe=from_safe)
    except ActivityError as error:
        workflow.logger.warning("not predicted: %s", problem_of(error).message)


async def _dry_run(deal: DealState, account: Address | None, *, from_safe: bool) -> Prediction:
    result: DryRunResult = await workflow.execute_activity_method(
        DryRunActivities.dry_run,
        DryRun(
            request=deal.request,
            sizing=deal.sizing,
            account=account,
            treasury=deal.treasury,
            from_safe=from_safe,
        ),
        task_queue=chain_queue(deal.request.chain_id),
        summary="Run it dry",
        **options.ADMISSION,
    )
    return result.prediction
