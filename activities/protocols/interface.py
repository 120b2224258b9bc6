"""Reading the chain, as workflows see it (task queue ``chain-<chain id>``)."""

from abc import ABC, abstractmethod
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field
from temporalio import activity

from domain.amounts import Units
from domain.chains import ModuleProfile, Multisig
from domain.deals import DealRequest, Step
from domain.identifiers import Address, ChainId, ModuleId
from domain.market import MarketSnapshot, RedemptionTerms
from domain.policy import FreezePolicy
from domain.positions import Position


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True)


class ReadMarket(_Model):
    """Look at the markets of a request's module."""

    request: DealRequest
    treasury: Address


class MarketReading(_Model):
    """The markets at one block, and the profiles that apply."""

    module: ModuleProfile
    market: MarketSnapshot
    multisig: Multisig = Multisig()

    def from_safe(self) -> "MarketReading":
        """The same markets for a deal that a Safe funds, which takes more gas."""
        gas = self.module.gas_units | {Step.FUND: self.multisig.fund_gas_units}
        return self.model_copy(update={"module": self.module.model_copy(update={"gas_units": gas})})


class ReadPosition(_Model):
    """Look at what an account holds and owes in a module's tokens."""

    chain_id: ChainId
    module: ModuleId
    account: Address


class WatchRedemption(_Model):
    """Look at a module's redemption until it would take so many discount tokens."""

    chain_id: ChainId
    module: ModuleId
    held: Units
    policy: FreezePolicy
    """How often."""
    seconds: Annotated[int, Field(ge=0)]
    """For how long at the most."""


class RedemptionWatched(_Model):
    """What was seen last."""

    terms: RedemptionTerms
    open: bool
    """Whether all that is held could be redeemed."""


class ProtocolActivities(ABC):
    """Reads only; nothing here changes anything."""

    @abstractmethod
    @activity.defn
    async def read_market(self, order: ReadMarket) -> MarketReading:
        """Check that the chain can run the request, then read its markets.

        Raises `NotFound`, `InvalidInput`, `InvalidConfiguration` (the node contradicts the
        profile) and `Unavailable`.
        """

    @abstractmethod
    @activity.defn
    async def read_position(self, order: ReadPosition) -> Position:
        """Read the position at the newest block. Raises `Unavailable`."""

    @abstractmethod
    @activity.defn
    async def watch_redemption(self, order: WatchRedemption) -> RedemptionWatched:
        """Look again and again, and return as soon as it is open or the time is up.

        The first look is at once. Raises `Unavailable`.
        """
