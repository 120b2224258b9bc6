"""Measures deals against a straight script, side by side: `python -m tests.performance.bench`.

It starts two stacks of its own, one after the other, in temporary folders: one that mines every
transaction at once, one with a block each second. On both, deals and the script take turns, so
that whatever else the machine does disturbs both alike; the figures are medians. Where blocks come
each second, how long something takes depends on when within one it began: the rounds begin at
moments that are spread evenly over a block, for everyone alike.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import shutil
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from deploy.chain.manifest import manifest_file
from domain.amounts import ETHER_DECIMALS, one_token
from domain.deals import ExecutionMode
from starters.local import anvil
from starters.local.probes import rpc
from tests.performance import meters, report
from tests.performance.calls import calls_of
from tests.performance.deals import (
    CHAIN_ID,
    LIQUIDITY_ETH,
    BenchError,
    DealRun,
    Desk,
    History,
    open_desk,
    running_stack,
)
from tests.performance.figures import (
    DEALS_PER_SECOND,
    RATIO_BLOCKS,
    RATIO_INSTANT,
    RATIO_PIPELINED,
    Aim,
    Figure,
    Results,
    Spent,
    compared,
)
from tests.performance.measuring import add_output, measure_and_print
from tests.performance.straight import ScriptRun

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from starters.local.stack import Stack

POLL_LATENCIES = (0.1, 0.02)
"""Seconds; the first is web3's default, against which the aim at instant mining is held. At
1-second blocks the script gets the shorter, which serves it better."""

_ROOT = Path(__file__).resolve().parents[2]
_LOOK_SECONDS = 0.01


@dataclass(frozen=True)
class Plan:
    """How much to measure; `block_rounds` is 0 to leave the 1-second blocks out."""

    rounds: int
    block_rounds: int
    deals: int


@dataclass
class Rounds:
    """What deals and script did, taking turns on one chain."""

    deals: list[DealRun] = field(default_factory=list)
    pipelined: list[DealRun] = field(default_factory=list)
    uses: list[meters.NodeUse] = field(default_factory=list)
    """Requests of each deal, in the order of `deals`."""
    scripts: dict[float, list[ScriptRun]] = field(default_factory=dict)
    """By poll latency in seconds."""

    @property
    def best_latency(self) -> float:
        """The poll latency with which the script was fastest."""
        return min(self.scripts, key=lambda latency: _median_seconds(self.scripts[latency]))

    @property
    def script(self) -> list[ScriptRun]:
        """The script's runs with the better latency."""
        return self.scripts[self.best_latency]


@dataclass(frozen=True)
class Instant:
    """What was found on the chain that mines at once."""

    rounds: Rounds
    spent: list[Spent]
    memory: dict[str, int]
    histories: list[History]
    calls: dict[str, list[str]]


