"""Asking the records: by a local activity, which costs no round trip to Temporal.

The worker that runs a deal's workflow has the records itself. What they answer is in the history
once the task that asked is done; if that is lost they are asked again, so whatever is asked here is
idempotent.
"""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from temporalio import workflow
from temporalio.exceptions import ApplicationError

from workflows.deal import options
from workflows.deal.failures import DealFailure, problem_of
from workflows.deal.state import DealState
from workflows.deal.transaction import DEALS_QUEUE

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")


async def ask(
    deal: DealState, method: Callable[[Any, Asked], Awaitable[Answer]], order: Asked, summary: str
) -> Answer:
    """Ask, and return the answer; deals from before ask by way of the queue.

    Raises `DealFailure`, or `ActivityError`, with the reason if it is refused, and `ActivityError`
    if nobody answers within a minute.
    """
    if not deal.asks_records:
        return await workflow.execute_activity_method(
            method, order, task_queue=DEALS_QUEUE, summary=summary, **options.ADMISSION
        )
    try:
        return await workflow.execute_local_activity_method(
            method, order, summary=summary, **options.ASK
        )
    except ApplicationError as error:  # bare, unless it timed out
        raise DealFailure(problem_of(error)) from error
