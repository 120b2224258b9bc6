"""The transaction engine as workflows see it (task queue ``chain-<chain id>``)."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field
from temporalio import activity

from domain.amounts import BASIS_POINTS, Units
from domain.approvals import ExecuteApproved
from domain.deals import DealRequest, Step, digest_of
from domain.errors import Problem
from domain.identifiers import Address, ChainId, DealId, ModuleId
from domain.limits import MAX_SLIPPAGE_BPS
from domain.operations import Scheduled
from domain.sizing import Sizing
from domain.tracking import Receipt
from domain.transactions import (
    BatchKey,
    Fees,
    IntentState,
    PreparedBatch,
    SignedTransaction,
    StepOutcome,
)


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True)


class PrepareBatch(_Model):
    """Build, simulate, price and number the transactions of one step."""

    key: BatchKey
    request: DealRequest
    sizing: Sizing
    account: Address
    treasury: Address | None = None
    """Where the deal's money comes from and goes to; by default the engine's own treasury."""
    approval: ExecuteApproved | None = None
    """Funding by the Safe: what its owners have signed."""
    operation: Scheduled | None = None
    """What the timelock is to be told, for the steps that are no deal's."""
    slippage_bps: Annotated[int, Field(ge=0, le=MAX_SLIPPAGE_BPS)] | None = None
    """How much less than its quote a sale on the way out may take; by default the request's."""

    part_bps: Annotated[int, Field(ge=1, lt=BASIS_POINTS)] | None = None
    """How much of what is held a step of the way out sells, or of what is owed it repays, in basis
    points; by default all of it.
    """

    def digest(self) -> str:
        """SHA-256; what is not set is left out, as before there was such a field."""
        fields = {
            "treasury": self.treasury,
            "approval": self.approval,
            "operation": self.operation,
            "slippage_bps": self.slippage_bps,
            "part_bps": self.part_bps,
        }
        return digest_of(self, exclude={name for name, value in fields.items() if value is None})


class DeliverBatch(_Model):
    """Send signed transactions and wait for their confirmations."""

    batch: PreparedBatch
    signed: tuple[SignedTransaction, ...]
    request: DealRequest
    replaceable: bool = True
    """Whether to ask for replacements; not if the signer has refused them."""
    treasury: Address | None = None
    """As the batch was ordered with."""


class Delivery(_Model):
    """Either the confirmed outcome, or what has to be signed before there can be one."""

    outcome: StepOutcome | None = None
    replacements: Mapping[str, Fees] = {}
    """By intent: the fees with which the same would be included."""
    no_ops: Mapping[str, Fees] = {}
    """By intent: the fees of a no-op that takes its place, because it must not happen any more."""
    because: Problem | None = None
    """The halt for which it must not happen any more, if one came; or that it is not admitted."""
    final: bool = False
    """The outcome's blocks cannot be undone any more."""


class FinalizeDeal(_Model):
    """Wait until every transaction of a deal is final on its chain."""

    deal_id: DealId
    chain_id: ChainId


class FinalTransactions(_Model):
    """Every transaction of a deal as it is in the chain for ever."""

    receipts: tuple[Receipt, ...]


class FindBatches(_Model):
    """Look for what was begun for a deal whose workflow was lost."""

    chain_id: ChainId
    deal_id: DealId
    recorded: tuple[str, ...]
    """The keys of the batches that are in the deal's records."""


class FoundBatches(_Model):
    """What may have had an effect, or may yet have one, and is not in the records, oldest first."""

    batches: tuple[PreparedBatch, ...]
    rounds: Mapping[Step, int]
    """The highest round that was ever begun of each step: none of these keys is used again."""


class Action(StrEnum):
    """What a person may do to a transaction that is out."""

    REBROADCAST = "rebroadcast"
    BUMP = "bump"
    CANCEL = "cancel"


class ReplaceTransaction(_Model):
    """Send an intent's newest attempt again, or say what another attempt would have to be."""

    chain_id: ChainId
    deal_id: DealId
    intent_id: str
    action: Action
    max_fee_per_gas_wei: Units | None = None
    """The deal's own fee cap, if it has one below the chain's."""


