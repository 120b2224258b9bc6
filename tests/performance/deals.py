"""Running deals the way the command line does, and looking at what they left behind."""

from __future__ import annotations

import asyncio
import secrets
import time
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from temporalio.service import RPCError, RPCStatusCode

from domain.deals import DealRequest, DealStatus, ExecutionMode
from starters.cli.session import caller, load_settings
from starters.cli.temporal import open_desk as open_orders
from starters.deals.client import DealClient
from starters.local.stack import Stack
from tests.support.stacks import own_environment
from workers.runtime.connect import connect
from workflows.deal.workflow import DealWorkflow, workflow_id

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from temporalio.client import Client

    from domain.identity import Caller
    from domain.views import DealView
    from starters.control.desk import DealDesk

CHAIN_ID = 138
LIQUIDITY_ETH = 10

_DEAL_SECONDS = 300.0
_AGAIN_SECONDS = 1.0


class BenchError(Exception):
    """Something could not be measured; says what."""


@dataclass(frozen=True)
class DealRun:
    """One deal, from before it was asked for until its result was here; `seconds` of wall time."""

    seconds: float
    view: DealView

    @property
    def hashes(self) -> list[str]:
        """Its transactions in their order."""
        return [i.transaction_hash for step in self.view.steps for i in step.outcome.inclusions]

    @property
    def blocks(self) -> list[int]:
        """The block of each transaction."""
        return [i.block_number for step in self.view.steps for i in step.outcome.inclusions]


@dataclass(frozen=True)
class History:
    """What a deal left in Temporal: the number of events, and their size in bytes."""

    events: int
    size: int


class Desk:
    """Runs deals against one stack."""

    def __init__(self, client: Client, who: Caller, orders: DealDesk) -> None:
        """Use a client that is connected to the stack's Temporal, and give orders as `who`."""
        self._client = client
        self._who = who
        self._orders = orders
        self._deals = DealClient(client)

    async def run(self, mode: ExecutionMode = ExecutionMode.STEPWISE) -> DealRun:
        """Run one deal to its end; raise `BenchError` unless it completes."""
        request = new_request(mode)
        began = time.perf_counter()
        try:
            async with asyncio.timeout(_DEAL_SECONDS):
                await self.start(request)
                view = await self.ended(request)
        except TimeoutError:
            view = await self._deals.view(request.deal_id)
        seconds = time.perf_counter() - began
        if view.status is not DealStatus.COMPLETED:
            message = f"deal {request.deal_id} is {view.status} after {seconds:.0f} s: {view.doing}"
            raise BenchError(message)
        return DealRun(seconds, view)

    async def start(self, request: DealRequest) -> DealView:
        """Start a deal, as it was admitted or denied. Raises what the command line would."""
        return await self._orders.start(
            self._who, request, why="a measurement", command_id=f"start-{request.deal_id}"
        )

    async def ended(self, request: DealRequest) -> DealView:
        """The deal as its workflow ended; while Temporal does not answer, it is waited for."""
        handle = self._client.get_workflow_handle_for(
            DealWorkflow.run, workflow_id(request.deal_id)
        )
        while True:
            try:
                return await handle.result()
            except RPCError as error:
                if error.status is not RPCStatusCode.UNAVAILABLE:
                    raise
            await asyncio.sleep(_AGAIN_SECONDS)

    async def run_at_once(self, count: int, mode: ExecutionMode) -> tuple[float, list[DealRun]]:
        """Run that many deals at the same time; return the wall time in seconds and the deals."""
        began = time.perf_counter()
        runs = await asyncio.gather(*(self.run(mode) for _ in range(count)))
        return time.perf_counter() - began, list(runs)

    async def history(self, run: DealRun) -> History:
        """Ask Temporal how long the deal's history is."""
        handle = self._client.get_workflow_handle(workflow_id(run.view.request.deal_id))
        info = (await handle.describe()).raw_description.workflow_execution_info
        return History(info.history_length, info.history_size_bytes)


def new_request(mode: ExecutionMode = ExecutionMode.STEPWISE) -> DealRequest:
    """A deal of 10 ETH whose bank has no other."""
    name = f"bench-{secrets.token_hex(6)}"
    return DealRequest.parse(
        deal_id=name,
        bank=name,  # the deals of one bank would be counted together
        module="usdtz",
        chain_id=CHAIN_ID,
        working_liquidity=str(LIQUIDITY_ETH),
        max_ltv="0.25",
        mode=mode,
    )


@contextmanager
def running_stack(
    folder: Path, block_time: int | None, report: Callable[[str, str], None]
) -> Iterator[Stack]:
    """A stack of one chain in this folder, ended whatever happens.

    `block_time` is in seconds; None mines every transaction at once. A Temporal server that the
    environment names is not used: everything is measured on this machine.
    """
    stack = Stack(folder, block_time, (CHAIN_ID,), with_api=False, progress=report)
    try:
        with own_environment():
            environment = stack.up()
        with own_environment(environment):
            yield stack
    finally:
        stack.down()


@asynccontextmanager
async def open_desk() -> AsyncIterator[Desk]:
    """A desk on the stack that the environment names."""
    yield Desk(await connect(), await caller(), open_orders(load_settings()))
    # The SDK's own threads must be done with the last answer before the interpreter ends.
    await asyncio.sleep(0.25)
