"""What a process does beside its work, for as long as it lives."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Final

import structlog

_CANCEL_SECONDS: Final = 0.5

_log = structlog.get_logger(__name__)


@asynccontextmanager
async def beside(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Do this beside whatever is done inside; a defect in it ends the process."""
    task = asyncio.create_task(work)
    task.add_done_callback(_stop_on_failure)
    try:
        yield
    finally:
        await ended(task)


async def ended(task: asyncio.Task[Any]) -> None:
    """Cancel it and wait for its end; what it ends with is looked at elsewhere.

    A cancellation that comes together with what a task waits for can be lost: Python 3.11's
    `asyncio.wait_for`, by which connections are lent, then returns as if there had been none.
    """
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=_CANCEL_SECONDS)


def _stop_on_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        _log.error("work in the background failed", exc_info=task.exception())
        os.kill(os.getpid(), signal.SIGTERM)  # drain, and let whoever runs this start it again
