"""The API's connections: pools to Postgres, and one client of Temporal that comes and goes."""

import asyncio
import select
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Final

from psycopg import AsyncConnection
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool
from temporalio.client import Client
from temporalio.service import RPCError

from domain.errors import Unavailable
from workers.runtime import checks

_WAIT_SECONDS: Final = 3.0
_CONNECT_SECONDS: Final = 2
_AGAIN_SECONDS: Final = 1.0

Pool = AsyncConnectionPool[AsyncConnection[TupleRow]]


@asynccontextmanager
async def open_pool(url: str, size: int) -> AsyncIterator[Pool]:
    """Keep connections for as long as this lasts; the database need not be there yet."""
    pool: Pool = AsyncConnectionPool(
        url,
        min_size=1,
        max_size=size,
        open=False,
        timeout=_WAIT_SECONDS,
        check=check_open,
        kwargs={"autocommit": True, "connect_timeout": _CONNECT_SECONDS},
    )
    async with pool:
        yield pool


async def check_open(connection: AsyncConnection[Any]) -> None:
    """Raise if a connection that waited in the pool is open no more; that costs no round trip.

    A server that went away has closed its end, which can be read. What else there is to read is
    looked at by asking.
    """
    waiting = select.poll()
    waiting.register(connection.fileno(), select.POLLIN)
    if waiting.poll(0):
        await AsyncConnectionPool.check_connection(connection)


class TemporalConnection:
    """Connects when somebody needs it, and knows when Temporal went away, and is back."""

    def __init__(self, connect: Callable[[], Coroutine[Any, Any, Client]]) -> None:
        """Connect by this."""
        self._connect = connect
        self._client: Client | None = None
        self._asking = asyncio.Lock()
        self._asked_at = float("-inf")
        self._failure: Unavailable | None = None

    async def client(self) -> Client:
        """Return the client of a server that has answered within the last second.

        Raises `Unavailable`; who asks often is told of the last failure. What is given to a server
        that is away would be neither refused nor queued: nobody would know what became of it.
        """
        async with self._asking:
            if time.monotonic() - self._asked_at >= _AGAIN_SECONDS:
                await self._ask()
        if self._failure is not None:
            raise self._failure
        if self._client is None:
            raise AssertionError  # it was asked for, and there is no failure
        return self._client

    async def client_if_up(self) -> Client | None:
        """Return the client; None while Temporal cannot even be reached."""
        try:
            return await self.client()
        except Unavailable:
            return None

    async def _ask(self) -> None:
        self._failure = None
        try:
            if self._client is None:
                self._client = await self._connect()
            else:
                await checks.temporal(self._client)()
        except Unavailable as failure:
            self._failure = failure
        except RPCError as error:
            self._failure = Unavailable(
                "Temporal does not answer",
                field="TEMPORAL_ADDRESS",
                actual=error.status.name,
                next_action="check that Temporal runs, and try again",
            )
        self._asked_at = time.monotonic()
