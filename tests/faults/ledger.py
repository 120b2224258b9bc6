"""Intents that do nothing but have themselves counted by the Ledger contract."""

from __future__ import annotations

from typing import Final

from activities.protocols.abi import Function
from activities.protocols.drafts import Call, Draft, draft_of
from activities.protocols.steps import StepBuilder
from activities.signing.findings import Finding
from activities.signing.interface import SignBatch
from activities.signing.policy import Accepted, is_no_op, review
from activities.signing.records import DealRecord
from activities.signing.rules import SigningPolicy
from activities.transactions.interface import PrepareBatch
from domain.deals import TREASURY_STEPS
from domain.hashing import keccak
from tests.support.node import OWNER

RECORD: Final = Function("record(bytes32)")
EXECUTIONS: Final = Function("executions(bytes32)")
TRANSFER_FROM: Final = Function("transferFrom(address,address,uint256)")
LEDGER: Final = "ledger"
TAKEN: Final = "usdt"
"""What a fragile intent takes from the owner, one unit of it, as long as that is allowed."""


def is_ledger(order: PrepareBatch) -> bool:
    """Whether the order comes from the workflow of batches, not from a deal."""
    return order.sizing.bound_by == LEDGER


def entry(intent_id: str) -> bytes:
    """The name under which the Ledger counts an intent."""
    return keccak(intent_id.encode())


class LedgerBuilder(StepBuilder):
    """Drafts for the workflow of batches; those of deals as ever."""

    async def build(self, order: PrepareBatch) -> Draft:
        """As many recording calls as the order counts."""
        if not is_ledger(order):
            return await super().build(order)
        sender = self.treasury if order.key.step in TREASURY_STEPS else order.account
        look = await self._look(order, sender=sender)
        ledger = self.profile.contract(LEDGER)
        calls = [
            Call(ledger, f"Record {index}", RECORD.encode(entry(f"{order.key}/{index}")))
            for index in range(order.sizing.cycles)
        ]
        if order.sizing.borrow:
            take = TRANSFER_FROM.encode(OWNER, self.treasury, 1)
            calls[order.sizing.borrow - 1] = Call(self.profile.contract(TAKEN), "Take", take)
        return draft_of(look, calls, [], sender=sender)


def review_ledger(
    order: SignBatch, policy: SigningPolicy, deal: DealRecord, now: int
) -> Finding | Accepted:
    """Allow what only records itself, and hold everything else to the real policy."""
    profile = policy.chains[order.chain_id].profile
    called = {intent.to for intent in order.batch.intents if not is_no_op(intent)}
    if profile.contract(LEDGER) in called <= {profile.contract(LEDGER), profile.contract(TAKEN)}:
        # Counted as the way in is, so that the load measures the rates as well.
        count = len(order.batch.intents)
        return Accepted(usd8=(0,) * count, rated=(True,) * count)
    return review(order, policy, deal, now)
