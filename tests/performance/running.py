"""Running a benchmark as people do, in a process of its own, and reading what it printed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 240


def measured(
    module: str, *options: str, environment: dict[str, str] | None = None
) -> tuple[dict[str, Any], str]:
    """Run `python -m module`; return its document, and what it told on the way.

    It has to end well within four minutes; else it is ended, and brings its stack down.
    """
    bench = subprocess.Popen(
        (sys.executable, "-m", module, *options),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
        env=environment,
        text=True,
    )
    try:
        printed, told = bench.communicate(timeout=SECONDS)
    except BaseException:
        bench.terminate()
        bench.wait()
        raise
    assert bench.returncode == 0, told
    document: dict[str, Any] = json.loads(printed)
    return document, told
