"""What a look at the chain means for an intent: pure rules, each move one that the table allows."""

from dataclasses import dataclass
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

from domain.amounts import Units
from domain.identifiers import ChainId, DealId
from domain.transactions import Asset, Inclusion, IntentState, StepOutcome

IN_A_BLOCK: Final = frozenset({IntentState.INCLUDED, IntentState.REVERTED, IntentState.REPLACED})
OUT: Final = frozenset({IntentState.SIGNED, IntentState.BROADCAST, IntentState.UNKNOWN})
"""Signed, and nobody has seen it in a block that still stands."""


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True)


class Receipt(_Model):
    """Where and how an intent's nonce was used: by one of its attempts, perhaps a no-op."""

    intent_id: str
    transaction_hash: str
    block_number: int
    block_hash: str
    succeeded: bool
    no_op: bool = False
    gas_used: Annotated[int, Field(ge=0)]
    effective_gas_price: Units

    @property
    def state(self) -> IntentState:
        """What the intent is by it, as long as its block stands."""
        if self.no_op:
            return IntentState.REPLACED
        return IntentState.INCLUDED if self.succeeded else IntentState.REVERTED


class Notice(_Model):
    """What a deal is told of its transactions after the chain went back.

    `undone` are intents that are in no block any more and were sent again; `mined` those that are
    in another block now. By its number a deal can tell what it has heard before.
    """

    notice_id: int = 0
    chain_id: ChainId
    deal_id: DealId
    undone: tuple[str, ...] = ()
    mined: tuple[Receipt, ...] = ()


@dataclass(frozen=True, slots=True)
class Sight:
    """What one look shows of an intent.

    `stands_at` is the number of the block that it was known to be in, if that is still part of the
    chain; `receipt` that of one of its attempts. `nonce_used` is whether the account's nonce is
    past the intent's; `finalized` the newest block that cannot be undone, -1 if there is none.
    """

    nonce_used: bool
    receipt: Receipt | None = None
    stands_at: int | None = None
    finalized: int = -1


def moves(state: IntentState, sight: Sight) -> tuple[IntentState, ...]:
    """The states that an intent passes through now, in order; empty if nothing has changed.

    Nothing that was signed is ever forgotten: without a block it is out, and what is out is looked
    for and sent again.
    """
    if state not in IN_A_BLOCK | OUT:
        return ()
    if state in IN_A_BLOCK and sight.stands_at is not None:
        return (IntentState.FINALIZED,) if sight.stands_at <= sight.finalized else ()
    path: tuple[IntentState, ...] = ()
    if state is IntentState.SIGNED or state in IN_A_BLOCK:
        path = (IntentState.BROADCAST,)
    if sight.receipt is None:
        here = path[-1] if path else state
        return (*path, *_without_block(here, nonce_used=sight.nonce_used))
    path = (*path, sight.receipt.state)
    if sight.receipt.block_number <= sight.finalized:
        path = (*path, IntentState.FINALIZED)
    return path


def with_receipts(
    outcome: StepOutcome, receipts: dict[str, Receipt], *, sent_by_treasury: bool
) -> StepOutcome:
    """The outcome as its transactions are in the chain now, each in the block that it ended up in.

    What they changed is the same, but for the gas that the treasury paid.
    """
    inclusions = tuple(_moved(i, receipts.get(i.intent_id)) for i in outcome.inclusions)
    changes = dict(outcome.treasury_changes)
    if sent_by_treasury:
        before = sum(inclusion.gas_cost_wei for inclusion in outcome.inclusions)
        after = sum(inclusion.gas_cost_wei for inclusion in inclusions)
        changes = {**changes, Asset.ETHER: changes.get(Asset.ETHER, 0) + before - after}
    return outcome.model_copy(update={"inclusions": inclusions, "treasury_changes": changes})


def overturned(outcome: StepOutcome, receipts: dict[str, Receipt]) -> Inclusion | None:
    """The first transaction whose result is another in its new block, if there is one."""
    for inclusion in outcome.inclusions:
        receipt = receipts.get(inclusion.intent_id)
        if receipt is not None and (
            receipt.succeeded != inclusion.succeeded or receipt.no_op != inclusion.no_op
        ):
            return inclusion
    return None


def _moved(inclusion: Inclusion, receipt: Receipt | None) -> Inclusion:
    if receipt is None:
        return inclusion
    return inclusion.model_copy(update=receipt.model_dump(exclude={"intent_id"}))


def _without_block(state: IntentState, *, nonce_used: bool) -> tuple[IntentState, ...]:
    if state is IntentState.BROADCAST and nonce_used:
        return (IntentState.UNKNOWN,)
    if state is IntentState.UNKNOWN and not nonce_used:
        return (IntentState.BROADCAST,)
    return ()
