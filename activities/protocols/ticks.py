"""From a Uniswap v3 pool's ticks to the segments that sizing reckons with."""

from dataclasses import dataclass
from decimal import Decimal, localcontext
from typing import Final

from domain.pool import Q96, PoolSegment, PoolSnapshot

_BITS: Final = 256
_WORDS_AHEAD: Final = 4
"""How far to look: 1,024 tick spacings, 10 % of price in the tightest pools."""
_TICK_BASE: Final = Decimal("1.0001")
_PRECISION: Final = 80


@dataclass(frozen=True, slots=True)
class PoolReading:
    """A pool's own state: square-root price Q64.96, tick, liquidity in range, tick spacing."""

    sqrt_price: int
    tick: int
    liquidity: int
    spacing: int

    @property
    def word(self) -> int:
        """The word of the tick bitmap that the current tick is in."""
        return self.tick // self.spacing >> 8

    def initialized(self, words: list[int], bitmaps: list[int]) -> list[int]:
        """The ticks marked in the bitmaps, ascending."""
        return sorted(
            ((word << 8) + bit) * self.spacing
            for word, bitmap in zip(words, bitmaps, strict=True)
            for bit in range(_BITS)
            if bitmap >> bit & 1
        )


def words_to_read(reading: PoolReading, *, zero_for_one: bool) -> list[int]:
    """The bitmap words that a swap in this direction would cross, nearest first."""
    step = -1 if zero_for_one else 1
    return [reading.word + step * offset for offset in range(_WORDS_AHEAD)]


def pool_snapshot(
    reading: PoolReading,
    net_liquidity: dict[int, int],
    words: list[int],
    fee_pips: int,
    *,
    zero_for_one: bool,
) -> PoolSnapshot:
    """The pool in one direction, ending where liquidity or knowledge ends.

    `net_liquidity` is each initialized tick's liquidityNet: added when the price rises across it.
    """
    ahead = sorted(
        (tick for tick in net_liquidity if (tick <= reading.tick) == zero_for_one),
        reverse=zero_for_one,
    )
    segments: list[PoolSegment] = []
    liquidity = reading.liquidity
    for tick in [*ahead, _edge(reading, words, zero_for_one=zero_for_one)]:
        if liquidity <= 0:
            break
        segments.append(PoolSegment(liquidity=liquidity, sqrt_price_end=sqrt_price_at(tick)))
        net = net_liquidity.get(tick, 0)
        liquidity += -net if zero_for_one else net
    return PoolSnapshot(
        sqrt_price=reading.sqrt_price,
        fee_pips=fee_pips,
        zero_for_one=zero_for_one,
        segments=tuple(segments),
    )


def sqrt_price_at(tick: int) -> int:
    """Square-root price Q64.96 at a tick: ``sqrt(1.0001^tick) * 2^96``, rounded down.

    The pool's own approximation differs in its last digits only.
    """
    with localcontext(prec=_PRECISION):
        return int((_TICK_BASE**tick).sqrt() * Q96)


def _edge(reading: PoolReading, words: list[int], *, zero_for_one: bool) -> int:
    """The last tick of the words that were read."""
    last = words[-1] << 8
    return (last if zero_for_one else last + _BITS - 1) * reading.spacing
