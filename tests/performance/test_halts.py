"""The benchmark of halts in its smallest form: nothing that adds risk goes out, and exits do."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 240


def test_after_a_halt_nothing_that_adds_risk_goes_out() -> None:
    options = ("--deals", "4", "--halts", "3", "--seconds", "4")
    bench = subprocess.Popen(
        (sys.executable, "-m", "tests.performance.halts", *options),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
        text=True,
    )
    try:
        printed, told = bench.communicate(timeout=SECONDS)
    except BaseException:
        bench.terminate()  # it brings its stack down
        bench.wait()
        raise
    assert bench.returncode == 0, told
    results = json.loads(printed)
    assert results["halts"] == 3
    assert results["deals"] == results["completed"] >= 4
    assert results["p50_seconds"] <= results["p99_seconds"] <= results["max_seconds"]
    assert results["max_seconds"] < results["aim_seconds"]
    assert results["met"]
    assert results["exits_while_halted"] > 0
