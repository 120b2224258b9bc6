"""Runs named steps that need one another: each as soon as what it needs is done."""

from __future__ import annotations

from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from starters.local.errors import StartCancelledError

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator, Sequence


@dataclass(frozen=True)
class Step:
    """One thing to do, after the steps named in `needs`; names that are not run count as done."""

    name: str
    run: Callable[[], None]
    needs: tuple[str, ...] = ()


def run_steps(steps: Sequence[Step], cancelled: threading.Event) -> None:
    """Run all steps, in parallel where they do not need one another.

    The steps are expected in an order in which each comes after what it needs. When one fails, or
    the user interrupts, `cancelled` is set, the running ones are waited for, and the first error is
    raised.
    """
    running: dict[str, Future[None]] = {}
    with ThreadPoolExecutor(max_workers=max(1, len(steps))) as pool, _cancelling(cancelled):
        for step in steps:
            needed = [running[name] for name in step.needs if name in running]
            running[step.name] = pool.submit(_run, step, needed, cancelled)
        wait(running.values(), return_when=FIRST_EXCEPTION)
        _raise_first(list(running.values()))


@contextmanager
def _cancelling(cancelled: threading.Event) -> Iterator[None]:
    # Leaving the pool waits for its threads, so they have to be told before.
    try:
        yield
    except BaseException:
        cancelled.set()
        raise


def _run(step: Step, needed: Sequence[Future[None]], cancelled: threading.Event) -> None:
    wait(needed)
    if cancelled.is_set() or any(future.exception() for future in needed):
        raise StartCancelledError(step.name)
    step.run()


def _raise_first(futures: Sequence[Future[None]]) -> None:
    errors = [error for future in futures if future.done() and (error := future.exception())]
    causes = [error for error in errors if not isinstance(error, StartCancelledError)]
    for error in [*causes, *errors]:
        raise error
