"""The transaction engine as workflows see it (task queue ``chain-<chain id>``)."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict
from temporalio import activity

from domain.deals import DealRequest
from domain.identifiers import Address, ChainId, DealId
from domain.sizing import Sizing
from domain.transactions import BatchKey, Fees, PreparedBatch, SignedTransaction, StepOutcome


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True)


class PrepareBatch(_Model):
    """Build, simulate, price and number the transactions of one step."""

    key: BatchKey
    request: DealRequest
    sizing: Sizing
    account: Address


class DeliverBatch(_Model):
    """Send signed transactions and wait for their confirmations."""

    batch: PreparedBatch
    signed: tuple[SignedTransaction, ...]
    request: DealRequest
    replaceable: bool = True
    """Whether to ask for replacements; not if the signer has refused them."""


class Delivery(_Model):
    """Either the confirmed outcome, or the fees that replacements need to be included."""

    outcome: StepOutcome | None = None
    replacements: Mapping[str, Fees] = {}
    final: bool = False
    """The outcome's blocks cannot be undone any more."""


class FinalizeDeal(_Model):
    """Wait until every transaction of a deal is final on its chain."""

    deal_id: DealId
    chain_id: ChainId


class TransactionActivities(ABC):
    """Idempotent by batch key; each may be retried at any time, whatever happened before."""

    @abstractmethod
    @activity.defn
    async def prepare_batch(self, order: PrepareBatch) -> PreparedBatch:
        """Return the batch of this key, building and storing it the first time.

        Raises `LimitExceeded`, `RedemptionFrozen`, `SimulationFailed`, `Unavailable`.
        """

    @abstractmethod
    @activity.defn
    async def deliver_batch(self, order: DeliverBatch) -> Delivery:
        """Deliver the batch; heartbeats while it waits. Raises `Unavailable`, `OutcomeUnknown`."""

    @abstractmethod
    @activity.defn
    async def abandon_batch(self, batch: PreparedBatch) -> PreparedBatch | None:
        """Give up a batch that the signer has promised never to sign.

        Its nonces are given back. Where that is impossible, because others follow them, a batch
        of no-ops at the same nonces is returned, to be signed and delivered like any other.
        """

    @abstractmethod
    @activity.defn
    async def finalize_deal(self, order: FinalizeDeal) -> int:
        """Wait for finality of all the deal's transactions and return how many there are.

        Raises `OutcomeUnknown` if one of them is no longer on the chain.
        """
