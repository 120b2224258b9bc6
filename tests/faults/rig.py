"""The real thing to break: a stack whose workers are supervised, and lanes that share it.

A lane is a Temporal namespace with three workers of its own. All lanes have one chain, one
database, one treasury: so what one of them suffers is a neighbour's trouble for the others.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from temporalio.client import Client, WorkflowHandle

from domain.deals import DealRequest, Step
from domain.views import DealView
from starters.deals.client import TASK_TIMEOUT, DealClient
from starters.local.processes import end_marked
from starters.local.stack import Stack
from starters.local.state import load_environment
from starters.local.workers import WorkerSpec
from tests.faults.batches import BatchPlan, Ended, LedgerBatches
from tests.faults.crashes import Crashes
from tests.faults.worker import FOLDER
from tests.support.books import Books
from tests.support.desk import start
from tests.support.namespace import fresh_namespace
from tests.support.node import Node
from tests.support.stacks import own_environment
from workers.runtime.settings import DEFAULT_CONFIG_DIR
from workflows.deal.workflow import DealWorkflow, workflow_id

ROLES: Final = ("deals", "chain", "signer")
CHAIN: Final = 138
ETHER: Final = 10**18
LIQUIDITY: Final = "10"
DEPTH: Final = 3
"""Blocks until final: so that a deal waits for finality in the end, and is there before the watcher
of the chain has recorded it."""

_SUPERVISOR: Final = "faults"
_READY_SECONDS: Final = 60.0
_LOOK_SECONDS: Final = 0.02


@dataclass(frozen=True)
class Rig:
    """Everything that the lanes share."""

    folder: Path
    stack: Stack
    node: Node
    books: Books

    @property
    def work(self) -> Path:
        """What the supervisor and the crashes are told by."""
        return self.folder / "faults"

    @property
    def crashes(self) -> Crashes:
        """What is armed, and what has happened."""
        return Crashes(self.work / "crashes")

    @property
    def treasury(self) -> str:
        """The account that funds every deal."""
        return load_environment(self.folder)["DEAL_TREASURY_ADDRESS"]

    @property
    def endpoint(self) -> str:
        """Where the node is without anything in between."""
        return f"http://127.0.0.1:{self.node.port}"

    @asynccontextmanager
    async def lane(
        self, name: str, *endpoints: str, copies: int = 1, **environment: str
    ) -> AsyncIterator[Lane]:
        """Workers of their own, over these endpoints; `copies` of each role that sends."""
        client = await fresh_namespace(self.stack)
        given = {
            "TEMPORAL_NAMESPACE": client.namespace,
            f"DEAL_CHAIN_{CHAIN}_ENDPOINTS": ",".join(endpoints or (self.endpoint,)),
            **environment,
        }
        names = [f"{name}-{role}" for role in ROLES]
        names += [f"{name}-{role}-{copy}" for copy in range(2, copies + 1) for role in ROLES[1:]]
        lane = Lane(self, name, client, tuple(names), given)
        try:
            for member in names:
                self.enrol(member, member.split("-")[1], given)
            await lane.ready()
            yield lane
        finally:
            for member in names:
                self.dismiss(member)

    def enrol(self, member: str, role: str, environment: dict[str, str]) -> None:
        """Have a process run under the supervisor, from now on."""
        draft = self.work / f"{member}.draft"
        draft.write_text(json.dumps({"name": member, "role": role, "environment": environment}))
        draft.rename(self.work / "roster" / f"{member}.json")

    def dismiss(self, member: str) -> None:
        """Have it end, and not be started again."""
        (self.work / "roster" / f"{member}.json").unlink(missing_ok=True)


@dataclass(frozen=True)
class Lane:
    """A namespace and its workers."""

    rig: Rig
    name: str
    client: Client
    members: tuple[str, ...]
    environment: dict[str, str] = field(repr=False)

    def pid(self, member: str) -> int:
        """The process that a member is now, or was last."""
        file = self.rig.work / "pids" / member
        return int(file.read_text()) if file.exists() else 0

    async def ready(self) -> None:
        """Wait until all workers poll."""
        await eventually(
            lambda: all(self._is_ready(member) for member in self.members),
            f"the workers of {self.name} poll",
            _READY_SECONDS,
        )

    def _is_ready(self, member: str) -> bool:
        pid = self.pid(member)
        return bool(pid) and (self.rig.work / "ready" / f"{member}.{pid}").exists()

    @property
    def deals(self) -> DealClient:
        """The deals of this namespace."""
        return DealClient(self.client)

    async def start(self, request: DealRequest) -> DealView:
        """Start a deal as the stack's desk does."""
        return await start(self.rig.stack, self.deals, request)

    def request(self, deal_id: str | None = None, **changes: Any) -> DealRequest:
        """A deal of this lane."""
        deal_id = deal_id or f"{self.name}-{uuid4().hex[:6]}"
        fields: dict[str, Any] = {
            "deal_id": deal_id,
            "bank": deal_id,  # those of one bank would be counted together
            "module": "usdtz",
            "chain_id": CHAIN,
            "working_liquidity": LIQUIDITY,
        }
        return DealRequest.parse(**fields | changes)

    def deal(self, deal_id: str) -> WorkflowHandle[DealWorkflow, DealView]:
        """The workflow of a deal."""
        return self.client.get_workflow_handle_for(DealWorkflow.run, workflow_id(deal_id))

    async def start_batches(
        self, deal_id: str, *, before: Callable[[str], None] = lambda _: None, **plan: Any
    ) -> WorkflowHandle[LedgerBatches, list[Ended]]:
        """Start batches that the Ledger counts, from an account that can pay for them.

        `before` is called with the account before anything is prepared; `plan` as in `BatchPlan`.
        """
        request = self.request(deal_id)
        handle = await self.client.start_workflow(
            LedgerBatches.run,
            BatchPlan(request=request, **plan),
            id=workflow_id(deal_id),
            task_queue="deals",
            task_timeout=TASK_TIMEOUT,
        )
        accounts = await handle.execute_update(LedgerBatches.account)
        self.rig.node.ask("anvil_setBalance", accounts.account, hex(10 * ETHER))
        before(accounts.account)
        await handle.signal(LedgerBatches.funded)
        return handle


