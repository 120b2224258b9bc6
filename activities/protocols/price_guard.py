"""Reading what the price guard needs, in the same look as the quote that it guards."""

from fractions import Fraction
from typing import Any, Final

from activities.protocols import chainlink, uniswap
from activities.protocols.multicall import Read
from domain.amounts import BASIS_POINTS
from domain.chains import ChainProfile, ModuleProfile
from domain.market import RedemptionTerms
from domain.pool import Q96
from domain.prices import FeedPrice, PriceGuard

_ANSWER: Final = 1
_UPDATED_AT: Final = 3


class PriceReader:
    """The pool and the feeds of one module, as reads of a multicall."""

    def __init__(self, profile: ChainProfile, module: ModuleProfile) -> None:
        """Take the module's contracts and limits."""
        self._profile = profile
        self._module = module

    def reads(self) -> list[Read]:
        """The pool's own price, then the feeds, if the module names them."""
        feeds = [
            Read(self._profile.contract(name), chainlink.LATEST_ROUND_DATA)
            for name in self._module.feeds
        ]
        return [Read(self._profile.contract(self._module.pool), uniswap.SLOT0), *feeds]

    def guard(
        self, values: list[tuple[Any, ...]], redeeming: RedemptionTerms, now: int
    ) -> PriceGuard:
        """The guard, from what `reads` returned in a block of the time `now`.

        Raises `LimitExceeded` if a feed is broken or older than the module allows.
        """
        slot0, *rounds = values
        return PriceGuard(
            spot=self._spot(int(slot0[0])),
            reference=self._reference(rounds, redeeming, now),
            limit_bps=self._module.max_price_deviation_bps,
        )

    def _spot(self, sqrt_price: int) -> Fraction:
        """Par for discount token; the pool prices the token of the lower address in the other."""
        contract = self._profile.contract
        par, discount = contract(self._module.par_token), contract(self._module.discount_token)
        price = Fraction(sqrt_price * sqrt_price, Q96 * Q96)
        return 1 / price if int(par, 16) < int(discount, 16) else price

    def _reference(
        self, rounds: list[tuple[Any, ...]], redeeming: RedemptionTerms, now: int
    ) -> Fraction:
        if not rounds:
            return Fraction(BASIS_POINTS - redeeming.fee_bps, BASIS_POINTS)
        par, discount = (
            FeedPrice(name, int(answer[_ANSWER]), int(answer[_UPDATED_AT])).checked(
                now, self._module.max_price_age_seconds
            )
            for name, answer in zip(self._module.feeds, rounds, strict=True)
        )
        return Fraction(discount, par)
