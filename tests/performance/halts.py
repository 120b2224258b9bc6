"""How long after a halt what adds risk still goes out: `python -m tests.performance.halts`.

Deals run one after the other, many at once, on a stack of its own with a block a second. Again and
again the desk is halted, for longer than the aim is, and released by somebody else: HALTED and
REDUCING by turns. Meanwhile the node itself is watched: when each transaction was first seen in its
pool, or in a block. Afterwards the books say which of them added risk. A halt is counted from
just before it is committed, and a transaction by when it was seen, so no lag is told too short.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from math import ceil
from pathlib import Path
from typing import Any, Final

import psycopg

from domain.deals import DealStatus
from domain.errors import OutcomeUnknown
from domain.halts import RISK_INCREASING, TradingState
from starters.local import anvil, postgres
from starters.local.probes import rpc
from starters.local.stack import Stack
from tests.performance import report
from tests.performance.deals import (
    CHAIN_ID,
    BenchError,
    Desk,
    new_request,
    open_desk,
    running_stack,
)
from tests.performance.measuring import add_output, measure_and_print
from tests.support.halting import put_halt

AIM_SECONDS: Final = 5.0
_HALTED_SECONDS: Final = 5.5
_BETWEEN_SECONDS: Final = 3.5
_SETTLE_SECONDS: Final = 60.0
"""How long deals that are under way after the last halt are waited for."""
_BY_TURNS: Final = (TradingState.HALTED, TradingState.REDUCING)
_ENDS: Final = (DealStatus.COMPLETED, DealStatus.UNWOUND, DealStatus.DENIED)
_LOOK_SECONDS: Final = 0.02
_ATTEMPTS: Final = """
SELECT a.transaction_hash, split_part(i.batch_key, '/', 2), a.no_op,
    extract(epoch FROM a.created_at)::float8
FROM transactions.attempts a JOIN transactions.intents i USING (intent_id)
"""


@dataclass
class Seen:
    """When the node first had each transaction, in seconds of this machine's clock."""

    port: int
    first: dict[str, float] = field(default_factory=dict)
    gap: float = 0.0
    """The longest time from one look to the next: so much later may something have been seen."""
    _looked: float = field(default_factory=time.time)
    _block: int = -1

    async def watch(self) -> None:
        """Look for as long as nobody stops it."""
        while True:
            await asyncio.to_thread(self.look)
            await asyncio.sleep(_LOOK_SECONDS)

    def look(self) -> None:
        """Note what is in the pool and in new blocks."""
        pool = rpc(self.port, "txpool_content")
        hashes = [
            str(each["hash"])
            for kind in ("pending", "queued")
            for by_nonce in pool[kind].values()
            for each in by_nonce.values()
        ]
        head = int(rpc(self.port, "eth_blockNumber"), 16)
        for number in range(max(0, self._block + 1 if self._block >= 0 else head), head + 1):
            block = rpc(self.port, "eth_getBlockByNumber", hex(number), False)  # noqa: FBT003 - positional
            hashes += [str(each) for each in block["transactions"]]
        self._block = head
        now = time.time()
        self.gap, self._looked = max(self.gap, now - self._looked), now
        for each in hashes:
            self.first.setdefault(each, now)


@dataclass(frozen=True)
class Halting:
    """One halt: from just before its commit to its release, in seconds of this machine's clock."""

    state: TradingState
    began: float
    released: float


@dataclass(frozen=True)
class Lag:
    """What was seen during one halt."""

    state: TradingState
    seconds: float
    """From before its commit to the last that added risk; 0 if nothing did."""
    late: list[str]
    """What added risk and was seen later than the aim: when it was saved, and when it was seen."""
    exits: int
    """How many that led out were seen."""


@dataclass(frozen=True)
class Outcome:
    """What was found; `ended` is how many deals ended how."""

    settings: dict[str, Any]
    ended: dict[str, int]
    under_way: int
    lags: list[Lag]

    def document(self) -> dict[str, Any]:
        """For programs; each row of figures is of one state's halts, or of all."""
        rows = {"all": self.lags}
        for state in _BY_TURNS:
            rows[str(state)] = [lag for lag in self.lags if lag.state is state]
        return {
            "settings": self.settings,
            "deals": {"ended": self.ended, "under_way": self.under_way},
            "halts": {name: _figures(lags) for name, lags in rows.items() if lags},
        }


def _figures(lags: list[Lag]) -> dict[str, Any]:
    ordered = sorted(lag.seconds for lag in lags)
    p99 = _quantile(ordered, 0.99)
    return {
        "halts": len(ordered),
        "p50_seconds": round(_quantile(ordered, 0.50), 3),
        "p99_seconds": round(p99, 3),
        "max_seconds": round(ordered[-1], 3),
        "aim_seconds": AIM_SECONDS,
        "met": p99 < AIM_SECONDS,
        "later_than_the_aim": [each for lag in lags for each in lag.late],
        "exits_while_halted": sum(lag.exits for lag in lags),
    }


def _quantile(ordered: list[float], share: float) -> float:
    """The nearest rank."""
    return ordered[max(0, ceil(len(ordered) * share) - 1)]


@dataclass(frozen=True)
class Plan:
    """How many deals at once, how many halts, and how long each of them."""

    deals: int
    halts: int
    seconds: float
    settle: float = _SETTLE_SECONDS


