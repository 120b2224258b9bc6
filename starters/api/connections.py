"""The API's connections: pools to Postgres, and one client of Temporal that comes and goes."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Final

from psycopg import AsyncConnection
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool
from temporalio.client import Client

from domain.errors import Unavailable

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
        check=AsyncConnectionPool.check_connection,
        kwargs={"autocommit": True, "connect_timeout": _CONNECT_SECONDS},
    )
    async with pool:
        yield pool


class TemporalConnection:
    """Connects when somebody needs it, and again if Temporal was away."""

    def __init__(self, connect: Callable[[], Coroutine[Any, Any, Client]]) -> None:
        """Connect by this."""
        self._connect = connect
        self._client: Client | None = None
        self._connecting = asyncio.Lock()
        self._failed_at = float("-inf")
        self._failure: Unavailable | None = None

    async def client(self) -> Client:
        """Return the client. Raises `Unavailable`; who asks often is told of the last failure."""
        if self._client is not None:
            return self._client
        async with self._connecting:
            if self._client is None:
                self._client = await self._connected()
            return self._client

    async def client_if_up(self) -> Client | None:
        """Return the client; None while Temporal cannot even be reached."""
        try:
            return await self.client()
        except Unavailable:
            return None

    async def _connected(self) -> Client:
        if self._failure is not None and time.monotonic() - self._failed_at < _AGAIN_SECONDS:
            raise self._failure
        try:
            return await self._connect()
        except Unavailable as failure:
            self._failure, self._failed_at = failure, time.monotonic()
            raise
