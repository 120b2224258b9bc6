"""Batches that no chain has seen, for what the database promises by itself."""

from typing import Any, Final

from domain.deals import Step
from domain.identifiers import Address, ChainId, DealId
from domain.transactions import (
    Asset,
    BatchKey,
    Bound,
    Fees,
    Inclusion,
    Intent,
    PreparedBatch,
    SignedTransaction,
)

SENDER: Final = Address("0x70997970C51812dc3A010C7d01b50e0d17dc79C8")
OTHER_SENDER: Final = Address("0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC")
FEES: Final = Fees(max_fee_per_gas=2_000_000_000, max_priority_fee_per_gas=1_000_000_000)
HIGHER: Final = Fees(max_fee_per_gas=3_000_000_000, max_priority_fee_per_gas=2_000_000_000)


def batch_of(
    count: int = 2, *, deal: str = "alpha", step: Step = Step.SWAP, attempt: int = 1, **fields: Any
) -> PreparedBatch:
    """A batch that has no nonces yet; `fields` are of its intents."""
    key = BatchKey(deal_id=DealId(deal), step=step, attempt=attempt)
    usual = {
        "chain_id": ChainId(138),
        "sender": SENDER,
        "nonce": 0,
        "to": OTHER_SENDER,
        "value": 2**256 - 1,
        "data": "0x00ff",
        "gas_limit": 100_000,
        "fees": FEES,
        "purpose": "Do it",
    }
    intents = [Intent(intent_id=f"{key}/{i}", **(usual | fields)) for i in range(count)]
    return PreparedBatch(
        key=key,
        account=SENDER,
        intents=tuple(intents),
        bounds=(Bound(asset=Asset.PAR, minimum=-(2**200), maximum=7),),
        simulated_block=7,
        simulated_changes={Asset.PAR: -5, Asset.WETH: 2**128},
    )


def signed(batch: PreparedBatch, fees: Fees = FEES, salt: int = 0) -> list[SignedTransaction]:
    """Bytes that could be the batch's signatures."""
    return [
        SignedTransaction(
            intent_id=intent.intent_id,
            transaction_hash=hash_of(intent, fees, salt),
            raw=f"0x02{intent.nonce:04x}{fees.max_fee_per_gas:016x}",
            fees=fees,
        )
        for intent in batch.intents
    ]


def hash_of(intent: Intent, fees: Fees = FEES, salt: int = 0) -> str:
    """A hash that nothing else has."""
    return f"0x{hash((intent.intent_id, fees.max_fee_per_gas, salt)) % 2**256:064x}"


def included(
    batch: PreparedBatch, *, succeeded: bool = True, block: str = "aa", number: int = 9
) -> list[Inclusion]:
    """Receipts of the whole batch in one block."""
    return [
        Inclusion(
            intent_id=intent.intent_id,
            purpose=intent.purpose,
            transaction_hash=hash_of(intent),
            block_number=number,
            block_hash="0x" + block * 32,
            succeeded=succeeded,
            gas_used=50_000,
            effective_gas_price=2**100,
            value=intent.value,
        )
        for intent in batch.intents
    ]
