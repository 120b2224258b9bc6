"""Finding out what became of a batch: receipts under every attempt's hash, and used nonces."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from activities.protocols.effects import EffectReader, movements_of
from activities.rpc.client import Questions, RpcCall, RpcError
from activities.transactions.store import Attempt
from domain.identifiers import Address
from domain.tracking import Receipt
from domain.transactions import Asset, Inclusion, Intent, PreparedBatch

_FEW: Final = 16
"""Attempts: more than any batch of a deal has at first."""
_NOT_ASKED: Final = RpcError(0, "not asked before a nonce is used")


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

    def pending(self, batch: PreparedBatch) -> list[Intent]:
        """The intents whose nonces are not used yet, by any transaction."""
        return [i for i in self.missing(batch) if i.nonce >= self.mined_nonce]

    def failed(self) -> list[str]:
        """The intents that were mined without their effect: reverted, or a no-op in their place."""
        return [
            intent_id
            for intent_id, receipt in self.receipts.items()
            if int(receipt["status"], 16) != 1 or self.mined[intent_id].no_op
        ]

    def confirmed(self, confirmations: int) -> bool:
        """Whether every receipt's block has that many confirmations, its own included."""
        return all(
            self.head - int(receipt["blockNumber"], 16) + 1 >= confirmations
            for receipt in self.receipts.values()
        )


async def look_for(
    rpc: Questions, batch: PreparedBatch, attempts: list[Attempt], extra: RpcCall
) -> Sighting:
    """Look for receipts of all attempts; raises `Unavailable`.

    A few are asked for at once, for then one request is enough when a block has come. Many are
    asked for only when a nonce of the batch is used: before that nobody has a receipt.
    """
    sender, first = batch.intents[0].sender, batch.intents[0].nonce
    progress = [RpcCall("eth_blockNumber"), RpcCall("eth_getTransactionCount", (sender, "latest"))]
    if len(attempts) > _FEW:
        head, mined_nonce = [int(rpc.expect(each), 16) for each in await rpc.batch(progress)]
        if mined_nonce <= first:
            return Sighting(head, mined_nonce, receipts={}, mined={}, extra=_NOT_ASKED)
    receipts = [RpcCall("eth_getTransactionReceipt", (each.transaction_hash,)) for each in attempts]
    answers = await rpc.batch([*progress, *receipts, extra])
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
    """The receipts as inclusions, in the order of the batch; intents without one are left out."""
    return tuple(
        _inclusion(intent, sighting.mined[intent.intent_id], sighting.receipts[intent.intent_id])
        for intent in batch.intents
        if intent.intent_id in sighting.receipts
    )


def changes_of(
    effects: EffectReader,
    account: Address,
    batch: PreparedBatch,
    inclusions: tuple[Inclusion, ...],
    sighting: Sighting,
) -> list[dict[Asset, int]]:
    """What each intent changed for an account, gas not counted: nothing if it had no effect."""
    mined = {i.intent_id: i for i in inclusions if i.succeeded and not i.no_op}
    return [
        effects.changes(
            account,
            movements_of(intent.sender, intent.to, mined[intent.intent_id].value, intent.data),
            sighting.receipts[intent.intent_id]["logs"],
        )
        if intent.intent_id in mined
        else {}
        for intent in batch.intents
    ]


def gas_paid_for(batch: PreparedBatch, inclusions: tuple[Inclusion, ...]) -> int:
    """Wei of gas of this batch that was paid for the deal's account, by the treasury or the desk.

    What the account itself pays it sweeps home the less.
    """
    if batch.intents[0].sender == batch.account:
        return 0
    return sum(inclusion.gas_cost_wei for inclusion in inclusions)


def receipt_of(intent_id: str, attempt: Attempt, raw: Mapping[str, Any]) -> Receipt:
    """A node's receipt for an attempt of an intent, typed."""
    return Receipt(
        intent_id=intent_id,
        transaction_hash=raw["transactionHash"],
        block_number=int(raw["blockNumber"], 16),
        block_hash=raw["blockHash"],
        succeeded=int(raw["status"], 16) == 1,
        no_op=attempt.no_op,
        gas_used=int(raw["gasUsed"], 16),
        effective_gas_price=int(raw["effectiveGasPrice"], 16),
    )


def _inclusion(intent: Intent, attempt: Attempt, raw: Mapping[str, Any]) -> Inclusion:
    receipt = receipt_of(intent.intent_id, attempt, raw)
    value = 0 if attempt.no_op else intent.with_fees(attempt.fees).value
    return Inclusion(purpose=intent.purpose, value=value, **receipt.model_dump())
