"""From the domain's errors to Temporal's: what is retried is the error tree's decision."""

from typing import Any

import psycopg
import psycopg_pool
from temporalio.exceptions import ApplicationError
from temporalio.worker import (
    ActivityInboundInterceptor,
    ExecuteActivityInput,
    Interceptor,
)

from domain.errors import DealError, Unavailable

_DATABASE_AWAY = (psycopg.OperationalError, psycopg.InterfaceError, psycopg_pool.PoolTimeout)


class FailureInterceptor(Interceptor):
    """Gives every activity failure its code as type and its `Problem` as details."""

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:  # noqa: A002 - the SDK's name
        """Wrap the activity."""
        return _Inbound(next)


class _Inbound(ActivityInboundInterceptor):
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002, ANN401 - the SDK's signature
        try:
            return await super().execute_activity(input)
        except DealError as error:
            raise application_error(error) from error
        except _DATABASE_AWAY as error:
            raise application_error(_database_away(error)) from error


def application_error(error: DealError) -> ApplicationError:
    """The Temporal failure that carries a domain error."""
    return ApplicationError(
        str(error),
        error.problem.model_dump(),
        type=error.code,
        non_retryable=not error.retryable,
    )


def _database_away(error: Exception) -> Unavailable:
    return Unavailable(
        "the database does not answer",
        field="DEAL_DATABASE_URL",
        actual=type(error).__name__,
        next_action="start the database; the activity is retried until it answers",
    )
