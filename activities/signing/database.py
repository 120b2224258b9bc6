"""The signer's database: what its errors mean to a workflow."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg
from psycopg_pool import AsyncConnectionPool

from domain.errors import Unavailable

Pool = AsyncConnectionPool[psycopg.AsyncConnection[Any]]
"""Connections as the role deal_signer.

With autocommit a batch costs one round trip, without it three.
"""


@asynccontextmanager
async def connected(pool: Pool) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
    """Lend a connection, committed at the end.

    Raises `Unavailable` for any failure of the database but a broken constraint, which is an
    answer and is passed on.
    """
    try:
        async with pool.connection() as connection:
            yield connection
    except psycopg.IntegrityError:
        raise
    except psycopg.Error as error:
        raise Unavailable(
            "the signer's database does not answer",
            field="database",
            actual=type(error).__name__,
            next_action="wait, or look at the database of the signer",
        ) from error
