"""A deal while trading is halted: it does not begin, or waits and goes on after the release."""

from contextlib import suppress
from typing import Final

from temporalio import workflow
from temporalio.exceptions import ActivityError

from activities.halts.interface import HALTS_QUEUE, DealScope, HaltActivities
from domain.deals import DealStatus
from domain.errors import Problem
from domain.halts import TradingState, stops_for_good
from workflows.deal import options
from workflows.deal.asking import ask
from workflows.deal.failures import DealFailure
from workflows.deal.recording import Recording
from workflows.deal.state import DealCancelled, DealState

_LONGEST_SUMMARY: Final = 200


async def ensure_active(deal: DealState) -> None:
    """Raise `ActivityError`, or `DealFailure`, of a halt unless the deal may begin."""
    await ask(deal, HaltActivities.ensure_active, _scope_of(deal), "Is it halted?")


async def wait_for_release(deal: DealState, recording: Recording, problem: Problem) -> None:
    """Show the deal as paused until what has stopped it is released.

    Raises `DealFailure` if it may only be reduced from now on, unless its policy has it wait even
    then, and `DealCancelled`.
    """
    while True:
        if stops_for_good(problem) and not _holds(deal):
            raise DealFailure(problem)
        deal.halted = problem
        await recording.move(DealStatus.PAUSED, problem.message)
        try:
            state = await _released(deal, problem)
        finally:
            deal.halted = None
        if state is TradingState.ACTIVE:
            await recording.move(DealStatus.EXECUTING, "released")
            return
        problem = problem.model_copy(update={"actual": str(state)})


async def _released(deal: DealState, problem: Problem) -> TradingState:
    """The trading state that follows; looking for it takes one activity, however long it lasts."""
    if deal.leaving:
        raise DealCancelled
    waiting = workflow.start_activity_method(
        HaltActivities.await_release,
        _scope_of(deal),
        task_queue=HALTS_QUEUE,
        summary=f"Wait for the release: {problem.message}"[:_LONGEST_SUMMARY],
        **options.RELEASE,
    )
    await workflow.wait_condition(lambda: waiting.done() or deal.leaving)
    if waiting.done():
        return await waiting
    waiting.cancel()
    with suppress(ActivityError):
        await waiting
    raise DealCancelled


def _scope_of(deal: DealState) -> DealScope:
    request = deal.request
    return DealScope(
        deal_id=request.deal_id,
        bank=request.bank,
        chain_id=request.chain_id,
        module=request.module,
        holds=_holds(deal),
    )


def _holds(deal: DealState) -> bool:
    """Whether the policy that the deal was admitted by has it wait while it may only be reduced."""
    return deal.policy is not None and deal.policy.halts.on_reducing == "hold"
