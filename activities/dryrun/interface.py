"""Running a deal dry, as workflows see it (task queue ``chain-<chain id>``)."""

from abc import ABC, abstractmethod

from pydantic import BaseModel, ConfigDict
from temporalio import activity

from activities.protocols.interface import MarketReading
from domain.deals import DealRequest
from domain.identifiers import Address
from domain.predictions import Prediction
from domain.sizing import Sizing


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True)


class DryRun(_Model):
    """Run a request dry.

    Without `sizing` the markets are read and the deal is sized first, as at its admission. Without
    an `account` a throwaway address stands for it, without a `treasury` the worker's own pays.
    """

    request: DealRequest
    sizing: Sizing | None = None
    account: Address | None = None
    treasury: Address | None = None
    from_safe: bool = False
    """The treasury is the Safe: what its owners would sign is taken as a plain payment."""


class DryRunResult(_Model):
    """What a deal would do, and at which sizes."""

    prediction: Prediction
    sizing: Sizing
    reading: MarketReading | None = None
    """The markets that the sizes are from, unless they were given."""


class DryRunActivities(ABC):
    """Reads only: no nonce, no key, no record; the chain is as it was."""

    @abstractmethod
    @activity.defn
    async def dry_run(self, order: DryRun) -> DryRunResult:
        """Run every step of the deal over one block, and say what comes of it.

        Raises what a real deal would meet: `SizingRefused`, `LimitExceeded`, `RedemptionFrozen`,
        `SimulationFailed`, `PostConditionFailed`, `NotAllowed`, `InvalidInput`, `NotFound`,
        `InvalidConfiguration`; `NoPrediction` if the chain's nodes lack ``eth_simulateV1``, and
        `Unavailable`.
        """
