"""The price guard: no swap far from what the feeds say, whatever a pool can be made to quote.

A quote is the pool's own word. Whoever moves the pool right before it, moves the quote and every
minimum derived from it; a feed is not moved by a trade. Prices are exact fractions: par tokens for
one discount token, both of the same decimals.
"""

from dataclasses import dataclass
from fractions import Fraction

from domain.amounts import BASIS_POINTS
from domain.errors import LimitExceeded

_NEXT = "the deal unwinds by itself; if it is stuck with discount tokens, cancel it again later"


@dataclass(frozen=True, slots=True)
class FeedPrice:
    """A feed's latest answer: any unit, as long as it is the same for both feeds."""

    name: str
    answer: int
    updated_at: int
    """Unix seconds of the chain's clock."""

    def checked(self, now: int, max_age_seconds: int) -> int:
        """The answer; raises `LimitExceeded` if it is no price or older than allowed at `now`."""
        if self.answer <= 0:
            raise LimitExceeded(
                f"the feed {self.name} has no price",
                field="price_feed",
                value=self.name,
                limit="more than 0",
                actual=self.answer,
                next_action=f"look at the feed; {_NEXT}",
            )
        age = now - self.updated_at
        if age > max_age_seconds:
            raise LimitExceeded(
                f"the price of the feed {self.name} is too old",
                field="price_age",
                value=self.name,
                limit=f"{max_age_seconds} seconds",
                actual=f"{age} seconds",
                next_action=f"wait until the feed is updated; {_NEXT}",
            )
        return self.answer


@dataclass(frozen=True, slots=True)
class PriceGuard:
    """The pool's price now, the price it is held against, and how far apart they may be."""

    spot: Fraction
    reference: Fraction
    limit_bps: int

    def buying(self, spent: int, quote: int) -> int:
        """Fewest discount tokens to accept for `spent` par tokens, if `quote` are offered.

        Raises `LimitExceeded` if the pool's price, or that of this swap, is too far off.
        """
        self._check(Fraction(spent, max(1, quote)))
        dearest = self.reference * (BASIS_POINTS + self.limit_bps) / BASIS_POINTS
        return _rounded_up(spent / dearest)

    def selling(self, sold: int, quote: int) -> int:
        """Fewest par tokens to accept for `sold` discount tokens, if `quote` are offered.

        Raises `LimitExceeded` if the pool's price, or that of this swap, is too far off.
        """
        self._check(Fraction(quote, max(1, sold)))
        cheapest = self.reference * (BASIS_POINTS - self.limit_bps) / BASIS_POINTS
        return _rounded_up(sold * cheapest)

    def _check(self, swapped: Fraction) -> None:
        for what, price in (("pool", self.spot), ("swap", swapped)):
            deviation = abs(price / self.reference - 1) * BASIS_POINTS
            if deviation > self.limit_bps:
                raise LimitExceeded(
                    f"the price of the {what} is too far from the feed's",
                    field="price_deviation",
                    value=f"{float(price):.6f} instead of {float(self.reference):.6f}",
                    limit=self.limit_bps,
                    actual=_rounded_up(deviation),
                    next_action=f"compare the pool with other markets; {_NEXT}",
                )


def _rounded_up(number: Fraction) -> int:
    return -(-number.numerator // number.denominator)
