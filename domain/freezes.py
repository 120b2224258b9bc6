"""A redemption freeze as one deal lives through it: since when, how much, and what it is worth."""

from datetime import datetime, timedelta

from pydantic import BaseModel, ConfigDict

from domain.amounts import Units, value_usd8
from domain.policy import FreezePolicy
from domain.positions import Position


class Freeze(BaseModel):
    """What a deal holds that cannot be redeemed; values in 1e-8 USD.

    It ages with every second, so what depends on the age is asked for a time.
    """

    model_config = ConfigDict(frozen=True)

    since: datetime
    held: Units
    """Discount tokens, in their smallest unit."""
    at_par_usd8: Units
    policy: FreezePolicy

    @classmethod
    def of(cls, position: Position, policy: FreezePolicy, since: datetime) -> "Freeze":
        """The freeze of what this account holds."""
        held = position.discount
        at_par = value_usd8(held, position.par_decimals, position.par_price_usd8)
        return cls(since=since, held=held, at_par_usd8=at_par, policy=policy)

    @property
    def unwinds_at(self) -> datetime | None:
        """When the deal unwinds by itself; None: only a person decides."""
        after = self.policy.unwind_after
        return None if after is None else self.since + after

    def age(self, now: datetime) -> timedelta:
        """For how long it has been frozen."""
        return max(now - self.since, timedelta())

    def haircut_bps(self, now: datetime) -> int:
        """How much less the tokens are reckoned with, in basis points."""
        return self.policy.haircut_bps(self.age(now))

    def value_usd8(self, now: datetime) -> int:
        """The value after the haircut."""
        return self.policy.value_usd8(self.at_par_usd8, self.age(now))
