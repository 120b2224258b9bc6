"""A trading desk on a stack: starts deals, follows them by their views, gives commands."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Final
from uuid import uuid4

from temporalio.client import Client, WorkflowHandle

from domain.deals import Command, DealRequest, DealStatus
from domain.errors import NotFound, Unavailable
from domain.identifiers import DealId
from domain.identity import Caller
from domain.views import DealView
from starters.cli import session
from starters.control.commands import CommandStore
from starters.control.database import ControlDatabase
from starters.control.desk import DealDesk
from starters.deals.client import DealClient
from starters.deals.database import single_connection
from starters.deals.reading import RecordsReader
from starters.local.identities import key_file
from starters.local.stack import Stack
from starters.local.state import load_environment
from tests.support.books import Books
from tests.support.node import Node
from tests.support.stacks import own_environment
from workers.runtime.connect import connect
from workflows.deal.workflow import DealWorkflow, workflow_id

LIQUIDITY: Final = "10"
WITHIN: Final = 120.0
"""Seconds that anything awaited may take on a busy machine."""

_LOOK_SECONDS: Final = 0.02
_numbers = count(1)


@dataclass
class Desk:
    """Everything that a test does with deals."""

    stack: Stack
    client: Client
    deals: DealClient
    books: Books
    orders: DealDesk
    caller: Caller
    """Who starts and commands, unless a test says otherwise."""
    name: str = field(default_factory=lambda: f"t{uuid4().hex[:6]}")

    @classmethod
    async def open(cls, stack: Stack) -> Desk:
        """Connect to a stack that runs."""
        with own_environment(load_environment(stack.folder)):
            client = await connect()
            caller = await session.caller()
        deals = DealClient(client)
        return cls(stack, client, deals, Books(stack.folder), orders_of(stack, deals), caller)

    async def as_(self, name: str) -> Caller:
        """Another one of the stack's people."""
        environment = load_environment(self.stack.folder)
        environment["DEAL_CREDENTIAL_FILE"] = str(key_file(name, self.stack.folder))
        with own_environment(environment):
            return await session.caller()

    def node(self, chain_id: int = 138) -> Node:
        """One of the stack's chains."""
        return Node.of(self.stack, chain_id)

    @property
    def treasury(self) -> str:
        """The account that funds every deal and is paid back."""
        return load_environment(self.stack.folder)["DEAL_TREASURY_ADDRESS"]

    def request(self, **changes: Any) -> DealRequest:
        """A deal of 10 ETH on chain 138, under a name of its own.

        Its bank has no other deals, which would be counted together.
        """
        number = next(_numbers)
        fields: dict[str, Any] = {
            "deal_id": f"{self.name}-{number}",
            "bank": f"bank-{self.name}-{number}",
            "module": "usdtz",
            "chain_id": 138,
            "working_liquidity": LIQUIDITY,
        }
        return DealRequest.parse(**fields | changes)

    async def start(self, **changes: Any) -> DealView:
        """Start a deal and return it as it was admitted or denied."""
        return await self.begin(self.request(**changes))

    async def begin(self, request: DealRequest, command_id: str | None = None) -> DealView:
        """Start a deal of this request."""
        return await self.orders.start(
            self.caller, request, why="a test", command_id=command_id or uuid4().hex
        )

    async def run(self, **changes: Any) -> DealView:
        """Run a deal to its end."""
        return await self.end((await self.start(**changes)).request.deal_id)

    async def end(self, deal_id: DealId) -> DealView:
        """The deal as its workflow ended."""
        async with asyncio.timeout(WITHIN):
            return await self.handle(deal_id).result()

    async def ends(self, *deal_ids: DealId) -> list[DealView]:
        """The deals as they ended, in this order."""
        return list(await asyncio.gather(*(self.end(deal_id) for deal_id in deal_ids)))

    async def until(self, deal_id: DealId, holds: Callable[[DealView], object]) -> DealView:
        """The first view that this holds of."""
        return await first_view(self.deals, deal_id, holds)

    async def status(self, deal_id: DealId, status: DealStatus) -> DealView:
        """The first view with this status."""
        return await self.until(deal_id, lambda view: view.status is status)

    async def sent(self, deal_id: DealId, step: str, chain_id: int = 138) -> None:
        """Wait until all transactions of this step wait in the node for the next block."""
        node = self.node(chain_id)

        def in_the_pool() -> bool:
            batch = self.books.of_step(deal_id, step)
            return bool(batch) and all(
                intent.attempts and intent.state == "BROADCAST" and node.knows(intent.attempts[-1])
                for intent in batch
            )

        await eventually(in_the_pool, f"{step} of {deal_id} is sent")

    async def prepared(self, deal_id: DealId, step: str) -> None:
        """Wait until this step is numbered, while it cannot be signed."""
        await self._in_state(deal_id, step, "PREPARED")

    async def saved(self, deal_id: DealId, step: str) -> None:
        """Wait until what was signed for this step is saved, whether it is sent or not."""
        await self._in_state(deal_id, step, "BROADCAST")

    async def _in_state(self, deal_id: DealId, step: str, state: str) -> None:
        def all_of_it() -> bool:
            return {i.state for i in self.books.of_step(deal_id, step)} == {state}

        await eventually(all_of_it, f"{step} of {deal_id} is {state}")

    async def command(
        self, deal_id: DealId, command: Command, command_id: str | None = None
    ) -> DealView:
        """Give a command."""
        given = command_id or uuid4().hex
        view = await self.orders.give(self.caller, command, deal_id, "a test", given)
        assert view is not None
        return view

    def handle(self, deal_id: DealId) -> WorkflowHandle[DealWorkflow, DealView]:
        """The deal's workflow."""
        return self.client.get_workflow_handle_for(DealWorkflow.run, workflow_id(deal_id))


async def start(stack: Stack, deals: DealClient, request: DealRequest) -> DealView:
    """Start a deal as the stack's desk, by this client."""
    with own_environment(load_environment(stack.folder)):
        caller = await session.caller()
    return await orders_of(stack, deals).start(
        caller, request, why="a test", command_id=uuid4().hex
    )


def orders_of(stack: Stack, deals: DealClient) -> DealDesk:
    """What people do with a stack's deals, by this client."""
    environment = load_environment(stack.folder)
    reading = single_connection(environment["DEAL_DATABASE_URL"])
    control = ControlDatabase.at(environment["DEAL_CONTROL_DATABASE_URL"])

    async def client() -> DealClient:
        return deals

    return DealDesk(client, RecordsReader(reading), CommandStore(control, reading))


async def first_view(
    deals: DealClient, deal_id: DealId, holds: Callable[[DealView], object]
) -> DealView:
    """The first view that this holds of; that nobody answers yet is waited through."""
    deadline, view = time.monotonic() + WITHIN, None
    while time.monotonic() < deadline:
        try:
            view = await deals.view(deal_id)
        except (Unavailable, NotFound):
            view = None
        if view is not None and holds(view):
            return view
        await asyncio.sleep(_LOOK_SECONDS)
    said = view and f"{view.status}: {view.doing}"
    msg = f"{deal_id} did not come there within {WITHIN:.0f} s; it is {said}"
    raise AssertionError(msg)


async def eventually(holds: Callable[[], object], what: str) -> None:
    """Wait until this holds."""
    deadline = time.monotonic() + WITHIN
    while not holds():
        assert time.monotonic() < deadline, f"not within {WITHIN:.0f} s: {what}"
        await asyncio.sleep(_LOOK_SECONDS)
