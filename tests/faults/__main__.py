"""`make faults`: break everything at every boundary, and ask the chain what came of it."""

from __future__ import annotations

import argparse
import asyncio
import random
import signal
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import AsyncExitStack

from starters.local.errors import LocalStackError
from tests.faults.matrix import Matrix, full
from tests.faults.results import Group, Results, tell
from tests.faults.rig import running_rig
from tests.faults.rows import ROWS, Row
from tests.faults.rows_of_deals import ROWS as ROWS_OF_DEALS
from tests.faults.rows_of_the_chain import ROWS as ROWS_OF_THE_CHAIN
from tests.faults.setting import Setting

SEED = 4
LANES = 4
EVERY_ROW = (*ROWS, *ROWS_OF_DEALS, *ROWS_OF_THE_CHAIN)
PROFILE = {
    "depth": "12",
    "on_violation": '"halt"',
    "unknown_deadline_seconds": "8",
}
"""The chain of the rows: more blocks until final than the deepest reorg that is allowed."""
_INTERRUPTED = 130


async def crash(results: Results, lanes: int, say: Callable[[str], None]) -> None:
    """The crash matrix."""
    plan = full(random.Random(results.seed))  # noqa: S311 - chance, not secrets
    say(f"{plan.cases} crashes over {lanes} lanes, seed {results.seed}")
    async with running_rig() as rig, AsyncExitStack() as stack:
        opened = [await stack.enter_async_context(rig.lane(f"lane{n}")) for n in range(lanes)]
        await Matrix(rig, opened, say).run(plan, results)


async def play(results: Results, asked: list[Row], away: float, say: Callable[[str], None]) -> None:
    """The rows of the fault model, one after the other."""
    async with running_rig(profile=PROFILE) as rig:
        dice = random.Random(results.seed)  # noqa: S311 - chance, not secrets
        setting = Setting(rig, say, dice, away, int(PROFILE["depth"]))
        for row in asked:
            group = await _played(row, setting)
            results.groups.append(group)
            say(f"{group.name}: {group.cases} cases, {'ok' if group.clean else 'WRONG'}")
            for note in group.verdict.notes:
                say(f"    {note}")


async def _played(row: Row, setting: Setting) -> Group:
    """What a row found; one that could not be played to its end is wrong, too."""
    try:
        return await row(setting)
    except Exception as error:  # noqa: BLE001 - whatever it is, the other rows are played as well
        group = Group(row.__name__.replace("_", " "), cases=1)
        group.verdict.notes.append("".join(traceback.format_exception(error)))
        return group


def rows_of(only: str | None) -> list[Row]:
    """The rows whose names have one of these parts; all of them if none is given."""
    parts = [""] if only is None else only.split(",")
    return [row for row in EVERY_ROW if any(part in row.__name__ for part in parts)]


async def run(seed: int, lanes: int, only: str | None, away: float) -> Results:
    """Everything, or what is asked for."""
    results, began = Results(seed), time.monotonic()

    def say(what: str) -> None:
        sys.stderr.write(f"{time.monotonic() - began:5.0f} s  {what}\n")
        sys.stderr.flush()

    if only in (None, "crashes"):
        await crash(results, lanes, say)
    asked = rows_of(only)
    if asked:
        await play(results, asked, away, say)
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
    parser.add_argument("--only", help="`crashes`, or parts of rows' names, with commas")
    parser.add_argument("--away", type=float, default=60, help="seconds that a server is away")
    parser.add_argument("-o", "--output", choices=("json", "table"))
    given = parser.parse_args()
    if given.only != "crashes" and not rows_of(given.only):
        rows = ", ".join(row.__name__ for row in EVERY_ROW)
        parser.error(f"--only {given.only}: there is no such row; there are crashes, {rows}")
    signal.signal(signal.SIGTERM, _terminated)
    try:
        results = asyncio.run(run(given.seed, given.lanes, given.only, given.away))
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
