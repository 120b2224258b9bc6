"""The life of a worker process: start, say that it is ready, drain on SIGTERM, stop."""

import asyncio
import contextlib
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, TypeVar

import psycopg
import structlog
from psycopg_pool import AsyncConnectionPool
from temporalio.client import Client
from temporalio.worker import Worker

from domain.errors import DealError
from workers.runtime import checks
from workers.runtime.connect import connect
from workers.runtime.health import Health, serving
from workers.runtime.settings import WorkerSettings
from workers.runtime.telemetry import (
    serve_metrics,
    set_up_logging,
    tracing_interceptors,
    worker_runtime,
)

BUILD_ID: Final = version("deal-orchestrator")
"""Of every worker. Without one the SDK hashes all loaded modules, which takes up to a second of a
start, and so of the recovery after a crash."""

_LINGER_SECONDS: Final = 0.25

_log = structlog.get_logger(__name__)
S = TypeVar("S", bound=WorkerSettings)
Build = Callable[[S, Client, AsyncExitStack, Health], Awaitable[list[Worker]]]


def run_process(name: str, settings: type[S], build: Build[S]) -> None:
    """Run until SIGTERM or SIGINT; a known error ends the process with its code and one line."""
    set_up_logging()
    try:
        asyncio.run(_serve(name, settings.load(), build))
    except DealError as error:
        _log.error("worker cannot run", worker=name, **error.problem.model_dump(exclude_none=True))
        sys.exit(error.exit_code)
    finally:
        # The SDK's own threads must be done with Python before it ends, or it ends with an abort.
        time.sleep(_LINGER_SECONDS)


async def _serve(name: str, settings: S, build: Build[S]) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    serve_metrics(settings.metrics_address)
    health = Health(name, BUILD_ID)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(serving(health, settings.health_address))
        client = await connect(
            runtime=worker_runtime(), interceptors=tracing_interceptors(f"deal-{name}")
        )
        health.watch("temporal", checks.temporal(client), without="no task is taken")
        workers = await build(settings, client, stack, health)
        for worker in workers:
            await stack.enter_async_context(worker)
        with _ready(settings.ready_file):
            health.started = True
            _log.info("ready", worker=name, task_queues=[w.task_queue for w in workers])
            await stopping.wait()
        health.stopping = True
        _log.info("draining", worker=name)
        # All at once: one after the other they would take as many times the drain time.
        await asyncio.gather(*(worker.shutdown() for worker in workers))
    _log.info("stopped", worker=name)


@contextlib.contextmanager
def _ready(file: Path | None) -> Any:  # noqa: ANN401 - a context manager
    """Keep the ready file for as long as the worker polls."""
    if file is not None:
        file.touch()
    try:
        yield
    finally:
        if file is not None:
            file.unlink(missing_ok=True)


@contextlib.asynccontextmanager
async def database_pool(
    url: str, *, size: int
) -> AsyncIterator[AsyncConnectionPool[psycopg.AsyncConnection[tuple[Any, ...]]]]:
    """A pool of connections that are committed or rolled back by their users."""
    pool: AsyncConnectionPool[psycopg.AsyncConnection[tuple[Any, ...]]] = AsyncConnectionPool(
        url, min_size=1, max_size=size, open=False, timeout=10, kwargs={"autocommit": True}
    )
    async with pool:
        yield pool