async def measure(plan: Plan, progress: report.Progress) -> Outcome:
    """Run everything on a stack that is made for it."""
    folder = Path(tempfile.mkdtemp(prefix="deal-halts-"))
    try:
        with running_stack(folder, 1, progress.components("halts")) as stack:
            async with open_desk() as desk:
                return await _Load(stack, desk, plan, progress).run()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class _Load:
    """Deals at once, and halts between them."""

    def __init__(self, stack: Stack, desk: Desk, plan: Plan, progress: report.Progress) -> None:
        self._stack, self._desk, self._plan, self._progress = stack, desk, plan, progress
        self._seen = Seen(stack.port(anvil.name(CHAIN_ID)))
        self._open = asyncio.Event()
        self._open.set()
        self._over = False
        self._ended: Counter[str] = Counter()

    async def run(self) -> Outcome:
        watching = asyncio.create_task(self._seen.watch())
        running = [asyncio.create_task(self._deals()) for _ in range(self._plan.deals)]
        try:
            halting = [await self._halt(number) for number in range(self._plan.halts)]
            self._over = True
            self._progress.say("halts: what is under way comes to its end")
            done, under_way = await asyncio.wait(running, timeout=self._plan.settle)
            for task in done:
                task.result()
        finally:
            for task in (watching, *running):
                task.cancel()
            await asyncio.gather(watching, *running, return_exceptions=True)
        return self._outcome(halting, len(under_way))

    async def _deals(self) -> None:
        """One deal after the other; none is begun while it is known to be halted."""
        while not self._over:
            await self._open.wait()
            order = new_request()
            try:
                await self._desk.start(order)
            except OutcomeUnknown as error:  # it was handed over: how it ends is told all the same
                self._progress.say(f"halts: {error}")
            view = await self._desk.ended(order)
            if view.status not in _ENDS:
                message = f"deal {order.deal_id} is {view.status}: {view.doing}"
                raise BenchError(message)
            self._ended[view.status] += 1

    async def _halt(self, number: int) -> Halting:
        """Halt the whole desk under load, and release it after a while."""
        await asyncio.sleep(_BETWEEN_SECONDS)
        state = _BY_TURNS[number % len(_BY_TURNS)]
        url = postgres.url(self._stack.folder, "deal_control")
        began = await asyncio.to_thread(put_halt, url, "desk", str(state), "risk-1")
        self._open.clear()
        await asyncio.sleep(self._plan.seconds)
        released = time.time()
        await asyncio.to_thread(put_halt, url, "desk", str(TradingState.ACTIVE), "risk-2")
        self._open.set()
        ended = ", ".join(f"{count} {status}" for status, count in sorted(self._ended.items()))
        self._progress.say(f"halts: {number + 1} of {self._plan.halts}; deals so far: {ended}")
        return Halting(state, began, released)

    def _outcome(self, halting: list[Halting], under_way: int) -> Outcome:
        with psycopg.connect(postgres.url(self._stack.folder, postgres.OWNER)) as connection:
            rows = connection.execute(_ATTEMPTS).fetchall()
        risky = {row[0]: row for row in rows if row[1] in RISK_INCREASING and not row[2]}
        leading_out = {row[0] for row in rows if row[1] not in RISK_INCREASING}
        lags = [self._lag(halt, risky, leading_out) for halt in halting]
        settings = _settings(self._plan) | {"longest_gap_between_looks": round(self._seen.gap, 3)}
        return Outcome(settings, dict(self._ended), under_way, lags)

    def _lag(self, halt: Halting, risky: dict[str, tuple[Any, ...]], leading_out: set[str]) -> Lag:
        within = {
            each: at - halt.began
            for each, at in self._seen.first.items()
            if halt.began < at <= halt.released
        }
        adding = {each: seconds for each, seconds in within.items() if each in risky}
        return Lag(
            halt.state,
            max(adding.values(), default=0.0),
            late=[
                f"{risky[each][1]} saved at {risky[each][3] - halt.began:+.2f} s, "
                f"seen at {seconds:+.2f} s"
                for each, seconds in adding.items()
                if seconds > AIM_SECONDS
            ],
            exits=sum(each in leading_out for each in within),
        )


def _settings(plan: Plan) -> dict[str, Any]:
    return {
        "deals_at_once": plan.deals,
        "halted_seconds": plan.seconds,
        "between_seconds": _BETWEEN_SECONDS,
        "block_seconds": 1,
        "processors": os.cpu_count(),
        "load_average": os.getloadavg()[0],
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.performance.halts", description=__doc__)
    parser.add_argument("--deals", type=int, default=30, metavar="N", help="at once [30]")
    parser.add_argument("--halts", type=int, default=30, metavar="N", help="[30]")
    parser.add_argument(
        "--seconds", type=float, default=_HALTED_SECONDS, help="of each halt, above 5 [5.5]"
    )
    add_output(parser)
    return parser


def main() -> int:
    """Measure and print: 0 if it could be measured, 1 if it could not."""
    given = _parser().parse_args()
    plan = Plan(given.deals, given.halts, given.seconds)
    return measure_and_print(
        partial(measure, plan),
        output=given.output,
        table=lambda found: report.show_halts(found.document()),
        document=Outcome.document,
    )


if __name__ == "__main__":
    sys.exit(main())
