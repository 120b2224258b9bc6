"""Finding out what became of a batch: receipts under every attempt's hash, and used nonces."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from activities.protocols.effects import EffectReader, Movement
from activities.rpc.client import Rpc, RpcCall
from activities.transactions.store import Attempt
from domain.identifiers import Address
from domain.transactions import Asset, Inclusion, Intent, PreparedBatch


@dataclass(frozen=True, slots=True)
class Sighting:
    """What one look at the chain shows of a batch."""

    head: int
    mined_nonce: int
    receipts: Mapping[str, dict[str, Any]]
    """By intent id; intents without a receipt are left out."""
    mined: Mapping[str, Attempt]
    """Which attempt of an intent the receipt is for."""
    extra: Any
    """The answer to the additional call of the same request; an `RpcError` if there is none."""

    def missing(self, batch: PreparedBatch) -> list[Intent]:
        """The intents without a receipt."""
        return [i for i in batch.intents if i.intent_id not in self.receipts]

    def confirmed(self, batch: PreparedBatch, confirmations: int) -> bool:
        """Whether every intent is in a block with that many confirmations, its own included."""
        return not self.missing(batch) and all(
            self.head - int(receipt["blockNumber"], 16) + 1 >= confirmations
            for receipt in self.receipts.values()
        )


async def look_for(
    rpc: Rpc, batch: PreparedBatch, attempts: list[Attempt], extra: RpcCall
) -> Sighting:
    """Look for receipts of all attempts in one request; raises `Unavailable`."""
    answers = await rpc.batch(
        [
            RpcCall("eth_blockNumber"),
            RpcCall("eth_getTransactionCount", (batch.intents[0].sender, "latest")),
            *(
                RpcCall("eth_getTransactionReceipt", (attempt.transaction_hash,))
                for attempt in attempts
            ),
            extra,
        ]
    )
    found = [
        (attempt, rpc.expect(answer))
        for attempt, answer in zip(attempts, answers[2:-1], strict=True)
        if rpc.expect(answer) is not None
    ]
    return Sighting(
        head=int(rpc.expect(answers[0]), 16),
        mined_nonce=int(rpc.expect(answers[1]), 16),
        receipts={attempt.intent_id: receipt for attempt, receipt in found},
        mined={attempt.intent_id: attempt for attempt, _ in found},
        extra=answers[-1],
    )


def inclusions_of(batch: PreparedBatch, sighting: Sighting) -> tuple[Inclusion, ...]:
    """The receipts as inclusions, in the order of the batch."""
    return tuple(
        _inclusion(
            intent.with_fees(sighting.mined[intent.intent_id].fees),
            sighting.receipts[intent.intent_id],
        )
        for intent in batch.intents
    )


def changes_of(
    effects: EffectReader,
    account: Address,
    batch: PreparedBatch,
    inclusions: tuple[Inclusion, ...],
    sighting: Sighting,
) -> list[dict[Asset, int]]:
    """What each mined transaction changed for an account, gas not counted."""
    return [
        effects.changes(
            account,
            [Movement(intent.sender, intent.to, mined.value)],
            sighting.receipts[intent.intent_id]["logs"],
        )
        if mined.succeeded
        else {}
        for intent, mined in zip(batch.intents, inclusions, strict=True)
    ]


def gas_paid_by(account: Address, batch: PreparedBatch, inclusions: tuple[Inclusion, ...]) -> int:
    """Wei of gas that the account itself paid in this batch."""
    if batch.intents[0].sender != account:
        return 0
    return sum(inclusion.gas_cost_wei for inclusion in inclusions)


def _inclusion(intent: Intent, receipt: dict[str, Any]) -> Inclusion:
    return Inclusion(
        intent_id=intent.intent_id,
        purpose=intent.purpose,
        transaction_hash=receipt["transactionHash"],
        block_number=int(receipt["blockNumber"], 16),
        block_hash=receipt["blockHash"],
        succeeded=int(receipt["status"], 16) == 1,
        gas_used=int(receipt["gasUsed"], 16),
        effective_gas_price=int(receipt["effectiveGasPrice"], 16),
        value=intent.value,
    )
