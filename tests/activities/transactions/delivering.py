"""Batches whose executions the Ledger contract counts, and blocks that come when a test says so."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

from activities.protocols.abi import Function
from activities.transactions.interface import DeliverBatch, Delivery
from domain.deals import Step
from domain.hashing import keccak
from domain.identifiers import Address, ChainId
from domain.transactions import BatchKey, Bound, Fees, Intent, PreparedBatch, StepOutcome
from tests.activities.chain import CHAIN, ETHER, GWEI, Node
from tests.activities.desk import Desk

RECORD: Final = Function("record(bytes32)")
USUAL: Final = Fees(max_fee_per_gas=5 * GWEI, max_priority_fee_per_gas=GWEI)
LOW: Final = Fees(max_fee_per_gas=2 * GWEI, max_priority_fee_per_gas=GWEI)
SOON: Final = 5.0


async def recording(  # noqa: PLR0913 - the facts of a batch
    desk: Desk,
    count: int = 1,
    *,
    number: int = 1,
    fees: Fees = USUAL,
    bounds: tuple[Bound, ...] = (),
    calls: list[tuple[Address, str]] | None = None,
) -> PreparedBatch:
    """A stored batch of the deal's account: each transaction records its intent in the Ledger.

    `calls` are other transactions that take the place of the recording ones.
    """
    desk.node.give_ether(desk.account, 10 * ETHER)
    key = BatchKey(deal_id=desk.request.deal_id, step=Step.WRAP, round=number)
    ledger = desk.profile.contract("ledger")
    ids = [f"{key}/{index}" for index in range(count)]
    planned = calls or [(ledger, RECORD.encode(keccak(each.encode()))) for each in ids]
    intents = tuple(
        Intent(
            intent_id=f"{key}/{index}",
            chain_id=ChainId(CHAIN),
            sender=desk.account,
            nonce=0,
            to=to,
            value=0,
            data=data,
            gas_limit=300_000,
            fees=fees,
            purpose=f"Record {index}",
        )
        for index, (to, data) in enumerate(planned)
    )
    batch = PreparedBatch(
        key=key,
        account=desk.account,
        intents=intents,
        bounds=bounds,
        simulated_block=desk.node.head(),
        simulated_changes={},
        prepared_at=int(time.time()),
    )
    return await desk.store.add_batch(batch, mined_nonce=desk.node.nonce(desk.account))


def executions(node: Node, batch: PreparedBatch) -> list[int]:
    """How often each intent of the batch took effect."""
    return [
        node.read("ledger", "executions", keccak(intent.intent_id.encode()))
        for intent in batch.intents
    ]


def outcome_of(delivery: Delivery) -> StepOutcome:
    """The outcome of a delivery that must have one."""
    assert delivery.outcome is not None, delivery
    return delivery.outcome


def pending(node: Node, transaction: str) -> bool:
    """Whether the node has the transaction and has not mined it."""
    found: dict[str, Any] | None = node.ask("eth_getTransactionByHash", transaction)
    return found is not None and found["blockHash"] is None


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that must come about soon."""
    async with asyncio.timeout(SOON):
        while not condition():  # noqa: ASYNC110 - nobody tells us, so we ask
            await asyncio.sleep(0.005)


async def finished(delivering: asyncio.Task[Delivery]) -> Delivery:
    """Wait for a delivery that must come to its end soon."""
    async with asyncio.timeout(SOON):
        return await delivering


@asynccontextmanager
async def under_way(desk: Desk, order: DeliverBatch) -> AsyncIterator[asyncio.Task[Delivery]]:
    """A delivery that goes on while the test does something else."""
    delivering = asyncio.create_task(desk.deliver(order))
    try:
        yield delivering
    finally:
        delivering.cancel()
        await asyncio.gather(delivering, return_exceptions=True)


async def mine_until(delivering: asyncio.Task[Delivery], node: Node) -> Delivery:
    """Mine a block now and then until the delivery is over."""
    async with asyncio.timeout(SOON):
        while not delivering.done():
            node.mine()
            await asyncio.sleep(0.03)
    return delivering.result()


async def passed_over(delivering: asyncio.Task[Delivery], node: Node, base_fee: int) -> Delivery:
    """Mine blocks at this base fee until the delivery says what it would need."""
    async with asyncio.timeout(SOON):
        while not delivering.done():
            node.next_base_fee(base_fee)
            node.mine()
            await asyncio.sleep(0.03)
    delivery = delivering.result()
    assert delivery.outcome is None
    return delivery
