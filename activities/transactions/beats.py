"""Heartbeats of activities that wait."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from temporalio import activity

_SECONDS: Final = 5.0


@asynccontextmanager
async def heartbeats() -> AsyncIterator[None]:
    """Tell Temporal all the while that this activity is alive, however slow a node may answer."""

    async def beat() -> None:
        while True:  # most are over before the first one, which would cost the server
            await asyncio.sleep(_SECONDS)
            activity.heartbeat()

    beating = asyncio.create_task(beat())
    try:
        yield
    finally:
        beating.cancel()
