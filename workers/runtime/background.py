"""What a process does beside its work, for as long as it lives."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import structlog

_log = structlog.get_logger(__name__)


@asynccontextmanager
async def beside(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Do this beside whatever is done inside; a defect in it ends the process."""
    task = asyncio.create_task(work)
    task.add_done_callback(_stop_on_failure)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _stop_on_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        _log.error("work in the background failed", exc_info=task.exception())
        os.kill(os.getpid(), signal.SIGTERM)  # drain, and let whoever runs this start it again