class TransactionView(_Model):
    """An intent as it stands; `transaction_hash` is its newest attempt's."""

    intent_id: str
    nonce: int
    state: IntentState
    transaction_hash: str | None = None
    action: Action
    note: str


class Replacement(_Model):
    """What was done, or what has to be signed: `to_sign`, for the nonces of `batch`."""

    view: TransactionView
    batch: PreparedBatch | None = None
    to_sign: PreparedBatch | None = None


class SendAttempts(_Model):
    """Save new attempts of a batch's intents, then send them."""

    chain_id: ChainId
    batch: PreparedBatch
    signed: tuple[SignedTransaction, ...]
    view: TransactionView


class FillNonce(_Model):
    """Fill a nonce of an account that nothing holds."""

    chain_id: ChainId
    account: Address
    deal_id: DealId
    deal_account: Address
    step: Step
    """The last of what the account has sent: a step of this deal or operation, in whose name the
    signer is asked, and by which it finds the account's key.
    """
    nonce: Annotated[int, Field(ge=0)]


class NonceFill(_Model):
    """The no-op for such a nonce, to be signed for this module's profile."""

    batch: PreparedBatch
    module: ModuleId


class ReleaseChain(_Model):
    """Accept a chain as it is now, after it took back what it had called final."""

    chain_id: ChainId
    who: str
    why: str


class ChainReleased(_Model):
    """Whether there was a latch to clear, and what it was for."""

    chain_id: ChainId
    cleared: bool
    problem: Problem | None = None


class TransactionActivities(ABC):
    """Idempotent by batch key; each may be retried at any time, whatever happened before."""

    @abstractmethod
    @activity.defn
    async def prepare_batch(self, order: PrepareBatch) -> PreparedBatch:
        """Return the batch of this key, building and storing it the first time.

        Raises `Halted`, `LimitExceeded`, `RedemptionFrozen`, `SimulationFailed`, `Unavailable`.
        """

    @abstractmethod
    @activity.defn
    async def deliver_batch(self, order: DeliverBatch) -> Delivery:
        """Deliver the batch. Raises `Unavailable`, `OutcomeUnknown`."""

    @abstractmethod
    @activity.defn
    async def abandon_batch(self, batch: PreparedBatch) -> PreparedBatch | None:
        """Give up a batch that the signer has promised never to sign.

        Its nonces are given back. Where that is impossible, because others follow them, a batch
        of no-ops at the same nonces is returned, to be signed and delivered like any other.
        """

    @abstractmethod
    @activity.defn
    async def finalize_deal(self, order: FinalizeDeal) -> FinalTransactions:
        """Wait until all the deal's transactions are final, and return them as they ended up."""

    @abstractmethod
    @activity.defn
    async def find_batches(self, order: FindBatches) -> FoundBatches:
        """Return what was prepared for a deal and is neither recorded nor given up."""

    @abstractmethod
    @activity.defn
    async def replace_transaction(self, order: ReplaceTransaction) -> Replacement:
        """Look at an intent that is out and say what another attempt needs.

        Raises `NotFound`, `NotAllowed` if it is mined or was never signed, `Halted` if it would add
        risk that may not be added, `LimitExceeded` if no bid that nodes take instead fits under the
        cap.
        """

    @abstractmethod
    @activity.defn
    async def send_attempts(self, order: SendAttempts) -> TransactionView:
        """Save what was signed and send it; the delivery under way finds it by itself.

        Raises `Halted`.
        """

    @abstractmethod
    @activity.defn
    async def plan_no_op(self, order: FillNonce) -> NonceFill:
        """Price and store a no-op at exactly this nonce; the same one whenever it is repeated.

        Raises `Conflict` if the nonce is held by an intent after all.
        """

    @abstractmethod
    @activity.defn
    async def release_chain(self, order: ReleaseChain) -> ChainReleased:
        """Clear the chain's latch; what was undone below finality goes out again."""
