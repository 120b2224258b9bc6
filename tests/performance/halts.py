"""How long after a halt what adds risk still goes out: `python -m tests.performance.halts`.

Deals run one after the other, many at once, on a stack of its own with a block a second. Again and
again the desk is halted, for longer than the aim is, and released by somebody else. Meanwhile the
node itself is watched: when each transaction was first seen in its pool, or in a block. Afterwards
the books say which of them added risk. A halt is counted from when its transaction was committed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import psycopg

from domain.errors import DealError
from domain.halts import RISK_INCREASING
from starters.local import anvil, postgres
from starters.local.probes import rpc
from starters.local.stack import Stack
from tests.performance.deals import CHAIN_ID, BenchError, Desk, open_desk, running_stack
from tests.support.halting import put_halt

AIM_SECONDS: Final = 5.0
_HALTED_SECONDS: Final = 6.0
_BETWEEN_SECONDS: Final = 4.0
_LOOK_SECONDS: Final = 0.02
_ATTEMPTS: Final = """
SELECT a.transaction_hash, split_part(i.batch_key, '/', 2), a.no_op
FROM transactions.attempts a JOIN transactions.intents i USING (intent_id)
"""


@dataclass
class Seen:
    """When the node first had each transaction, in seconds of this machine's clock."""

    port: int
    first: dict[str, float] = field(default_factory=dict)
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
        for each in hashes:
            self.first.setdefault(each, now)


@dataclass(frozen=True)
class Halting:
    """One halt: from its commit to its release, in seconds of this machine's clock."""

    committed: float
    released: float


@dataclass(frozen=True)
class Outcome:
    """What was found."""

    deals: int
    completed: int
    lags: list[float]
    """Of each halt: seconds from its commit to the last that added risk; 0 if nothing did."""
    exits: int
    """Transactions that led out while it was halted."""

    def document(self) -> dict[str, Any]:
        """For programs."""
        ordered = sorted(self.lags)
        return {
            "halts": len(ordered),
            "deals": self.deals,
            "completed": self.completed,
            "p50_seconds": round(_quantile(ordered, 0.50), 3),
            "p99_seconds": round(_quantile(ordered, 0.99), 3),
            "max_seconds": round(ordered[-1], 3),
            "aim_seconds": AIM_SECONDS,
            "met": _quantile(ordered, 0.99) < AIM_SECONDS,
            "exits_while_halted": self.exits,
        }


def _quantile(ordered: list[float], share: float) -> float:
    """The nearest rank."""
    return ordered[min(len(ordered) - 1, max(0, -(-int(len(ordered) * share * 100) // 100) - 1))]


async def measure(at_once: int, halts: int, halted_seconds: float) -> Outcome:
    """Run everything on a stack that is made for it."""
    folder = Path(tempfile.mkdtemp(prefix="deal-halts-"))
    try:
        with running_stack(folder, 1, lambda _name, _state: None) as stack:
            async with open_desk() as desk:
                return await _Load(stack, desk, at_once).run(halts, halted_seconds)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class _Load:
    """Deals at once, and halts between them."""

    def __init__(self, stack: Stack, desk: Desk, at_once: int) -> None:
        self._stack, self._desk, self._at_once = stack, desk, at_once
        self._seen = Seen(stack.port(anvil.name(CHAIN_ID)))
        self._over = False
        self._started = self._completed = 0

    async def run(self, halts: int, halted_seconds: float) -> Outcome:
        watching = asyncio.create_task(self._seen.watch())
        running = [asyncio.create_task(self._deals()) for _ in range(self._at_once)]
        try:
            halting = [await self._halt(halted_seconds) for _ in range(halts)]
            self._over = True
            await asyncio.gather(*running)
        finally:
            for task in (watching, *running):
                task.cancel()
            await asyncio.gather(watching, *running, return_exceptions=True)
        return self._outcome(halting)

    async def _deals(self) -> None:
        """One deal after the other; one that was denied because of a halt is tried again."""
        while not self._over:
            self._started += 1
            try:
                await self._desk.run()
            except (BenchError, DealError) as error:
                if "halted" not in str(error):
                    raise
                self._started -= 1
                await asyncio.sleep(0.5)
            else:
                self._completed += 1

    async def _halt(self, seconds: float) -> Halting:
        """Halt the whole desk under load, and release it after a while."""
        await asyncio.sleep(_BETWEEN_SECONDS)
        url = postgres.url(self._stack.folder, "deal_control")
        await asyncio.to_thread(put_halt, url, "desk", "HALTED", "risk-1")
        committed = time.time()
        await asyncio.sleep(seconds)
        released = time.time()
        await asyncio.to_thread(put_halt, url, "desk", "ACTIVE", "risk-2")
        return Halting(committed, released)

    def _outcome(self, halting: list[Halting]) -> Outcome:
        with psycopg.connect(postgres.url(self._stack.folder, postgres.OWNER)) as connection:
            rows = connection.execute(_ATTEMPTS).fetchall()
        risky = {row[0] for row in rows if row[1] in RISK_INCREASING and not row[2]}
        leading_out = {row[0] for row in rows if row[1] not in RISK_INCREASING}
        lags, exits = [], 0
        for halt in halting:
            within = {
                each: at - halt.committed
                for each, at in self._seen.first.items()
                if halt.committed < at <= halt.released
            }
            lags.append(max((at for each, at in within.items() if each in risky), default=0.0))
            exits += sum(each in leading_out for each in within)
        return Outcome(self._started, self._completed, lags, exits)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.performance.halts", description=__doc__)
    parser.add_argument("--deals", type=int, default=30, metavar="N", help="at once [30]")
    parser.add_argument("--halts", type=int, default=30, metavar="N", help="[30]")
    parser.add_argument("--seconds", type=float, default=_HALTED_SECONDS, help="of each halt [6]")
    given = parser.parse_args()
    with suppress(KeyboardInterrupt):
        outcome = asyncio.run(measure(given.deals, given.halts, given.seconds))
        sys.stdout.write(json.dumps(outcome.document(), indent=2) + "\n")
        return 0
    return 130


if __name__ == "__main__":
    sys.exit(main())
