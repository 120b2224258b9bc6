"""What must not happen any more after a failure: nothing that comes before it, or that it undid."""

import pytest

from activities.rpc.client import RpcCall
from activities.transactions.alerts import Alerts
from activities.transactions.outbidding import Outbidder, after_failure
from activities.transactions.receipts import Sighting, look_for
from activities.transactions.store import Attempt
from domain.identifiers import ChainId
from domain.transactions import PreparedBatch
from tests.activities.chain import CHAIN
from tests.activities.desk import Desk
from tests.activities.transactions.delivering import RECORD, recording
from tests.activities.transactions.samples import FEES, batch_of

REVERTS = "0xdeadbeef"
"""Calldata that the Ledger has no function for."""


def numbered(count: int) -> PreparedBatch:
    batch = batch_of(count)
    intents = tuple(
        intent.model_copy(update={"nonce": nonce}) for nonce, intent in enumerate(batch.intents)
    )
    return batch.model_copy(update={"intents": intents})


def sighting(batch: PreparedBatch, mined_nonce: int, statuses: dict[int, str]) -> Sighting:
    """A look that found these receipts, by number, and so many nonces used."""
    ids = {number: batch.intents[number].intent_id for number in statuses}
    return Sighting(
        head=9,
        mined_nonce=mined_nonce,
        receipts={
            ids[n]: {"status": status, "blockNumber": "0x9"} for n, status in statuses.items()
        },
        mined={name: Attempt(name, f"0x{n:064x}", "0x02", FEES) for n, name in ids.items()},
        extra=None,
    )


@pytest.mark.parametrize(
    ("mined_nonce", "statuses", "doomed"),
    [
        (2, {0: "0x1", 1: "0x0"}, [2, 3]),
        (1, {0: "0x0"}, [1, 2, 3]),
        (2, {0: "0x1", 1: "0x1"}, []),
        # The nonces are of after a reorganisation, the receipt of the failure of before it.
        (0, {1: "0x0"}, []),
        (1, {0: "0x1", 1: "0x0"}, []),
        (0, {0: "0x1", 1: "0x0", 2: "0x1"}, []),
    ],
)
def test_only_what_comes_after_a_used_nonce_that_failed(
    mined_nonce: int, statuses: dict[int, str], doomed: list[int]
) -> None:
    batch = numbered(4)
    found = after_failure(batch, sighting(batch, mined_nonce, statuses))
    assert found == [batch.intents[number].intent_id for number in doomed]


async def test_a_failure_in_a_block_that_is_gone_dooms_nothing(desk: Desk) -> None:
    """The look was before a reorganisation, and what follows from it would be signed after it."""
    node, ledger = desk.node, desk.profile.contract("ledger")
    node.automine(on=False)
    record = RECORD.encode(b"\3" * 32)
    batch = await recording(desk, calls=[(ledger, record), (ledger, REVERTS), (ledger, record)])
    order = await desk.signed(batch)
    attempts, _ = await desk.store.save_attempts(batch, order.signed)
    for signed in order.signed[:2]:
        node.ask("eth_sendRawTransaction", signed.raw)
    node.mine()
    seen = await look_for(desk.rpc, batch, attempts, RpcCall("eth_chainId"))
    assert seen.failed() == [batch.intents[1].intent_id]
    outbidder = Outbidder(desk.profile, desk.rpc, Alerts(ChainId(CHAIN), desk.pool))

    wanted = await outbidder.wanted(order, seen, attempts, waited=0)
    assert wanted is not None
    assert wanted.no_ops.keys() == {batch.intents[2].intent_id}
    node.ask("anvil_reorg", 1, [])
    assert await outbidder.wanted(order, seen, attempts, waited=0) is None
