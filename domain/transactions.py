"""Transactions as intents: what must happen on chain once, and the states it passes through.

An intent owns one nonce for ever. What is sent for it is an attempt: signed bytes that only differ
in their fees from the other attempts of the same intent.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Final, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from domain.amounts import SignedUnits, Units
from domain.deals import Step, digest_of
from domain.errors import LimitExceeded, PostConditionFailed, Problem
from domain.identifiers import Address, ChainId, DealId
from domain.positions import Position

TRANSFER_GAS: Final = 21_000
"""What a plain transfer costs, exactly. Source: the Yellow Paper, G_transaction."""

_Each = TypeVar("_Each")


class IntentState(StrEnum):
    """Where an intent stands; `INTENT_TRANSITIONS` says how it may move on."""

    PREPARED = "PREPARED"
    SIGNED = "SIGNED"
    BROADCAST = "BROADCAST"
    INCLUDED = "INCLUDED"
    REVERTED = "REVERTED"
    FINALIZED = "FINALIZED"
    UNKNOWN = "UNKNOWN"
    REPLACED = "REPLACED"
    ABANDONED = "ABANDONED"


INTENT_TRANSITIONS: Final[Mapping[IntentState, frozenset[IntentState]]] = {
    IntentState.PREPARED: frozenset({IntentState.SIGNED, IntentState.ABANDONED}),
    IntentState.SIGNED: frozenset({IntentState.BROADCAST}),
    IntentState.BROADCAST: frozenset(
        {
            IntentState.INCLUDED,
            IntentState.REVERTED,
            IntentState.UNKNOWN,
            IntentState.REPLACED,
        }
    ),
    IntentState.UNKNOWN: frozenset(
        {
            IntentState.BROADCAST,
            IntentState.INCLUDED,
            IntentState.REVERTED,
            IntentState.REPLACED,
        }
    ),
    IntentState.INCLUDED: frozenset({IntentState.FINALIZED, IntentState.BROADCAST}),
    IntentState.REVERTED: frozenset({IntentState.FINALIZED, IntentState.BROADCAST}),
    IntentState.REPLACED: frozenset({IntentState.FINALIZED, IntentState.BROADCAST}),
    IntentState.FINALIZED: frozenset({IntentState.BROADCAST}),
    IntentState.ABANDONED: frozenset(),
}
"""The whole state machine; the database holds the same table as a constraint.

`ABANDONED` is an intent of which no signature exists and whose nonce was given back. `REPLACED` is
one whose nonce a no-op has used, or somebody else. What is `FINALIZED` is sent again only if its
chain broke its promise and a person has accepted that.
"""


class Asset(StrEnum):
    """What a post-condition speaks of. `COLLATERAL` and `DEBT` are Aave's tokens for both."""

    ETHER = "ether"
    WETH = "weth"
    PAR = "par"
    DISCOUNT = "discount"
    COLLATERAL = "collateral"
    DEBT = "debt"


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True)


class Bound(_Model):
    """A post-condition: the account's balance of an asset changes by minimum to maximum units.

    Ether is counted without gas. It speaks of the whole batch, or of a segment of it: the intents
    from number `first` up to, but not including, number `end`.
    """

    asset: Asset
    minimum: SignedUnits
    maximum: SignedUnits
    first: Annotated[int, Field(ge=0)] = 0
    end: Annotated[int, Field(gt=0)] | None = None

    def segment(self, of_batch: Sequence[_Each]) -> Sequence[_Each]:
        """What belongs to the intents that the bound speaks of, out of one for each intent."""
        return of_batch[self.first : self.end]

    def widened(self, units: int) -> "Bound":
        """The same bound, or moved by so many units: either is right."""
        return self.model_copy(
            update={
                "minimum": min(self.minimum, self.minimum + units),
                "maximum": max(self.maximum, self.maximum + units),
            }
        )


class BatchKey(_Model):
    """Names one batch for ever: the same key is the same transactions, whatever is retried.

    `round` counts a step's repetitions within the deal (cycles, rounds of an unwind), `attempt`
    the new batches after one that ended without its effect.
    """

    deal_id: DealId
    step: Step
    round: Annotated[int, Field(ge=1)] = 1
    attempt: Annotated[int, Field(ge=1)] = 1
    fills_gap: bool = False
    """The batch of no-ops that uses up the nonces of one that was given up."""

    def __str__(self) -> str:
        """The key as one text, such as ``alpha/swap/1/1``."""
        suffix = "/fill" if self.fills_gap else ""
        return f"{self.deal_id}/{self.step}/{self.round}/{self.attempt}{suffix}"