class Bench:
    """One run of everything."""

    def __init__(self, plan: Plan, progress: report.Progress) -> None:
        """Take what to measure and who is told how far it is."""
        self._plan = plan
        self._progress = progress

    async def run(self) -> Results:
        """Measure on both chains and put the figures together."""
        with self._stack(None, "instant mining") as stack:
            instant = await self._instant(stack)
        blocks = None
        if self._plan.block_rounds:
            with self._stack(1, "1-second blocks") as stack:
                blocks = await self._blocks(stack)
        return _results(self._plan, instant, blocks)

    @contextmanager
    def _stack(self, block_time: int | None, name: str) -> Iterator[Stack]:
        folder = Path(tempfile.mkdtemp(prefix="deal-bench-"))
        starting = self._progress.components(f"{name}: the stack")
        try:
            with running_stack(folder, block_time, starting) as stack:
                yield stack
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    async def _instant(self, stack: Stack) -> Instant:
        async with open_desk() as desk:
            rounds = await self._take_turns(
                stack, desk, "instant mining", self._plan.rounds, POLL_LATENCIES, NextBlock(None)
            )
            spent = [await self._at_once(stack, desk, mode) for mode in ExecutionMode]
            return Instant(
                rounds=rounds,
                spent=spent,
                memory=meters.memory(stack),
                histories=[await desk.history(run) for run in rounds.deals],
                calls={
                    "deal": await _calls(stack, rounds.deals[-1].hashes),
                    "script": await _calls(stack, rounds.script[-1].hashes),
                },
            )

    async def _blocks(self, stack: Stack) -> Rounds:
        async with open_desk() as desk:
            rounds, latencies = self._plan.block_rounds, (min(POLL_LATENCIES),)
            block = NextBlock(stack.port(anvil.name(CHAIN_ID)))
            return await self._take_turns(stack, desk, "1-second blocks", rounds, latencies, block)

    async def _take_turns(  # noqa: PLR0913, PLR0917 - who, where, how often, when
        self,
        stack: Stack,
        desk: Desk,
        where: str,
        rounds: int,
        latencies: Sequence[float],
        block: NextBlock,
    ) -> Rounds:
        """Deal, pipelined deal, script, and again, after deals that only warm the workers up."""
        self._progress.say(f"{where}: a first deal of each mode, not counted")
        await desk.run()
        await desk.run(ExecutionMode.PIPELINED)
        found = Rounds(scripts={latency: [] for latency in latencies})
        for number in range(1, rounds + 1):
            moment = (number - 0.5) / rounds
            await block.reached(moment)
            before = meters.node_use(stack)
            found.deals.append(await desk.run())
            found.uses.append(meters.node_use(stack).since(before))
            await block.reached(moment)
            found.pipelined.append(await desk.run(ExecutionMode.PIPELINED))
            for latency in latencies:
                await block.reached(moment)
                found.scripts[latency].append(await _run_script(stack, latency))
            self._progress.say(
                f"{where}: round {number} of {rounds}, deal {found.deals[-1].seconds:.2f} s, "
                f"pipelined {found.pipelined[-1].seconds:.2f} s, "
                f"script {found.scripts[latencies[0]][-1].seconds:.2f} s"
            )
        return found

    async def _at_once(self, stack: Stack, desk: Desk, mode: ExecutionMode) -> Spent:
        self._progress.say(f"instant mining: {self._plan.deals} {mode.lower()} deals at once")
        before = meters.processor_seconds(stack)
        seconds, _ = await desk.run_at_once(self._plan.deals, mode)
        spent = meters.difference(meters.processor_seconds(stack), before)
        others = max(0.0, spent.pop(meters.OTHERS))
        return Spent(mode, self._plan.deals, seconds, spent, others)


@dataclass(frozen=True)
class NextBlock:
    """Moments within the blocks of a node that mines one each second, on this loopback port.

    Without a port it is a node that mines at once, where every moment is as good as any other.
    """

    port: int | None

    async def reached(self, moment: float) -> None:
        """Wait for the next block, and then for that share of a second."""
        if self.port is None:
            return
        head = await self._head()
        while await self._head() == head:  # noqa: ASYNC110 - nobody tells us, so we ask
            await asyncio.sleep(_LOOK_SECONDS)
        await asyncio.sleep(moment)

    async def _head(self) -> str:
        assert self.port is not None
        return str(await asyncio.to_thread(rpc, self.port, "eth_blockNumber"))


def _node(stack: Stack) -> str:
    return anvil.url(stack.port(anvil.name(CHAIN_ID)))


async def _calls(stack: Stack, hashes: list[str]) -> list[str]:
    return await asyncio.to_thread(calls_of, _node(stack), manifest_file(CHAIN_ID), hashes)


async def _run_script(stack: Stack, latency: float) -> ScriptRun:
    """Run the script in a process of its own, as anybody would."""
    arguments = (
        *("--url", _node(stack)),
        *("--manifest", str(manifest_file(CHAIN_ID))),
        *("--liquidity", str(LIQUIDITY_ETH * one_token(ETHER_DECIMALS))),
        *("--poll-latency", str(latency)),
    )
    script = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.performance.straight", *arguments),
        stdout=asyncio.subprocess.PIPE,
        cwd=_ROOT,
    )
    printed, _ = await script.communicate()
    if script.returncode != 0:
        message = f"the script ended with status {script.returncode}"
        raise BenchError(message)
    return ScriptRun(**json.loads(printed))


def _results(plan: Plan, instant: Instant, blocks: Rounds | None) -> Results:
    return Results(
        settings=_settings(plan, instant),
        figures=list(_figures(instant, blocks)),
        spent=instant.spent,
        memory=instant.memory,
        calls=instant.calls,
    )


