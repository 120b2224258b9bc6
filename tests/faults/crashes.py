"""Crashes that are armed by the harness and happen in a worker: files that both of them see.

A crash is a file while it is armed. The worker that comes to it takes the file away, says when, and
kills itself: so it happens once, however often the same place is passed again.
"""

from __future__ import annotations

import json
import os
import signal
import time
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, NoReturn

from tests.faults.boundaries import Side

WORKING_ON: Final[ContextVar[str]] = ContextVar("working_on", default="")
"""The batch (``deal/step/round/attempt``) or the deal that the worker's call is about."""


@dataclass(frozen=True)
class Crash:
    """SIGKILL before or after the `call`-th call of a boundary that is about `about`."""

    case: str
    boundary: str
    side: Side
    about: str
    call: int = 1


@dataclass(frozen=True)
class Fired:
    """A crash that has happened: when (Unix seconds) and in what, by Temporal's names."""

    case: str
    at: float
    pid: int
    workflow_id: str = ""
    activity_id: str = ""
    attempt: int = 0


@dataclass(frozen=True)
class Crashes:
    """The folder of the crashes."""

    folder: Path

    def arm(self, crash: Crash) -> None:
        """Have it happen the next time that a worker comes there."""
        self._make()
        draft = self.folder / f"{crash.case}.draft"
        draft.write_text(json.dumps(asdict(crash)))
        draft.rename(self.folder / "armed" / crash.case)

    def disarm(self, case: str) -> bool:
        """Take it back; False if it has happened."""
        try:
            (self.folder / "armed" / case).unlink()
        except FileNotFoundError:
            return False
        return True

    def armed(self) -> list[Crash]:
        """What waits to happen."""
        found = []
        for file in (self.folder / "armed").glob("*"):
            try:
                found.append(Crash(**json.loads(file.read_text())))
            except FileNotFoundError:  # it happens just now, in another process
                continue
        return found

    def fired(self, case: str) -> Fired | None:
        """How it happened, once it has."""
        file = self.folder / "fired" / case
        return Fired(**json.loads(file.read_text())) if file.exists() else None

    def fire(self, crash: Crash, **where: Any) -> None:
        """Kill this very process, unless another was quicker."""
        try:
            (self.folder / "armed" / crash.case).rename(self.folder / f"{crash.case}.taken")
        except FileNotFoundError:
            return
        fired = Fired(crash.case, time.time(), os.getpid(), **where)
        draft = self.folder / f"{crash.case}.draft"
        draft.write_text(json.dumps(asdict(fired)))
        draft.rename(self.folder / "fired" / crash.case)
        die()

    def _make(self) -> None:
        for name in ("armed", "fired"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)


def die() -> NoReturn:
    """SIGKILL to oneself: no handler runs, nothing is flushed, no connection is closed politely."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError
