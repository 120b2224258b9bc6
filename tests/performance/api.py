"""The HTTP API with very many deals, many requests at once: `python -m tests.performance.api`.

On a stack of its own, with 100,000 deals in its Postgres, the API is served by a process of its own
as in production. Fifty callers ask, each the next thing as soon as the last is answered, over
connections that stay open. A start is a real one: it is answered once the workers have admitted
the deal, while those that were admitted before are run.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import random
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import quantiles
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import aiohttp
import psutil

from starters.local import api, postgres
from starters.local.identities import DESK, key_file
from starters.local.state import load_environment
from tests.performance import many_deals, meters, report
from tests.performance.deals import CHAIN_ID, LIQUIDITY_ETH, BenchError, running_stack
from tests.performance.measuring import add_output, measure_and_print
from tests.support.postgres import Database
from tests.workers.test_health import free_port

if TYPE_CHECKING:
    from starters.local.stack import Stack

_ROOT: Final = Path(__file__).resolve().parents[2]
_UP_SECONDS: Final = 120.0
_ANSWER_SECONDS: Final = 120.0
_WARM: Final = 100
_RATES: Final = ("ADDRESS", "UNAUTHENTICATED", "READ", "SAFETY", "CHANGE", "LAUNCH")
_LISTS: Final = (
    "",
    "?status=EXECUTING",
    "?bank=bank-7",
    "?chain_id=138",
    "?status=PAUSED&status=FROZEN&status=STUCK",
    "?bank=bank-9&status=COMPLETED&limit=20",
)


@dataclass(frozen=True)
class Asked:
    """One request: a POST if it has a body."""

    path: str
    body: dict[str, Any] | None = None


@dataclass(frozen=True)
class Plan:
    """How many deals there are, how many ask at once, and how often."""

    deals: int = many_deals.DEALS
    at_once: int = 50
    reads: int = 2_000
    starts: int = 100


@dataclass(frozen=True)
class Measured:
    """What one kind of request took, in seconds from sending to the last byte of the answer."""

    name: str
    seconds: list[float]
    refused: int
    """How many were not answered as they should be; the seconds are of all."""
    wall: float
    api_seconds: float
    """Processor time of the API's process for all of them."""
    others_busy: float
    """Processors that were busy with neither the stack nor this bench."""

    def document(self) -> dict[str, Any]:
        """For programs; milliseconds."""
        cuts = quantiles(self.seconds, n=100, method="inclusive")
        count = len(self.seconds)
        return {
            "requests": count,
            "refused": self.refused,
            "p50_ms": round(cuts[49] * 1_000, 1),
            "p99_ms": round(cuts[98] * 1_000, 1),
            "per_second": round(count / self.wall, 1),
            "api_processor_ms": round(self.api_seconds / count * 1_000, 2),
            "others_busy": round(max(0.0, self.others_busy), 2),
        }


class ApiBench:
    """Asks the API of one stack."""

    def __init__(self, stack: Stack, server: psutil.Process, url: str, plan: Plan) -> None:
        """Ask at this address, whose process this is."""
        self._stack, self._server, self._url, self._plan = stack, server, url, plan

    async def run(self, progress: report.Progress) -> list[Measured]:
        """Measure list and show, then start."""
        credential = key_file(DESK, self._stack.folder).read_text(encoding="utf-8").strip()
        async with aiohttp.ClientSession(
            self._url,
            headers={"Authorization": f"Bearer {credential}"},
            connector=aiohttp.TCPConnector(limit=self._plan.at_once),
            timeout=aiohttp.ClientTimeout(total=_ANSWER_SECONDS),
        ) as session:
            cursor = await _cursor(session)
            kinds = {
                "list": (self._plan.reads, lambda: _list(cursor)),
                "show": (self._plan.reads, lambda: _show(self._plan.deals)),
                "start": (self._plan.starts, _start),
            }
            measured = []
            for name, (count, choose) in kinds.items():
                if name != "start":
                    await self._ask(session, name, min(_WARM, count), choose)
                progress.say(f"api: {count} times {name}, {self._plan.at_once} at once")
                measured.append(await self._ask(session, name, count, choose))
            return measured

    async def _ask(
        self, session: aiohttp.ClientSession, name: str, count: int, choose: Callable[[], Asked]
    ) -> Measured:
        """Ask so often, by all callers together; each asks again once it is answered."""
        left = iter(range(count))
        answers: list[tuple[float, bool]] = []

        async def caller() -> None:
            answers.extend([await _timed(session, choose()) for _ in left])

        spent = meters.processor_seconds(self._stack)
        before, began = _processor(self._server), time.perf_counter()
        await asyncio.gather(*(caller() for _ in range(self._plan.at_once)))
        wall = time.perf_counter() - began
        used = _processor(self._server) - before
        others = meters.difference(meters.processor_seconds(self._stack), spent)[meters.OTHERS]
        seconds, refused = [each[0] for each in answers], sum(not each[1] for each in answers)
        return Measured(name, seconds, refused, wall, used, (others - used) / wall)


