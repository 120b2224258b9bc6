"""Runs all tests in two halves at once: `python -m tests.halves`, with options for both.

Those on whole stacks mostly wait, for blocks and for what was killed to come back; beside them the
others have the processors. What the first half prints is shown when both have ended.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

_ROOT: Final = Path(__file__).resolve().parents[1]
_ON_STACKS: Final = ("tests/e2e", "tests/faults", "tests/performance")
_PYTEST: Final = (sys.executable, "-m", "coverage", "run", "-m", "pytest")
_INTERRUPTED: Final = 130


def main(options: Sequence[str]) -> int:
    """Return 0 if both halves have passed; otherwise the status of the first that has not."""
    others = [f"--ignore={folder}" for folder in _ON_STACKS]
    with tempfile.TemporaryFile() as printed:
        halves = [
            subprocess.Popen((*_PYTEST, *_ON_STACKS, *options), cwd=_ROOT, stdout=printed),
            subprocess.Popen((*_PYTEST, "tests", *others, *options), cwd=_ROOT),
        ]
        statuses = [_ended(half) for half in halves]
        printed.seek(0)
        sys.stdout.flush()
        sys.stdout.buffer.write(printed.read())
    return next((status for status in statuses if status), 0)


def _ended(half: subprocess.Popen[bytes]) -> int:
    """Wait for its end. Ctrl-C reaches both of them as well: they bring their stacks down first."""
    try:
        return half.wait()
    except KeyboardInterrupt:
        half.wait()
        return _INTERRUPTED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
