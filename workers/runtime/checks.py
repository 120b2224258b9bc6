"""How each kind of dependency is asked whether it is there."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from typing import Any, Final

from psycopg import AsyncConnection
from temporalio.client import Client

from domain.errors import Unavailable
from workers.runtime.health import CHECK_SECONDS, Check

_WITHIN: Final = timedelta(seconds=CHECK_SECONDS)


def temporal(client: Client) -> Check:
    """Ask Temporal's frontend whether it serves."""

    async def check() -> None:
        if not await client.service_client.check_health(timeout=_WITHIN):
            raise Unavailable(
                "Temporal does not serve",
                field="TEMPORAL_ADDRESS",
                next_action="check that Temporal runs",
            )

    return check


def database(connections: Callable[[], AbstractAsyncContextManager[AsyncConnection[Any]]]) -> Check:
    """Have Postgres answer the smallest question."""

    async def check() -> None:
        async with connections() as connection:
            await connection.execute("SELECT 1")

    return check