async def _timed(session: aiohttp.ClientSession, asked: Asked) -> tuple[float, bool]:
    """How long it took, and whether it was answered as it should be."""
    began = time.perf_counter()
    if asked.body is None:
        request = session.get(asked.path)
    else:
        request = session.post(
            asked.path, json=asked.body, headers={"Idempotency-Key": str(uuid4())}
        )
    try:
        async with request as answer:
            await answer.read()
    except aiohttp.ClientConnectionError:  # no answer is no good one
        return time.perf_counter() - began, False
    return time.perf_counter() - began, answer.ok


async def _cursor(session: aiohttp.ClientSession) -> str:
    """Where the second page begins."""
    async with session.get("/v1/deals") as answer:
        return str((await answer.json())["next_cursor"])


def _list(cursor: str) -> Asked:
    chosen = random.choice((*_LISTS, f"?cursor={cursor}"))  # noqa: S311 - no secret
    return Asked(f"/v1/deals{chosen}")


def _show(deals: int) -> Asked:
    """A deal that has its steps."""
    number = random.randrange(0, deals, many_deals.WITH_STEPS)  # noqa: S311 - no secret
    return Asked(f"/v1/deals/{many_deals.deal_id(number)}")


def _start() -> Asked:
    name = f"bench-{secrets.token_hex(6)}"
    body = {
        "deal_id": name,
        "bank": name,  # the deals of one bank would be counted together
        "module": "usdtz",
        "chain_id": CHAIN_ID,
        "working_liquidity": str(LIQUIDITY_ETH),
        "max_ltv": "0.25",
    }
    return Asked("/v1/deals", body)


def _processor(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


@asynccontextmanager
async def _served(stack: Stack) -> AsyncIterator[tuple[psutil.Process, str]]:
    """The API in a process of its own, whose limits nobody reaches."""
    port = free_port()
    own = {f"DEAL_API_RATE_{name}": "100000000/minute" for name in _RATES}
    log = (stack.folder / "logs" / "api-bench.log").open("wb")
    server = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "starters.cli.main", "api", "--address", str(port)),
        cwd=_ROOT,
        env=os.environ | load_environment(stack.folder) | own,
        stdout=log,
        stderr=log,
    )
    try:
        url = api.url(port)
        if not await _up(url):
            message = f"the API did not start; see {log.name}"
            raise BenchError(message)
        yield psutil.Process(server.pid), url
    finally:
        if server.returncode is None:
            server.terminate()
            await server.wait()
        log.close()


async def _up(url: str) -> bool:
    """Whether it answers before it is too late."""
    deadline = time.monotonic() + _UP_SECONDS
    async with aiohttp.ClientSession(url) as session:
        while time.monotonic() < deadline:
            with suppress(aiohttp.ClientError):  # it does not listen yet
                async with session.get("/startup") as answer:
                    return answer.ok
            await asyncio.sleep(0.2)
    return False


async def measure(plan: Plan, progress: report.Progress) -> dict[str, Any]:
    """Measure everything on a stack that is made for it."""
    folder = Path(tempfile.mkdtemp(prefix="deal-api-"))
    try:
        with running_stack(folder, None, progress.components("api")) as stack:
            progress.say(f"api: {plan.deals} deals are inserted")
            database = Database(postgres.url(folder, postgres.OWNER))
            await many_deals.insert(database, plan.deals)
            async with _served(stack) as (server, url):
                found = await ApiBench(stack, server, url, plan).run(progress)
        return {
            "settings": _settings(plan),
            "requests": {each.name: each.document() for each in found},
        }
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _settings(plan: Plan) -> dict[str, Any]:
    return {
        "deals": plan.deals,
        "at_once": plan.at_once,
        "processors": os.cpu_count(),
        "load_average": os.getloadavg()[0],
        "python": platform.python_version(),
    }


def _parser() -> argparse.ArgumentParser:
    usual = Plan()
    parser = argparse.ArgumentParser(prog="python -m tests.performance.api", description=__doc__)
    parser.add_argument("--deals", type=int, default=usual.deals, help="in Postgres")
    parser.add_argument("--at-once", type=int, default=usual.at_once, help="requests")
    parser.add_argument("--reads", type=int, default=usual.reads, help="of each kind")
    parser.add_argument("--starts", type=int, default=usual.starts)
    add_output(parser)
    return parser


def main() -> int:
    """Measure and print: 0 if it could be measured, 1 if it could not."""
    given = _parser().parse_args()
    plan = Plan(given.deals, given.at_once, given.reads, given.starts)
    return measure_and_print(
        partial(measure, plan), output=given.output, table=report.show_api, document=dict
    )


if __name__ == "__main__":
    sys.exit(main())
