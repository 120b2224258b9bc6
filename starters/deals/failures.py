"""Temporal's errors, turned back into the domain's own."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple

from temporalio.client import (
    WorkflowFailureError,
    WorkflowQueryFailedError,
    WorkflowQueryRejectedError,
    WorkflowUpdateFailedError,
)
from temporalio.exceptions import ActivityError, ApplicationError
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


class About(NamedTuple):
    """What a request to Temporal is about: in words, and as field and value of an error."""

    text: str
    field: str
    value: object


@contextmanager
def domain_errors(deal_id: DealId) -> Iterator[None]:
    """Raise the domain's error for whatever Temporal answers about a deal.

    `NotFound`, `Unavailable` (no server or no worker answers), `OutcomeUnknown` (the workflow was
    ended from outside), or the error that the workflow itself gave.
    """
    try:
        with errors_about(About(f"deal {deal_id}", "deal_id", deal_id)):
            yield
    except RPCError as error:
        raise not_found(deal_id) from error


@contextmanager
def errors_about(about: About) -> Iterator[None]:
    """Raise the domain's error likewise; that there is no such workflow stays an `RPCError`."""
    try:
        yield
    except WorkflowQueryFailedError as error:
        raise _unanswered(about) from error
    except (WorkflowUpdateFailedError, WorkflowQueryRejectedError) as error:
        raise error_from(problem_of(error)) from error
    except WorkflowFailureError as error:
        raise _failure(about, error) from error
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            raise
        raise _rpc(about, error) from error


def not_found(deal_id: DealId) -> NotFound:
    """There is no such deal, neither running nor recorded."""
    return NotFound(
        f"there is no deal {deal_id}",
        field="deal_id",
        value=deal_id,
        next_action="compare the id with `deal list`",
    )


def _failure(about: About, error: WorkflowFailureError) -> DealError:
    cause = error.cause.cause if isinstance(error.cause, ActivityError) else error.cause
    if isinstance(cause, ApplicationError):
        return error_from(problem_of(error))
    # Terminated, cancelled or timed out by the server: nobody has looked at what was done.
    return OutcomeUnknown(
        f"the workflow of {about.text} was ended from outside",
        field=about.field,
        value=about.value,
        actual=str(error.cause),
        next_action="look at the last step with `deal show` and at its account on the chain",
    )


def _unanswered(about: About) -> Unavailable:
    """Of a query: it only looks, so the worker could not look just now.

    The SDK gives its words as they were encoded, and no cause; they are in the worker's log.
    """
    return Unavailable(
        f"the deals worker cannot answer for {about.text} now",
        field=about.field,
        value=about.value,
        next_action="try again; if it goes on, look at its workflow in the Web UI",
    )


def _rpc(about: About, error: RPCError) -> DealError:
    actual = f"{error.status.name}: {error.message}"
    if error.status in _PASSING:
        return Unavailable(
            f"nobody answers for {about.text} now",
            field=about.field,
            value=about.value,
            actual=actual,
            next_action="check that Temporal and the deals worker run, and try again",
        )
    return DealError(
        f"Temporal refuses the request for {about.text}",
        field=about.field,
        value=about.value,
        actual=actual,
        next_action="check TEMPORAL_NAMESPACE and the credentials",
    )