class Fees(_Model):
    """EIP-1559 fees in wei per gas."""

    max_fee_per_gas: Units
    max_priority_fee_per_gas: Units


class Intent(_Model):
    """One transaction, typed; nothing about it changes later but its fees."""

    intent_id: str
    chain_id: ChainId
    sender: Address
    nonce: Annotated[int, Field(ge=0, lt=2**63)]
    to: Address
    value: Units
    data: Annotated[str, Field(pattern=r"^0x([0-9a-f]{2})*$")]
    gas_limit: Annotated[int, Field(gt=0)]
    fees: Fees
    purpose: str
    """What it does, in the words of a person."""
    spends_rest: bool = False
    """The value is all that is left after gas, so a higher fee lowers it by the same amount."""

    def with_fees(self, fees: Fees) -> "Intent":
        """The same intent at other fees; the value follows where it is the rest of the account.

        Raises `LimitExceeded` if the rest does not pay for the gas at these fees.
        """
        value = self.value
        if self.spends_rest:
            value += (self.fees.max_fee_per_gas - fees.max_fee_per_gas) * self.gas_limit
        if value < 0:
            raise LimitExceeded(
                f"the gas of {self.purpose} costs more than the account holds",
                field="max_fee_per_gas",
                value=fees.max_fee_per_gas,
                limit=self.fees.max_fee_per_gas + self.value // self.gas_limit,
                next_action="wait for cheaper gas, or send ether to the deal's account",
            )
        return self.model_copy(update={"fees": fees, "value": value})

    def body_digest(self) -> str:
        """SHA-256 over everything but nonce and fees: what the intent is for."""
        body = f"{self.chain_id}|{self.sender}|{self.to}|{self.data}|{self.gas_limit}"
        if not self.spends_rest:
            body += f"|{self.value}"
        return hashlib.sha256(body.encode()).hexdigest()


class PreparedBatch(_Model):
    """Dependent transactions of one account with consecutive nonces, simulated together."""

    key: BatchKey
    account: Address
    """Whose balances the post-conditions speak of: always the deal's own account."""
    intents: tuple[Intent, ...]
    bounds: tuple[Bound, ...]
    simulated_block: Annotated[int, Field(ge=0)]
    simulated_changes: dict[Asset, SignedUnits]
    prepared_at: Annotated[int, Field(ge=0)] = 0
    """When it was simulated, in Unix seconds of the engine's clock.

    Not the chain's: the signer, which has no way to a node, holds it against a clock of its own.
    """

    def digest(self) -> str:
        """SHA-256 over the typed fields and the simulated changes."""
        return digest_of(self)

    def with_fees(self, fees: Mapping[str, Fees]) -> "PreparedBatch":
        """The same batch with other fees for the intents named.

        Either attempt may be mined in the end, so where a value follows the fee the bounds on ether
        hold for both.
        """
        intents = tuple(
            intent.with_fees(fees[intent.intent_id]) if intent.intent_id in fees else intent
            for intent in self.intents
        )
        spent_less = [old.value - new.value for old, new in zip(self.intents, intents, strict=True)]
        bounds = tuple(
            bound.widened(sum(bound.segment(spent_less))) if bound.asset is Asset.ETHER else bound
            for bound in self.bounds
        )
        return self.model_copy(update={"intents": intents, "bounds": bounds})

    def no_ops(self, fees: Mapping[str, Fees] | None = None) -> "PreparedBatch":
        """No-ops for the nonces of the intents named, at these fees: nothing is sent to oneself.

        Without `fees`, for every intent, at its own.
        """
        fees = {i.intent_id: i.fees for i in self.intents} if fees is None else fees
        key = self.key.model_copy(update={"fills_gap": True})
        intents = tuple(
            intent.model_copy(
                update={
                    "intent_id": f"{key}/{index}",
                    "to": intent.sender,
                    "value": 0,
                    "data": "0x",
                    "gas_limit": TRANSFER_GAS,
                    "fees": fees[intent.intent_id],
                    "purpose": f"No-op in place of: {intent.purpose}",
                    "spends_rest": False,
                }
            )
            for index, intent in enumerate(self.intents)
            if intent.intent_id in fees
        )
        return self.model_copy(
            update={"key": key, "intents": intents, "bounds": (), "simulated_changes": {}}
        )

    def at_nonces_of(
        self, no_ops: "PreparedBatch", signed: Sequence["SignedTransaction"]
    ) -> tuple["SignedTransaction", ...]:
        """Signed no-ops as attempts of this batch's own intents, by their nonces."""
        ours = {intent.nonce: intent.intent_id for intent in self.intents}
        return tuple(
            each.model_copy(update={"intent_id": ours[intent.nonce], "no_op": True})
            for intent, each in zip(no_ops.intents, signed, strict=True)
        )


