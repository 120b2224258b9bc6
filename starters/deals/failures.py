"""Temporal's errors, turned back into the domain's own."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from temporalio.client import (
    WorkflowFailureError,
    WorkflowQueryFailedError,
    WorkflowQueryRejectedError,
    WorkflowUpdateFailedError,
)
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from domain.errors import DealError, NotFound, OutcomeUnknown, Unavailable, error_from
from domain.identifiers import DealId
from workflows.deal.failures import problem_of

_PASSING: Final = frozenset(
    {
        RPCStatusCode.UNAVAILABLE,
        RPCStatusCode.DEADLINE_EXCEEDED,
        RPCStatusCode.RESOURCE_EXHAUSTED,
        RPCStatusCode.ABORTED,
        RPCStatusCode.CANCELLED,
        # A query while no worker has polled the task queue for some time.
        RPCStatusCode.FAILED_PRECONDITION,
    }
)


@contextmanager
def domain_errors(deal_id: DealId) -> Iterator[None]:
    """Raise the domain's error for whatever Temporal answers about a deal.

    `NotFound`, `Unavailable` (no server or no worker answers), `OutcomeUnknown` (the workflow was
    ended from outside), or the error that the workflow itself gave.
    """
    try:
        yield
    except (WorkflowUpdateFailedError, WorkflowQueryFailedError, WorkflowQueryRejectedError) as e:
        raise error_from(problem_of(e)) from e
    except WorkflowFailureError as error:
        raise _failure(deal_id, error) from error
    except RPCError as error:
        raise _rpc(deal_id, error) from error


def not_found(deal_id: DealId) -> NotFound:
    """There is no such deal, neither running nor recorded."""
    return NotFound(
        f"there is no deal {deal_id}",
        field="deal_id",
        value=deal_id,
        next_action="compare the id with `deal list`",
    )


def _failure(deal_id: DealId, error: WorkflowFailureError) -> DealError:
    if isinstance(error.cause, ApplicationError):
        return error_from(problem_of(error))
    # Terminated, cancelled or timed out by the server: nobody has looked at what was done.
    return OutcomeUnknown(
        f"the workflow of deal {deal_id} was ended from outside",
        field="deal_id",
        value=deal_id,
        actual=str(error.cause),
        next_action="look at the last step with `deal show` and at its account on the chain",
    )


def _rpc(deal_id: DealId, error: RPCError) -> DealError:
    if error.status is RPCStatusCode.NOT_FOUND:
        return not_found(deal_id)
    if error.status in _PASSING:
        return Unavailable(
            f"nobody answers for deal {deal_id} now",
            field="deal_id",
            value=deal_id,
            actual=f"{error.status.name}: {error.message}",
            next_action="check that Temporal and the deals worker run, and try again",
        )
    return DealError(
        f"Temporal refuses the request for deal {deal_id}",
        field="deal_id",
        value=deal_id,
        actual=f"{error.status.name}: {error.message}",
        next_action="check TEMPORAL_NAMESPACE and the credentials",
    )
