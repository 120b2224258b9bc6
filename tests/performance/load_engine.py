"""A load put on the real engine: batches that the Ledger counts, ordered by one who waits a little.

Each batch is a workflow that runs `execute_batch`, as a deal does. Whoever orders keeps at most
three batches between the order and the sending: measured on two cores, with six, what is accepted
waits more than twice as long for a processor, and no more of it is mined. A batch costs the workers
and servers about 120 ms of processor time, however large it is, and each of its intents about 1.5
ms more. So a batch has 40 where one account sends all and nobody is to wait long (with 50 each
waits a third longer, at the same rate), what each account sends where there are fifty of them, and
250 where only the rate counts.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from domain.deals import DealRequest, Step
from starters.deals.client import TASK_TIMEOUT
from tests.faults.batches import BatchPlan, LedgerBatches
from tests.faults.rig import ETHER, batch_keys
from tests.performance.deals import CHAIN_ID, BenchError
from workflows.deal.workflow import workflow_id

if TYPE_CHECKING:
    from temporalio.client import Client, WorkflowHandle

    from tests.faults.batches import Ended
    from tests.performance.load_watch import Sendings
    from tests.support.books import Books
    from tests.support.node import Node


@dataclass(frozen=True)
class Pace:
    """How many intents a batch has at most, and how many batches are ordered and not yet sent."""

    batch: int = 25
    ahead: int = 2


_WEI: Final = 1000 * ETHER
_LOOK_SECONDS: Final = 0.005
_SECONDS: Final = 600.0
_ACCEPTED: Final = """
SELECT intent_id, extract(epoch FROM created_at), block_number FROM transactions.intents
WHERE intent_id = ANY(%s)
"""


@dataclass(frozen=True)
class EngineRun:
    """One load, in Unix seconds; each of the mappings is by intent id."""

    began: float
    ended: float
    """When the outcome of every batch was known."""
    ordered: dict[str, float]
    accepted: dict[str, float]
    """When the row of the intent was made."""
    sent: dict[str, float]
    last_block: int

    def waited(self) -> list[float]:
        """Seconds from accepted to sent of each intent."""
        return [self.sent[each] - at for each, at in self.accepted.items()]

    def waited_since_order(self) -> list[float]:
        """Seconds from the order to sent of each intent."""
        return [self.sent[each] - at for each, at in self.ordered.items()]


@dataclass
class Order:
    """A workflow that waits for its order."""

    handle: WorkflowHandle[LedgerBatches, list[Ended]]
    intents: list[str]


class EngineLoad:
    """Puts loads on one stack."""

    def __init__(self, client: Client, node: Node, books: Books, sendings: Sendings) -> None:
        """Take the stack's Temporal, node and database, and what its chain worker notes."""
        self._client = client
        self._node = node
        self._books = books
        self._sendings = sendings

    async def run(self, orders: list[Order], pace: Pace) -> EngineRun:
        """Give the orders and wait for all outcomes; raise `BenchError` if a batch has none."""
        began = time.time()
        async with asyncio.timeout(_SECONDS):
            ordered = await self._give(orders, pace)
            ended = await asyncio.gather(*(order.handle.result() for order in orders))
        known = time.time()
        problems = [e.problem or (e.outcome and e.outcome.problem) for each in ended for e in each]
        if any(problems):
            message = f"a batch failed: {next(filter(None, problems))}"
            raise BenchError(message)
        self._sendings.look()
        rows = await asyncio.to_thread(self._books.rows, _ACCEPTED, list(ordered))
        return EngineRun(
            began=began,
            ended=known,
            ordered=ordered,
            accepted={str(row[0]): float(row[1]) for row in rows},
            sent={intent_id: self._sendings.first[intent_id] for intent_id in ordered},
            last_block=max(int(row[2]) for row in rows),
        )

    async def orders(self, accounts: int, count: int, pace: Pace) -> list[Order]:
        """Workflows with funded accounts: one for every batch of one account, or for each account.

        Where one account sends all it is the treasury, which is what many deals share.
        """
        name, most = f"load-{secrets.token_hex(4)}", pace.batch
        if accounts == 1:
            sizes = [min(most, count - first) for first in range(0, count, most)]
        else:
            sizes = [count // accounts] * accounts
        step = Step.FUND if accounts == 1 else Step.WRAP
        return list(
            await asyncio.gather(
                *(self._order(f"{name}-{n}", size, step) for n, size in enumerate(sizes))
            )
        )

    async def _order(self, deal_id: str, size: int, step: Step) -> Order:
        request = DealRequest.parse(
            deal_id=deal_id,
            bank="bench",
            module="usdtz",
            chain_id=CHAIN_ID,
            working_liquidity="10",
        )
        handle = await self._client.start_workflow(
            LedgerBatches.run,
            BatchPlan(request=request, intents=size, step=step),
            id=workflow_id(deal_id),
            task_queue="deals",
            task_timeout=TASK_TIMEOUT,
        )
        accounts = await handle.execute_update(LedgerBatches.account)
        sender = accounts.treasury if step is Step.FUND else accounts.account
        await asyncio.to_thread(self._node.ask, "anvil_setBalance", sender, hex(_WEI))
        (key,) = batch_keys(deal_id, 1, step)
        return Order(handle, [f"{key}/{index}" for index in range(size)])

    async def _give(self, orders: list[Order], pace: Pace) -> dict[str, float]:
        """Give the orders, a few ahead of what was sent; return when each intent was ordered."""
        ordered: dict[str, float] = {}
        waiting: list[Order] = []
        for order in orders:
            while len(waiting) >= pace.ahead:
                await asyncio.sleep(_LOOK_SECONDS)
                self._sendings.look()
                waiting = [o for o in waiting if o.intents[-1] not in self._sendings.first]
            ordered |= dict.fromkeys(order.intents, time.time())
            await order.handle.signal(LedgerBatches.funded)
            waiting.append(order)
        return ordered