class SignedTransaction(_Model):
    """The bytes of one attempt, hexadecimal with 0x, and their transaction hash."""

    intent_id: str
    transaction_hash: str
    raw: str
    fees: Fees
    no_op: bool = False
    """It only uses up the intent's nonce, in its place."""


class Inclusion(_Model):
    """Where and how one intent was mined."""

    intent_id: str
    purpose: str
    transaction_hash: str
    block_number: int
    block_hash: str
    succeeded: bool
    no_op: bool = False
    """A no-op was mined at its nonce in its place."""
    gas_used: int
    effective_gas_price: Units
    value: Units

    @property
    def gas_cost_wei(self) -> int:
        """What the sender paid for gas."""
        return self.gas_used * self.effective_gas_price


class Swap(_Model):
    """One exchange with the pool, in units: par tokens for discount tokens, or `selling` back."""

    spent: Units
    received: Units
    selling: bool = False


class Course(_Model):
    """What happened between the calls of a batch, of which its end shows nothing any more."""

    max_ltv_bps: Annotated[int, Field(ge=0)]
    max_exposure_bps: Annotated[int, Field(ge=0)]
    swaps: tuple[Swap, ...] = ()


class StepOutcome(_Model):
    """A confirmed batch: its receipts, what they changed, and the deal's account right after.

    `changes` are the deal account's, ether without gas; `treasury_changes` the treasury's, ether
    with the gas it paid. `problem` says why the step did not do what it promised. `course` is
    missing in what was recorded before there was one, and where somebody else has sent the batch.
    """

    key: BatchKey
    inclusions: tuple[Inclusion, ...]
    changes: dict[Asset, SignedUnits]
    treasury_changes: dict[Asset, SignedUnits]
    position: Position
    problem: Problem | None = None
    course: Course | None = None

    @property
    def gas_used(self) -> int:
        """Gas of all its transactions."""
        return sum(inclusion.gas_used for inclusion in self.inclusions)

    @property
    def gas_cost_wei(self) -> int:
        """Wei paid for that gas."""
        return sum(inclusion.gas_cost_wei for inclusion in self.inclusions)


def added_up(changes: Iterable[Mapping[Asset, int]]) -> dict[Asset, int]:
    """The changes of several intents together; assets without a change are left out."""
    total: Counter[Asset] = Counter()
    for change in changes:
        total.update(change)
    return {asset: units for asset, units in total.items() if units}


def check_bounds(changes: Sequence[Mapping[Asset, int]], bounds: Sequence[Bound]) -> None:
    """Raise `PostConditionFailed` naming the first asset whose change was not promised.

    `changes` has what each intent of the batch changes, in the order of the intents. An asset may
    only change in an intent that one of the bounds on it speaks of.
    """
    for bound in bounds:
        change = sum(each.get(bound.asset, 0) for each in bound.segment(changes))
        if not bound.minimum <= change <= bound.maximum:
            raise _not_promised(bound.asset, change, f"{bound.minimum} to {bound.maximum}")
    for number, changed in enumerate(changes):
        for asset, change in changed.items():
            if change and not any(_speaks_of(bound, asset, number) for bound in bounds):
                raise _not_promised(asset, change, "no change")


def _speaks_of(bound: Bound, asset: Asset, number: int) -> bool:
    ends_after = bound.end is None or number < bound.end
    return bound.asset is asset and bound.first <= number and ends_after


def _not_promised(asset: Asset, change: int, limit: str) -> PostConditionFailed:
    return PostConditionFailed(
        f"the balance of {asset} changed by {change}",
        field=asset,
        limit=limit,
        actual=change,
        next_action="look at the step's transactions with `deal show`",
    )
