"""A stack whose timelock waits seconds, and what tests do to the timelock beside the engine."""

from __future__ import annotations

import asyncio
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any, Final

from activities.protocols import timelock
from activities.protocols.abi import Function, event_topic
from domain.errors import NotFound, Unavailable
from domain.identifiers import Address
from domain.operations import OperationRequest, OperationStatus, OperationView, Scheduled
from starters.deals.operations import OperationClient
from starters.local.probes import RpcError
from starters.local.processes import end_marked
from starters.local.stack import Stack
from tests.support.desk import WITHIN, Desk
from tests.support.stacks import complaints, left_behind, measured_workers, own_environment
from workers.runtime.settings import DEFAULT_CONFIG_DIR

CHAIN: Final = 138
DELAY: Final = 4
"""Seconds: long enough for everything that has to happen before it is over."""

_UPDATE_DELAY: Final = Function("updateDelay(uint256)")
_LOOK_SECONDS: Final = 0.02
_numbers = count(1)


@contextmanager
def operations_stack() -> Iterator[Stack]:
    """A stack with a block a second, on whose chain the timelock waits `DELAY` seconds."""
    folder = Path(tempfile.mkdtemp(prefix="deal-operations-"))
    config = folder / "config"
    shutil.copytree(DEFAULT_CONFIG_DIR, config)
    for file in config.glob("*.toml"):
        shorter = f"min_delay_seconds = {DELAY}"
        file.write_text(re.sub(r"(?m)^min_delay_seconds = .*$", shorter, file.read_text()))
    workers = tuple(
        replace(spec, environment={**spec.environment, "DEAL_CONFIG_DIR": str(config)})
        for spec in measured_workers((CHAIN,))
    )
    stack = Stack(folder, 1, (CHAIN,), worker_specs=workers, with_api=False)
    try:
        with own_environment():
            stack.up()
        yield stack
        stack.down()
        assert left_behind(stack) == []
        assert not complaints(stack), complaints(stack)
    finally:
        end_marked(folder)
        shutil.rmtree(folder, ignore_errors=True)


@dataclass
class Office:
    """Where operations are proposed; `desk` is the stack's."""

    desk: Desk
    operations: OperationClient

    @classmethod
    async def open(cls, stack: Stack) -> Office:
        """Connect, and have the timelock wait `DELAY` seconds from now on."""
        desk = await Desk.open(stack)
        office = cls(desk, OperationClient(desk.client))
        office.as_timelock(_UPDATE_DELAY.encode(DELAY))
        return office

    def request(self, **change: Any) -> OperationRequest:
        """A request under a name of its own."""
        return OperationRequest.model_validate(
            {
                "operation_id": f"{self.desk.name}-{next(_numbers)}",
                "chain_id": CHAIN,
                "module": "usdtz",
                "change": change,
                "who": "a risk manager",
                "why": "a test",
            }
        )

    async def propose(self, **change: Any) -> OperationView:
        """Propose a change."""
        return await self.operations.propose(self.request(**change))

    async def until(self, view: OperationView, status: OperationStatus) -> OperationView:
        """The first view with this status."""
        deadline = time.monotonic() + WITHIN
        while (found := await self._look(view)).status is not status:
            assert time.monotonic() < deadline, found
            await asyncio.sleep(_LOOK_SECONDS)
        return found

    async def _look(self, view: OperationView) -> OperationView:
        """The view; that nobody answers yet is waited through."""
        try:
            return await self.operations.view(view.request.operation_id)
        except (Unavailable, NotFound):
            return view

    async def end(self, view: OperationView) -> OperationView:
        """The operation as it ended."""
        return await self.operations.end(view.request.operation_id)

    def as_timelock(self, data: str) -> None:
        """Have the timelock call itself, which nobody else administers."""
        node = self.desk.node()
        node.as_timelock("timelock", data)

    def refused(self, data: str, sender: str | None = None) -> bool:
        """Whether the timelock's contract refuses a call by the fee account, or by this sender."""
        node = self.desk.node()
        call = {"from": sender or self.fee, "to": node.contracts["timelock"], "data": data}
        try:
            node.ask("eth_call", call, "latest")
        except RpcError as error:
            return "revert" in str(error)
        return False

    @property
    def fee(self) -> Address:
        """The fee account, by what it has sent."""
        query = "SELECT address FROM signing.accounts WHERE purpose = 'fee'"
        return Address(self.desk.books.rows(query)[0][0])

    def happened(self, view: OperationView, step: str) -> list[tuple[Any, ...]]:
        """Intents of a step of the operation: their states and their transactions."""
        query = (
            "SELECT state, mined_hash, succeeded FROM transactions.intents"
            " WHERE batch_key LIKE %s AND state <> 'ABANDONED'"
        )
        return self.desk.books.rows(query, f"{view.request.batch_owner}/{step}/%")

    def executions(self, call: Scheduled) -> int:
        """How often the timelock has executed it, by the chain's own log."""
        topic = event_topic("CallExecuted(bytes32,uint256,address,uint256,bytes)")
        found = self.desk.node().ask(
            "eth_getLogs",
            {
                "address": call.timelock,
                "topics": [topic, call.timelock_id],
                "fromBlock": "0x0",
                "toBlock": "latest",
            },
        )
        return len(found)

    def early(self, call: Scheduled) -> bool:
        """Whether the contract refuses to execute it now."""
        return self.refused(timelock.execute_call(call))
