"""The signer as workflows see it (task queue ``signer``)."""

from abc import ABC, abstractmethod
from typing import Final

from pydantic import BaseModel, ConfigDict
from temporalio import activity

from domain.amounts import Units
from domain.deals import TREASURY_STEPS, Step
from domain.identifiers import Address, ChainId, DealId, ModuleId
from domain.operations import OPERATION_STEPS
from domain.transactions import PreparedBatch, SignedTransaction

HOURLY_RATES: Final = frozenset({"rate_hour_signatures", "rate_hour_usd"})
"""The rules, by the `field` of a refusal, that have room again within an hour."""


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True)


class OpenAccount(_Model):
    """Give a deal its own account, the same one whenever it is asked for."""

    deal_id: DealId
    max_fee_per_gas_wei: Units | None = None
    """What the deal bids at most, in wei per gas; the signer keeps to what it was told first."""
    chain_id: ChainId | None = None
    """The chain that the deal is on: nothing is signed for it on another."""


class FundFromSafe(_Model):
    """Make a chain's Safe a deal's treasury, before anything is signed for the deal."""

    deal_id: DealId
    chain_id: ChainId


class FeeAccount(_Model):
    """The account that pays for what people have approved, and speaks to the timelock."""

    address: Address


class DealAccounts(_Model):
    """The deal's own account, the treasury that funds it and is paid back, and the fee account."""

    account: Address
    treasury: Address
    fee: Address | None = None
    """Pays the gas of what people have approved; unknown to deals from before there was one."""
    hot_treasury: Address | None = None
    """Makes up shortfalls of a deal whose treasury is a Safe; None for every other deal."""

    def sender(self, step: Step) -> Address | None:
        """Who sends the transactions of a step; None if it is nobody who could be known."""
        if step in OPERATION_STEPS:
            return self.fee
        if step not in TREASURY_STEPS:
            return self.account
        if self.hot_treasury is None:
            return self.treasury
        return self.fee if step is Step.FUND else self.hot_treasury


class SignBatch(_Model):
    """Sign every transaction of a batch; `digest` is the simulated batch's that was accepted."""

    chain_id: ChainId
    module: ModuleId
    batch: PreparedBatch
    digest: str


class SignedBatch(_Model):
    """One signed transaction for each intent, in the batch's order."""

    transactions: tuple[SignedTransaction, ...]


class WithheldBatch(_Model):
    """The intents of a withheld batch that had been signed before, by id."""

    signed: tuple[str, ...]


class SigningActivities(ABC):
    """Idempotent: the same transaction gets the same signature, decisions are in the journal."""

    @abstractmethod
    @activity.defn
    async def open_account(self, order: OpenAccount) -> DealAccounts:
        """Return the deal's account, giving it a key of its own the first time."""

    @abstractmethod
    @activity.defn
    async def fund_from_safe(self, order: FundFromSafe) -> DealAccounts:
        """Make the Safe of the chain's manifest the deal's treasury, for ever.

        Raises `Conflict` if the deal has another treasury, because something was signed for it.
        """

    @abstractmethod
    @activity.defn
    async def fee_account(self) -> FeeAccount:
        """Return the desk's fee account."""

    @abstractmethod
    @activity.defn
    async def sign_batch(self, order: SignBatch) -> SignedBatch:
        """Sign the batch, or raise `SigningRefused` naming the rule; all of it or nothing.

        Raises `Halted` for what would add risk that may not be added now.
        """

    @abstractmethod
    @activity.defn
    async def withhold_batch(self, batch: PreparedBatch) -> WithheldBatch:
        """Promise never to sign those that are unsigned, and say which were signed before.

        The latter stay signable: they may be out, and must be brought to their end.
        """