def _settings(plan: Plan, instant: Instant) -> dict[str, Any]:
    return {
        "rounds_instant": plan.rounds,
        "rounds_blocks": plan.block_rounds,
        "deals_at_once": plan.deals,
        "working_liquidity_eth": LIQUIDITY_ETH,
        "script_poll_latency_seconds": {
            "instant": instant.rounds.best_latency,
            "1s_blocks": min(POLL_LATENCIES),
        },
        "script_seconds_by_poll_latency": {
            str(latency): _median_seconds(runs) for latency, runs in instant.rounds.scripts.items()
        },
        "processors": os.cpu_count(),
        "python": platform.python_version(),
        "machine": platform.platform(),
    }


def _figures(instant: Instant, blocks: Rounds | None) -> Iterator[Figure]:
    rounds = instant.rounds
    if blocks is not None:
        yield _wall_time("wall_time_1s_blocks", blocks.deals, blocks.script, RATIO_BLOCKS)
        yield _wall_time(
            "wall_time_1s_blocks_pipelined", blocks.pipelined, blocks.script, RATIO_PIPELINED
        )
    as_it_comes = rounds.scripts[POLL_LATENCIES[0]]
    yield _wall_time("wall_time_instant", rounds.deals, as_it_comes, RATIO_INSTANT)
    yield _wall_time("wall_time_instant_script_tuned", rounds.deals, rounds.script)
    yield _wall_time("wall_time_instant_pipelined", rounds.pipelined, as_it_comes, RATIO_INSTANT)
    for spent in instant.spent:
        name = f"deals_per_second_{spent.mode.lower()}"
        yield Figure(name, "1/s", spent.deals / spent.seconds, aim=DEALS_PER_SECOND)
    counted = blocks or rounds
    yield compared(
        "transactions",
        "",
        [len(run.hashes) for run in counted.deals],
        [len(run.hashes) for run in counted.script],
    )
    yield compared(
        "blocks",
        "",
        [len(set(run.blocks)) for run in counted.deals],
        [len(set(run.blocks)) for run in counted.script],
    )
    yield compared(
        "blocks_pipelined",
        "",
        [len(set(run.blocks)) for run in counted.pipelined],
        [len(set(run.blocks)) for run in counted.script],
    )
    yield from _node_figures("instant", rounds)
    if blocks is not None:
        yield from _node_figures("1s_blocks", blocks)
    yield Figure("history_events", "", median(each.events for each in instant.histories))
    yield Figure("history_bytes", "B", median(each.size for each in instant.histories))
    workers = sum(instant.memory[name] for name in ("deals", "chain", "signer"))
    script = median(run.memory for run in rounds.script)
    yield Figure("memory_of_workers", "B", workers, script)


def _wall_time(
    name: str, deals: Sequence[DealRun], script: Sequence[ScriptRun], aim: Aim | None = None
) -> Figure:
    seconds = [run.seconds for run in deals]
    return compared(name, "s", seconds, [run.seconds for run in script], aim)


def _node_figures(where: str, rounds: Rounds) -> Iterator[Figure]:
    requests = [float(run.requests) for run in rounds.script]
    yield compared(f"node_requests_{where}", "", [use.requests for use in rounds.uses], requests)
    # The script sends each call in a request of its own.
    yield compared(f"node_calls_{where}", "", [use.calls for use in rounds.uses], requests)


def _median_seconds(runs: Sequence[ScriptRun]) -> float:
    return median(run.seconds for run in runs)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.performance.bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7, help="turns at instant mining")
    parser.add_argument(
        "--block-rounds", type=int, default=3, help="turns at 1-second blocks; 0 leaves them out"
    )
    parser.add_argument("--deals", type=int, default=50, help="how many to run at once")
    add_output(parser)
    return parser


def main() -> int:
    """Measure and print: 0 if it could be measured, 1 if it could not."""
    given = _parser().parse_args()
    plan = Plan(max(1, given.rounds), max(0, given.block_rounds), max(1, given.deals))
    return measure_and_print(
        lambda progress: Bench(plan, progress).run(),
        output=given.output,
        table=report.show,
        document=Results.document,
    )


if __name__ == "__main__":
    sys.exit(main())
