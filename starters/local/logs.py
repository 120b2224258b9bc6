"""The logs of the servers: begun, limited, and read from their end."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_LIMIT = 20 * 1024 * 1024  # bytes; then the log is begun anew and the full one kept beside it
_TAIL = 64 * 1024


def begin_log(log: Path) -> None:
    """Make room for a server that is about to write there."""
    log.parent.mkdir(parents=True, exist_ok=True)
    if log.exists() and log.stat().st_size > _LIMIT:
        log.replace(log.with_suffix(".1.log"))


def tail(log: Path, lines: int = 20, start: int = 0) -> str:
    """Return the last lines of a log, no further back than byte `start`."""
    if not log.exists():
        return ""
    with log.open("rb") as handle:
        size = handle.seek(0, os.SEEK_END)
        handle.seek(max(start if start <= size else 0, size - _TAIL))
        text = handle.read().decode(errors="replace")
    return "\n".join(text.splitlines()[-lines:])