@asynccontextmanager
async def running_rig(
    block_time: int | None = 1, profile: dict[str, str] | None = None
) -> AsyncIterator[Rig]:
    """Start everything but the workers of the lanes; end all of it in the end.

    `profile` replaces single settings of the chain's profile, in the words of its file.
    """
    folder = Path(tempfile.mkdtemp(prefix="deal-faults-"))
    try:
        with _stack(folder, block_time, profile or {}) as stack:
            yield Rig(folder, stack, Node.of(stack), Books(folder))
            await asyncio.sleep(0.25)  # the SDK's own threads have to be done with the last answer
    finally:
        end_marked(folder)
        if "FAULTS_KEEP" not in os.environ:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _stack(folder: Path, block_time: int | None, profile: dict[str, str]) -> Iterator[Stack]:
    work = folder / "faults"
    for name in ("roster", "pids", "ready", "crashes/armed", "crashes/fired"):
        (work / name).mkdir(parents=True)
    supervisor = WorkerSpec(
        _SUPERVISOR,
        "tests.faults.worker",
        role="deal_engine",
        chains=True,
        keys=True,
        environment={FOLDER: str(work), "DEAL_CONFIG_DIR": str(_config(folder, profile))},
    )
    stack = Stack(folder, block_time, (CHAIN,), worker_specs=(supervisor,), with_api=False)
    with own_environment():
        stack.up()
    try:
        yield stack
    finally:
        stack.down()


def _config(folder: Path, profile: dict[str, str]) -> Path:
    """The usual profiles, with a depth of finality, and other settings where they are asked for."""
    config = folder / "config"
    shutil.copytree(DEFAULT_CONFIG_DIR, config)
    file = config / f"{CHAIN}.toml"
    text = file.read_text()
    for name, value in ({"depth": str(DEPTH)} | profile).items():
        text, count = re.subn(rf"(?m)^{name} = .*$", f"{name} = {value}", text)
        assert count == 1, f"the profile has {count} settings {name}"
    file.write_text(text)
    return config


async def eventually(holds: Any, what: str, within: float = 60.0) -> None:
    """Wait until this holds."""
    deadline = time.monotonic() + within
    while not holds():
        assert time.monotonic() < deadline, f"not within {within:.0f} s: {what}"
        await asyncio.sleep(_LOOK_SECONDS)


def renamed(lane: Lane, name: str) -> Lane:
    """The same workers, for deals of another name."""
    return replace(lane, name=name)


def batch_keys(deal_id: str, batches: int, step: Step = Step.WRAP) -> Sequence[str]:
    """The keys of the batches of a workflow of batches."""
    return [f"{deal_id}/{step}/{number}/1" for number in range(1, batches + 1)]
