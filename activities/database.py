"""Connections to Postgres, as activities take them: what its failures mean to a workflow."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from domain.errors import Unavailable

Pool = AsyncConnectionPool[AsyncConnection[Any]]
"""Connections of one role. With autocommit a statement costs one round trip, without it three."""


@asynccontextmanager
async def connected(
    pool: Pool, without: str = "the database does not answer"
) -> AsyncIterator[AsyncConnection[Any]]:
    """Lend a connection, committed at the end; `without` says what cannot be done without it.

    Raises `Unavailable` for any failure of the database but a broken constraint, which is an
    answer and is passed on. Postgres's own words are not: they may repeat what was sent.
    """
    try:
        async with pool.connection() as connection:
            yield connection
    except psycopg.IntegrityError:
        raise
    except psycopg.Error as error:
        raise Unavailable(
            without,
            field="database",
            actual=type(error).__name__,
            next_action="wait: it is tried again until Postgres answers",
        ) from error
