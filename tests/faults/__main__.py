"""`make faults`: break everything at every boundary, and ask the chain what came of it."""

from __future__ import annotations

import argparse
import asyncio
import random
import signal
import sys
import time
from collections.abc import Callable
from contextlib import AsyncExitStack

from starters.local.errors import LocalStackError
from tests.faults.matrix import Matrix, full
from tests.faults.results import Results, tell
from tests.faults.rig import running_rig

SEED = 4
LANES = 4
_INTERRUPTED = 130


async def crash(results: Results, lanes: int, say: Callable[[str], None]) -> None:
    """The crash matrix."""
    plan = full(random.Random(results.seed))  # noqa: S311 - chance, not secrets
    say(f"{plan.cases} crashes over {lanes} lanes, seed {results.seed}")
    async with running_rig() as rig, AsyncExitStack() as stack:
        opened = [await stack.enter_async_context(rig.lane(f"lane{n}")) for n in range(lanes)]
        await Matrix(rig, opened, say).run(plan, results)


async def run(seed: int, lanes: int, only: str | None) -> Results:
    """Everything, or what is asked for."""
    results, began = Results(seed), time.monotonic()

    def say(what: str) -> None:
        sys.stderr.write(f"{time.monotonic() - began:5.0f} s  {what}\n")
        sys.stderr.flush()

    if only in (None, "crashes"):
        await crash(results, lanes, say)
    results.seconds = time.monotonic() - began
    return results


def _terminated(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt  # so that the stacks are brought down


def main() -> int:
    """Run the faults and print what was found.

    Returns 1 if anything was executed twice or never, left a gap, or broke another invariant.
    """
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--seed", type=int, default=SEED, help="of the order of the cases")
    parser.add_argument("--lanes", type=int, default=LANES, help="workflows at the same time")
    parser.add_argument("--only", help="`crashes`, or a part of a row's name")
    parser.add_argument("-o", "--output", choices=("json", "table"))
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, _terminated)
    try:
        results = asyncio.run(run(given.seed, given.lanes, given.only))
    except LocalStackError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except KeyboardInterrupt:
        return _INTERRUPTED
    table = given.output == "table" or (given.output is None and sys.stdout.isatty())
    tell(results, table=table)
    return 0 if results.clean else 1


if __name__ == "__main__":
    sys.exit(main())
