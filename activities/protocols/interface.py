"""Reading the chain, as workflows see it (task queue ``chain-<chain id>``)."""

from abc import ABC, abstractmethod

from pydantic import BaseModel, ConfigDict
from temporalio import activity

from domain.chains import ModuleProfile, Multisig
from domain.deals import DealRequest
from domain.identifiers import Address, ChainId, ModuleId
from domain.market import MarketSnapshot
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


class ReadPosition(_Model):
    """Look at what an account holds and owes in a module's tokens."""

    chain_id: ChainId
    module: ModuleId
    account: Address


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
