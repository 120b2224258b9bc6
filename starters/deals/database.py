"""Reading the database as the role ``deal_reader``."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import DictRow, TupleRow, dict_row

from domain.errors import InvalidConfiguration, Unavailable

_CONNECT_SECONDS: Final = 5

Connections = Callable[[], AbstractAsyncContextManager[AsyncConnection[TupleRow]]]
"""Where a connection comes from for one read: a pool's `connection`, or `single_connection`."""


def single_connection(database_url: str, variable: str = "DEAL_DATABASE_URL") -> Connections:
    """Open one connection each time: what a command that reads or changes once needs.

    `variable` is where the URL is set, to be named if it cannot be read.
    """

    @asynccontextmanager
    async def connection() -> AsyncIterator[AsyncConnection[TupleRow]]:
        try:
            opened = await AsyncConnection.connect(
                database_url, autocommit=True, connect_timeout=_CONNECT_SECONDS
            )
        except psycopg.ProgrammingError:
            # The driver's own message repeats the text, and with it the password.
            raise InvalidConfiguration(
                f"{variable} cannot be read",
                field=variable,
                limit="postgresql://user:password@host:port/database",
                next_action="correct the URL; its password must be percent-encoded",
            ) from None
        async with opened:
            yield opened

    return connection


async def fetch(
    connections: Connections,
    query: str,
    parameters: Any,  # noqa: ANN401 - both styles
) -> list[DictRow]:
    """Return the rows of one query. Raises `Unavailable`."""
    try:
        async with (
            connections() as connection,
            connection.cursor(row_factory=dict_row) as cursor,
        ):
            await cursor.execute(query.encode(), parameters)
            return await cursor.fetchall()
    except (psycopg.OperationalError, psycopg.InterfaceError) as error:
        raise Unavailable(
            "the records cannot be read now",
            field="DEAL_DATABASE_URL",
            actual=str(error).partition("\n")[0],
            next_action="start the local stack with `deal local up`, or set DEAL_DATABASE_URL",
        ) from error
