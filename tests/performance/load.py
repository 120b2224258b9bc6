"""Measures the engine under load beside plain web3.py: `python -m tests.performance.load`.

It starts a stack of its own with a block each second, whose batches call a contract that counts
every intent, and has 1,000 intents executed from one account and from fifty; then plain asyncio
web3.py sends as many to the same node. Then one account sends 3,000 in batches of 250, each
of which waits longer, so that the rate shows. `--load-intents 10000` has more executed afterwards,
and shows what becomes of the memory.

"Accepted" is when the intent's row was made, "broadcast" when the node had answered to the sending
of its bytes, as noted by the chain worker outside the engine's tables. "Included" ends when the
block of the last one was seen at the node, for both sides alike.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import quantiles
from typing import TYPE_CHECKING, Any, Final

from starters.local import anvil
from starters.local.processes import end_marked
from starters.local.stack import Stack
from starters.local.workers import WorkerSpec
from tests.faults.ledger import EXECUTIONS, LEDGER, entry
from tests.performance import load_figures, meters, report
from tests.performance.deals import CHAIN_ID, BenchError
from tests.performance.load_engine import EngineLoad, EngineRun, Pace
from tests.performance.load_watch import Sendings, Watched, watching
from tests.performance.load_worker import SENT_FILE
from tests.performance.measuring import add_output, measure_and_print
from tests.performance.plain import AT_ONCE, POLL_SECONDS, PlainRun
from tests.support.books import Books
from tests.support.node import Node
from tests.support.stacks import own_environment
from workers.runtime.connect import connect

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_ROOT: Final = Path(__file__).resolve().parents[2]
_WARM: Final = 100
_HURRIED: Final = Pace(batch=250, ahead=3)
_A_PART: Final = 1_000
"""Memory is read after every so many of the long part."""
_WORKERS: Final = ("deals", "chain", "signer")
_SERVERS: Final = ("temporal", "postgres")


@dataclass(frozen=True)
class Plan:
    """How much to measure; `long` is 0 to leave the long part out."""

    intents: int
    accounts: Sequence[int]
    long: int
    pace: Pace
    batches: int = 0
    """Intents of a load in batches of 250 from one account; 0 to leave it out."""


class LoadBench:
    """One run of everything on one stack."""

    def __init__(self, stack: Stack, load: EngineLoad, plan: Plan, say: report.Progress) -> None:
        """Take what is measured, how much of it, and who is told how far it is."""
        self._stack = stack
        self._load = load
        self._plan = plan
        self._node = Node.of(stack)
        self._progress = say

    async def run(self) -> load_figures.LoadResults:
        """Measure, engine and sender in turns."""
        loads = []
        self._progress.say("load: a first hundred, not counted")
        await self._order(1, min(_WARM, self._plan.intents), self._plan.pace)
        for accounts in self._plan.accounts:
            engine = await self._engine(accounts, self._plan.intents, self._plan.pace)
            plain = await self._plain(accounts, self._plan.intents)
            loads.append(load_figures.Load(str(accounts), engine, plain))
        if self._plan.batches:
            engine = await self._engine(1, self._plan.batches, _HURRIED)
            plain = await self._plain(1, self._plan.batches)
            loads.append(load_figures.Load("batches", engine, plain, hurried=True))
        return load_figures.LoadResults(_settings(self._plan), loads, await self._long())

    async def _order(self, accounts: int, intents: int, pace: Pace) -> EngineRun:
        return await self._load.run(await self._load.orders(accounts, intents, pace), pace)

    async def _engine(self, accounts: int, intents: int, pace: Pace) -> load_figures.Side:
        self._progress.say(f"load: {intents} intents over {accounts} accounts, by {pace.batch}")
        orders = await self._load.orders(accounts, intents, pace)
        async with watching(self._node) as watched:
            before, spent = meters.node_use(self._stack), meters.processor_seconds(self._stack)
            run = await self._load.run(orders, pace)
            spent = meters.difference(meters.processor_seconds(self._stack), spent)
            use = meters.node_use(self._stack).since(before)
            side = await self._side(run, watched, run.ordered)
        memory = meters.memory(self._stack)
        return side | load_figures.Side(
            waited=_percentiles(run.waited()),
            since_order=_percentiles(run.waited_since_order()),
            requests=use.requests,
            calls=use.calls,
            processor_seconds={n: spent[n] for n in (*_WORKERS, *_SERVERS)},
            others_busy=max(0.0, spent[meters.OTHERS]) / (run.ended - run.began),
            memory={name: memory[name] for name in _WORKERS},
        )

    async def _plain(self, accounts: int, intents: int) -> load_figures.Side:
        self._progress.say(f"load: as many by plain web3.py over {accounts} accounts")
        async with watching(self._node) as watched:
            run = await _run_plain(self._node, accounts, intents)
            side = await self._side(run, watched, run.intents)
        return side | load_figures.Side(
            since_order=_percentiles(run.sent),
            requests=run.requests,
            calls=run.requests,
            processor_seconds={"plain": run.processor_seconds},
            memory={"plain": run.memory},
        )

    async def _side(
        self, run: EngineRun | PlainRun, watched: Watched, intents: Iterable[str]
    ) -> load_figures.Side:
        """What both sides have."""
        counted = await asyncio.to_thread(self._executions, intents)
        return load_figures.Side(
            seconds_known=run.ended - run.began,
            seconds_included=await watched.when(run.last_block) - run.began,
            in_flight=watched.most_in_flight,
            intents=len(counted),
            once=counted.count(1),
        )

    def _executions(self, intents: Iterable[str]) -> list[int]:
        """How often the Ledger counted each."""
        to = self._node.contracts[LEDGER]
        calls = [{"to": to, "data": EXECUTIONS.encode(entry(each))} for each in intents]
        return [int(self._node.ask("eth_call", call, "latest"), 16) for call in calls]

    async def _long(self) -> list[int]:
        """Bytes that the workers hold after each part of the long run."""
        held = []
        for first in range(0, self._plan.long, _A_PART):
            await self._order(1, min(_A_PART, self._plan.long - first), self._plan.pace)
            memory = meters.memory(self._stack)
            held.append(sum(memory[name] for name in _WORKERS))
            self._progress.say(f"load: {first + _A_PART} of {self._plan.long}, {held[-1]} bytes")
        return held


def _percentiles(values: Sequence[float]) -> tuple[float, float]:
    """The 50th and the 99th percentile."""
    cuts = quantiles(values, n=100, method="inclusive")
    return cuts[49], cuts[98]


async def _run_plain(node: Node, accounts: int, intents: int) -> PlainRun:
    """Run the sender in a process of its own, as anybody would."""
    sender = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.performance.plain"),
        *("--url", anvil.url(node.port), "--ledger", node.contracts[LEDGER]),
        *("--accounts", str(accounts), "--intents", str(intents)),
        stdout=asyncio.subprocess.PIPE,
        cwd=_ROOT,
    )
    printed, _ = await sender.communicate()
    if sender.returncode != 0:
        message = f"the plain sender ended with status {sender.returncode}"
        raise BenchError(message)
    return PlainRun(**json.loads(printed))


def _settings(plan: Plan) -> dict[str, Any]:
    return {
        "intents": plan.intents,
        "accounts": list(plan.accounts),
        "batch": plan.pace.batch,
        "batches_ahead": plan.pace.ahead,
        "intents_in_large_batches": plan.batches,
        "block_seconds": 1,
        "plain_at_once": AT_ONCE,
        "plain_poll_seconds": POLL_SECONDS,
        "processors": os.cpu_count(),
        "load_average": os.getloadavg()[0],
        "python": platform.python_version(),
        "machine": platform.platform(),
    }


def _specs(sent: Path) -> tuple[WorkerSpec, ...]:
    module = "tests.performance.load_worker"
    return (
        WorkerSpec("deals", module, ("deals",), role="deal_records", redis=True),
        WorkerSpec(
            "chain",
            module,
            ("chain",),
            role="deal_engine",
            redis=True,
            chains=True,
            environment={SENT_FILE: str(sent)},
        ),
        WorkerSpec("signer", module, ("signer",), role="deal_signer", keys=True),
    )


@contextmanager
def _stack(folder: Path, progress: report.Progress) -> Iterator[Stack]:
    starting = progress.components("load: the stack")
    specs = _specs(folder / "sent")
    stack = Stack(folder, 1, (CHAIN_ID,), with_api=False, progress=starting, worker_specs=specs)
    try:
        with own_environment():
            environment = stack.up()
        with own_environment(environment):
            yield stack
    finally:
        stack.down()
        end_marked(folder)


async def _measure(plan: Plan, progress: report.Progress) -> load_figures.LoadResults:
    with tempfile.TemporaryDirectory(prefix="deal-load-") as name:
        folder = Path(name)
        with _stack(folder, progress) as stack:
            load = EngineLoad(
                await connect(),
                Node.of(stack),
                Books(folder),
                Sendings(folder / "sent"),
            )
            results = await LoadBench(stack, load, plan, progress).run()
            # The SDK's own threads must be done with the last answer before the interpreter ends.
            await asyncio.sleep(0.25)
            return results


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.performance.load", description=__doc__)
    parser.add_argument("--intents", type=int, default=1_000, help="how many at once")
    parser.add_argument("--accounts", type=int, nargs="+", default=(1, 50), help="from how many")
    parser.add_argument("--batch", type=int, default=Pace().batch, help="intents, at most")
    parser.add_argument("--ahead", type=int, default=Pace().ahead, help="batches not yet sent")
    parser.add_argument(
        "--batches",
        type=int,
        default=3_000,
        help="how many in batches of 250, where only the rate counts",
    )
    parser.add_argument(
        "--load-intents", type=int, default=0, help="how many more, to see the memory; usually none"
    )
    add_output(parser)
    return parser


def main() -> int:
    """Measure and print: 0 if it could be measured, 1 if it could not."""
    given = _parser().parse_args()
    pace = Pace(given.batch, given.ahead)
    plan = Plan(given.intents, given.accounts, given.load_intents, pace, given.batches)
    return measure_and_print(
        partial(_measure, plan),
        output=given.output,
        table=report.show_load,
        document=load_figures.LoadResults.document,
    )


if __name__ == "__main__":
    sys.exit(main())
