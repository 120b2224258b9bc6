"""Telling on the standard error what takes minutes, as `make` shows it."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

QUIET_SECONDS: Final = 30.0
"""How long a log hears nothing of what goes on as before."""


class Telling:
    """Writes on one line of a terminal; into a log what is new at once, the rest now and then."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Tell nothing yet; `clock` gives seconds."""
        self._clock = clock
        self._told, self._told_at = "", 0.0
        self._open_line = False

    def __call__(self, line: str) -> None:
        """Tell what is being done; what stands in brackets at the end only says for how long."""
        if sys.stderr.isatty():
            sys.stderr.write(f"\r{line}\033[K")
            sys.stderr.flush()
            self._open_line = True
            return
        what, now = line.partition(" (")[0], self._clock()
        if what != self._told or now - self._told_at >= QUIET_SECONDS:
            self._told, self._told_at = what, now
            sys.stderr.write(f"{line}\n")
            sys.stderr.flush()

    def end(self) -> None:
        """Leave a terminal's line, so that what follows stands on its own."""
        if self._open_line:
            sys.stderr.write("\n")
            self._open_line = False
