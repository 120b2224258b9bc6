"""Halts as workflows see them: whether a deal may begin, and the wait for their end."""

from abc import ABC, abstractmethod
from typing import Final

from pydantic import BaseModel, ConfigDict
from temporalio import activity

from domain.halts import TradingState
from domain.identifiers import BankId, ChainId, DealId, ModuleId

HALTS_QUEUE: Final = "halts"
"""A queue of its own: any number of deals may wait there, and nothing else behind them."""


class DealScope(BaseModel):
    """Everything by which a deal may be halted."""

    model_config = ConfigDict(frozen=True)

    deal_id: DealId
    bank: BankId
    chain_id: ChainId
    module: ModuleId
    holds: bool = False
    """Whether it waits through REDUCING as well, where by its policy it does not unwind."""


class HaltActivities(ABC):
    """Idempotent: they only look."""

    @abstractmethod
    @activity.defn
    async def ensure_active(self, order: DealScope) -> None:
        """Raise `Halted` unless the deal may begin; on the queue ``deals``."""

    @abstractmethod
    @activity.defn
    async def await_release(self, order: DealScope) -> TradingState:
        """Wait until the deal is halted no longer; return whether it is active or reducing."""
