"""Runs all tests in two halves at once: `python -m tests.halves`, with options for both.

Those on whole stacks mostly wait, for blocks and for what was killed to come back; beside them the
others have the processors. What the first half prints is shown when both have ended. Only the other
half is measured by coverage: it reaches nearly every line, and measuring doubles what one costs.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

_ROOT: Final = Path(__file__).resolve().parents[1]
_ON_STACKS: Final = ("tests/e2e", "tests/faults", "tests/performance")
_PYTEST: Final = ("-m", "pytest")
_MEASURED: Final = ("-m", "coverage", "run", *_PYTEST)
_INTERRUPTED: Final = 130


def main(options: Sequence[str]) -> int:
    """Return 0 if both halves have passed; otherwise the status of the first that has not."""
    others = [f"--ignore={folder}" for folder in _ON_STACKS]
    with tempfile.TemporaryFile() as printed:
        halves = [
            _begun(*_PYTEST, *_ON_STACKS, *options, stdout=printed),
            _begun(*_MEASURED, "tests", *others, *options),
        ]
        statuses = [_ended(half) for half in halves]
        printed.seek(0)
        sys.stdout.flush()
        sys.stdout.buffer.write(printed.read())
    return next((status for status in statuses if status), 0)


def _begun(*arguments: str, stdout: IO[bytes] | None = None) -> subprocess.Popen[bytes]:
    return subprocess.Popen((sys.executable, *arguments), cwd=_ROOT, stdout=stdout)


def _ended(half: subprocess.Popen[bytes]) -> int:
    """Wait for its end. Ctrl-C reaches both of them as well: they bring their stacks down first."""
    try:
        return half.wait()
    except KeyboardInterrupt:
        half.wait()
        return _INTERRUPTED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
