"""The user's cache folder, shared by all stacks, and locks between processes."""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from starters.local.errors import LocalStackError

if TYPE_CHECKING:
    from collections.abc import Iterator

_RETRY_SECONDS = 0.1


def cache_dir() -> Path:
    """Return the folder for fetched binaries: `DEAL_CACHE_DIR`, or below the user's cache."""
    if chosen := os.environ.get("DEAL_CACHE_DIR"):
        return Path(chosen).expanduser().absolute()
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "deal-orchestrator"


def try_lock(file: Path) -> int | None:
    """Take the lock on `file`; return its descriptor (close it to release), or None if held.

    The kernel releases the lock when the holder dies, however it dies.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


@contextmanager
def exclusive(file: Path, *, timeout: float) -> Iterator[None]:
    """Hold the lock on `file`, waiting up to `timeout` seconds for another holder.

    Raises:
        LocalStackError: the lock was still held when the time was up.

    """
    deadline = time.monotonic() + timeout
    while (descriptor := try_lock(file)) is None:
        if time.monotonic() > deadline:
            raise LocalStackError(
                what=f"{file} is locked",
                why=f"another process has been working on it for over {timeout:.0f} s",
                action="Wait for it to end, or end it, and try again.",
            )
        time.sleep(_RETRY_SECONDS)  # flock(2) cannot wait with a time limit
    try:
        yield
    finally:
        os.close(descriptor)
