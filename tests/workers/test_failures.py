"""From an activity's error to the failure that Temporal is told."""

from typing import Any

import psycopg
import psycopg_pool
import pytest
from temporalio.exceptions import ApplicationError
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput

from domain.errors import (
    DealError,
    LimitExceeded,
    OutcomeUnknown,
    Problem,
    Unavailable,
    error_from,
    errors_by_code,
)
from workers.runtime.failures import FailureInterceptor, application_error

INPUT: Any = object()
OURS = [kind for kind in errors_by_code().values() if kind.__module__ == DealError.__module__]


class Activity(ActivityInboundInterceptor):
    """An activity that raises, or answers."""

    def __init__(self, outcome: object) -> None:
        self.outcome = outcome

    async def execute_activity(self, input: ExecuteActivityInput) -> object:  # noqa: A002 - the SDK's name
        assert input is INPUT
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        return self.outcome


async def run(outcome: object) -> Any:
    return await FailureInterceptor().intercept_activity(Activity(outcome)).execute_activity(INPUT)


async def failure_of(error: BaseException) -> ApplicationError:
    with pytest.raises(ApplicationError) as caught:
        await run(error)
    assert caught.value.__cause__ is error
    return caught.value


async def test_an_answer_is_passed_on() -> None:
    assert await run(42) == 42


@pytest.mark.parametrize("kind", OURS, ids=[kind.code for kind in OURS])
async def test_every_error_of_ours_keeps_its_code_its_facts_and_whether_to_retry(
    kind: type[DealError],
) -> None:
    error = kind("it failed", next_action="do this", field="f", value=1, limit=2, actual=3)
    failure = await failure_of(error)
    assert (failure.type, failure.message) == (kind.code, "it failed")
    assert failure.non_retryable is not kind.retryable
    (details,) = failure.details
    assert details == error.problem.model_dump()
    assert type(error_from(Problem.model_validate(details))) is kind


def test_what_is_retried_is_the_error_trees_decision() -> None:
    for kind, non_retryable in (
        (Unavailable, False),
        (OutcomeUnknown, False),
        (LimitExceeded, True),
    ):
        assert application_error(kind("x", next_action="y")).non_retryable is non_retryable


@pytest.mark.parametrize(
    "error",
    [
        psycopg.OperationalError("connection refused"),
        psycopg.errors.AdminShutdown("going down"),
        psycopg.InterfaceError("the connection is closed"),
        psycopg_pool.PoolTimeout("no connection in time"),
    ],
)
async def test_a_database_that_is_away_is_waited_for(error: Exception) -> None:
    failure = await failure_of(error)
    assert (failure.type, failure.non_retryable) == ("unavailable", False)
    (details,) = failure.details
    assert (details["field"], details["actual"]) == ("DEAL_DATABASE_URL", type(error).__name__)
    assert str(error) not in str(details)


@pytest.mark.parametrize(
    "error",
    [
        psycopg.errors.UniqueViolation("a bug"),
        ZeroDivisionError("a bug"),
        ApplicationError("said so itself", type="other"),
    ],
)
async def test_other_errors_are_passed_on_as_they_are(error: Exception) -> None:
    with pytest.raises(type(error)) as caught:
        await run(error)
    assert caught.value is error
