"""Approvals as workflows see them.

What banks move is kept with the records (task queue ``deals``), Safes are looked at where the
chains are (task queue ``chain-<chain id>``).
"""

from abc import ABC, abstractmethod
from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field
from temporalio import activity

from domain.amounts import Units
from domain.approvals import Funding, Proposal, SafeStanding
from domain.deals import DealRequest
from domain.identifiers import Address, BankId, ChainId, DealId, ModuleId
from domain.safe import OwnerSignature, SafeTransaction
from domain.transactions import BatchKey, StepOutcome


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True)


class ReserveFunding(_Model):
    """Count a deal's value towards what its bank moves within a window."""

    deal_id: DealId
    bank: BankId
    value_usd8: Units
    limit_usd8: Units
    window_seconds: Annotated[int, Field(gt=0)]


class ReleaseFunding(_Model):
    """Count a deal no longer, because it moved nothing and never will."""

    deal_id: DealId


class ReservationActivities(ABC):
    """Idempotent by deal: the first answer stands."""

    @abstractmethod
    @activity.defn
    async def reserve_funding(self, order: ReserveFunding) -> Funding:
        """Reserve, and say whether owners decide. Raises `Conflict` and `Unavailable`."""

    @abstractmethod
    @activity.defn
    async def release_funding(self, order: ReleaseFunding) -> None:
        """Release; what was never reserved stays so. Raises `Unavailable`."""


class ProposeFunding(_Model):
    """Propose to a chain's Safe that it pays `value` wei to a deal's account.

    `number` counts the deal's proposals; a new one takes the place of those before.
    """

    request: DealRequest
    account: Address
    value: Units
    number: Annotated[int, Field(ge=1)]
    funding: Funding
    expires_at: datetime


class WatchSafe(_Model):
    """Wait until a Safe is not as it was `known`, seen from one proposal; None: look once.

    `over` is why nobody wants the proposal any more, although enough owners have signed it: an
    alert is kept up meanwhile.
    """

    proposal: Proposal
    known: SafeStanding | None = None
    over: str | None = None


class CheckSignature(_Model):
    """Check what an owner has signed: the proposal, or that it is rejected."""

    proposal: Proposal
    given: OwnerSignature
    rejection: bool = False


class CloseProposal(_Model):
    """Let others have the nonce of a deal's proposal."""

    chain_id: ChainId
    deal_id: DealId


class AdoptFunding(_Model):
    """Take over a funding that somebody else has sent: what it did, as a step of the deal."""

    key: BatchKey
    module: ModuleId
    account: Address
    transaction: SafeTransaction
    transaction_hash: str


class SafeActivities(ABC):
    """Each may be retried at any time; only the nonces given to proposals are kept."""

    @abstractmethod
    @activity.defn
    async def propose_funding(self, order: ProposeFunding) -> Proposal:
        """Give the payment the Safe's next free nonce; the same one whenever it is repeated.

        Raises `InvalidConfiguration` if the Safe is not what the profile says, `Conflict` if it
        hashes the payment differently, and `Unavailable`.
        """

    @abstractmethod
    @activity.defn
    async def watch_safe(self, order: WatchSafe) -> SafeStanding:
        """The Safe as soon as it is not as it was known. Raises `Unavailable`."""

    @abstractmethod
    @activity.defn
    async def check_signature(self, order: CheckSignature) -> None:
        """Raise unless an owner of the Safe has signed exactly this.

        `InvalidInput` for a signature that is not the owner's or of another form, `NotAllowed`
        for somebody who is no owner, `Conflict` for a nonce that is used or a hash that is not the
        contract's, `Unavailable`.
        """

    @abstractmethod
    @activity.defn
    async def close_proposal(self, order: CloseProposal) -> None:
        """Forget the deal's proposal. Raises `Unavailable`."""

    @abstractmethod
    @activity.defn
    async def adopt_funding(self, order: AdoptFunding) -> StepOutcome:
        """What the transaction has done. Raises `NotFound`, `Unavailable`."""
