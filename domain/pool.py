"""A Uniswap v3 pool as a pure value: what an exact-input swap pays, and where it stops paying.

Source of the formulas: Uniswap v3 whitepaper (March 2021), sections 6.1 to 6.3. All integers;
square-root prices are Q64.96 and mean token1 per token0. Results agree with the pool to the unit
as long as the swap stays within the segments of the snapshot.
"""

from itertools import pairwise
from math import isqrt
from typing import Annotated, Final, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from domain.amounts import Units, ceil_div

Q96: Final = 2**96
PIPS: Final = 1_000_000
"""Pool fees are counted in hundredths of a basis point."""


class PoolSegment(BaseModel):
    """A price range with constant liquidity, entered at the end of the one before it."""

    model_config = ConfigDict(frozen=True)

    liquidity: Units
    sqrt_price_end: Annotated[Units, Field(gt=0)]


class PoolSnapshot(BaseModel):
    """The pool in the direction of one swap, from its price now to the last known segment.

    `zero_for_one`: the input is token0, so the price falls; otherwise it rises.
    """

    model_config = ConfigDict(frozen=True)

    sqrt_price: Annotated[Units, Field(gt=0)]
    fee_pips: Annotated[int, Field(ge=0, lt=PIPS)]
    zero_for_one: bool
    segments: tuple[PoolSegment, ...]

    @model_validator(mode="after")
    def _segments_lead_away(self) -> Self:
        prices = [self.sqrt_price, *(segment.sqrt_price_end for segment in self.segments)]
        if any(price != end and self._reached(price, end) for price, end in pairwise(prices)):
            msg = "a segment ends before it begins, in the swap's direction"
            raise ValueError(msg)
        return self

    def swap(self, amount_in: int) -> tuple[int, int, "PoolSnapshot"]:
        """Swap exactly `amount_in` units of the input token.

        Returns the amount used (less than asked for only where the segments end), the amount out,
        and the pool afterwards.
        """
        if amount_in == 0:
            return 0, 0, self
        price, used, out = self.sqrt_price, 0, 0
        for index, segment in enumerate(self.segments):
            left = amount_in - used
            paid, received, after = self._within(segment, price, left)
            used, out, price = used + paid, out + received, after
            if used == amount_in or after != segment.sqrt_price_end:
                return used, out, self._at(price, index)
        return used, out, self._at(price, len(self.segments))

    def quote(self, amount_in: int) -> int:
        """Units of the output token for `amount_in`, as far as the segments reach."""
        return self.swap(amount_in)[1]

    def cost(self, amount_out: int) -> int:
        """Fewest units of the input token whose output is at least `amount_out`.

        The whole depth if the segments do not reach so far.
        """
        low, high = 0, self.depth()
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if self.quote(middle) >= amount_out else (middle + 1, high)
        return low

    def depth(self) -> int:
        """Units of the input token that the known segments can take."""
        return self.input_to(self.segments[-1].sqrt_price_end) if self.segments else 0

    def input_to(self, sqrt_price: int) -> int:
        """Units of the input token, fee included, that move the pool to `sqrt_price`.

        Zero if the pool is already there or beyond; at most what the segments can take.
        """
        price, total = self.sqrt_price, 0
        for segment in self.segments:
            if self._reached(price, sqrt_price):
                break
            end = self._nearer(segment.sqrt_price_end, sqrt_price)
            total += self._with_fee(self._input(segment.liquidity, price, end))
            price = end
        return total

    def price_where(self, numerator: int, denominator: int) -> int:
        """Square-root price at which one more unit in pays ``numerator/denominator`` out.

        The pool's fee is taken off the input first, as the pool does.
        """
        gross_numerator = numerator * PIPS
        gross_denominator = denominator * (PIPS - self.fee_pips)
        if self.zero_for_one:
            return isqrt(Q96 * Q96 * gross_numerator // gross_denominator)
        return isqrt(Q96 * Q96 * gross_denominator // gross_numerator)

    def _within(self, segment: PoolSegment, price: int, amount_in: int) -> tuple[int, int, int]:
        """Input used, output paid and price reached inside one segment."""
        end = segment.sqrt_price_end
        less_fee = amount_in * (PIPS - self.fee_pips) // PIPS
        needed = self._input(segment.liquidity, price, end)
        if less_fee >= needed:
            return self._with_fee(needed), self._output(segment.liquidity, price, end), end
        after = self._price_after(segment.liquidity, price, less_fee)
        return amount_in, self._output(segment.liquidity, price, after), after

    def _with_fee(self, net: int) -> int:
        return net + ceil_div(net * self.fee_pips, PIPS - self.fee_pips)

    def _input(self, liquidity: int, price: int, end: int) -> int:
        if self.zero_for_one:
            return ceil_div(ceil_div(liquidity * Q96 * (price - end), price), end)
        return ceil_div(liquidity * (end - price), Q96)

    def _output(self, liquidity: int, price: int, end: int) -> int:
        if self.zero_for_one:
            return liquidity * (price - end) // Q96
        return liquidity * Q96 * (end - price) // end // price

    def _price_after(self, liquidity: int, price: int, amount: int) -> int:
        if self.zero_for_one:
            scaled = liquidity * Q96
            return ceil_div(scaled * price, scaled + amount * price)
        return price + amount * Q96 // liquidity

    def _reached(self, price: int, end: int) -> bool:
        return price <= end if self.zero_for_one else price >= end

    def _nearer(self, one: int, other: int) -> int:
        return max(one, other) if self.zero_for_one else min(one, other)

    def _at(self, price: int, index: int) -> "PoolSnapshot":
        rest = self.segments[index:]
        if rest and rest[0].sqrt_price_end == price:
            rest = rest[1:]
        return self.model_copy(update={"sqrt_price": price, "segments": rest})
