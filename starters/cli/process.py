"""How the process of a command ends."""

import os
import sys
from collections.abc import Callable, Coroutine
from contextlib import suppress
from types import TracebackType
from typing import Any, NoReturn

_TEMPORAL_CORE = "temporalio.bridge"


def run_async(command: Coroutine[Any, Any, None]) -> None:
    """Run a command that waits for others."""
    import asyncio  # noqa: PLC0415 - help needs none of it

    asyncio.run(command)


def run_and_leave(command: Callable[[], object]) -> NoReturn:
    """Run a command to its exit code and end the process with it.

    Temporal's native threads may abort an interpreter that is shutting down, so a process that has
    loaded them flushes what it has printed and leaves at once.
    """
    sys.excepthook = _tell_masked
    code = 0
    try:
        command()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    if not any(name.startswith(_TEMPORAL_CORE) for name in sys.modules):
        sys.exit(code)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # the reader of a pipe may have gone
            stream.flush()
    os._exit(code)


def _tell_masked(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """Tell of a defect without the secrets that its words may hold."""
    from workers.runtime.masking import mask_tracebacks  # noqa: PLC0415 - help needs none of it

    mask_tracebacks()
    sys.excepthook(kind, error, trace)
