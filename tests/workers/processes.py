"""Processes that a test starts and ends by their own id."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

SECONDS: Final = 30.0
_OURS: Final = ("DEAL_", "TEMPORAL_", "OTEL_")
_KEPT: Final = "DEAL_CODEC_"


def bare_environment(variables: Mapping[str, str]) -> dict[str, str]:
    """This process's environment with these variables in place of everything of ours.

    All but the codec's keys: what a test and its process send each other has to be readable.
    """
    kept = {
        name: value
        for name, value in os.environ.items()
        if name.startswith(_KEPT) or not name.upper().startswith(_OURS)
    }
    return kept | variables


@contextmanager
def running(code: str, **variables: str) -> Iterator[subprocess.Popen[str]]:
    """A Python process that runs this code until the test is done with it."""
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=bare_environment(variables),
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def ended(process: subprocess.Popen[str]) -> tuple[int, list[dict[str, Any]]]:
    """Wait for its end; return its exit code and the JSON lines of its standard error."""
    _, errors = process.communicate(timeout=SECONDS)
    return process.returncode, [json.loads(line) for line in errors.splitlines()]


def told_to_stop(process: subprocess.Popen[str], number: int = signal.SIGTERM) -> None:
    """Send a signal to the process itself."""
    os.kill(process.pid, number)


def until(condition: Callable[[], object], process: subprocess.Popen[str]) -> None:
    """Wait for something that the process must bring about."""
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.02)
