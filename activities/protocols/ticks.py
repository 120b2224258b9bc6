"""From a Uniswap v3 pool's ticks to the segments that sizing reckons with."""

from dataclasses import dataclass
from typing import Final

from domain.amounts import UINT256_MAX, ceil_div
from domain.pool import PoolSegment, PoolSnapshot

_BITS: Final = 256
_WORDS_AHEAD: Final = 4
"""How far to look: 1,024 tick spacings, 10 % of price in the tightest pools."""
MAX_TICK: Final = 887_272
"""Ticks reach from minus this to this."""
_ONE: Final = 2**128
_FACTORS: Final = (
    0xFFFCB933BD6FAD37AA2D162D1A594001,
    0xFFF97272373D413259A46990580E213A,
    0xFFF2E50F5F656932EF12357CF3C7FDCC,
    0xFFE5CACA7E10E4E61C3624EAA0941CD0,
    0xFFCB9843D60F6159C9DB58835C926644,
    0xFF973B41FA98C081472E6896DFB254C0,
    0xFF2EA16466C96A3843EC78B326B52861,
    0xFE5DEE046A99A2A811C461F1969C3053,
    0xFCBE86C7900A88AEDCFFC83B479AA3A4,
    0xF987A7253AC413176F2B074CF7815E54,
    0xF3392B0822B70005940C7A398E4B70F3,
    0xE7159475A2C29B7443B29C7FA6E889D9,
    0xD097F3BDFD2022B8845AD8F792AA5825,
    0xA9F746462D870FDF8A65DC1F90E061E5,
    0x70D869A156D2A1B890BB3DF62BAF32F7,
    0x31BE135F97D08FD981231505542FCFA6,
    0x9AA508B5B7A84E1C677DE54F3E99BC9,
    0x5D6AF8DEDB81196699C329225EE604,
    0x2216E584F5FA1EA926041BEDFE98,
    0x48A170391F7DC42444E8FA2,
)
"""``sqrt(1.0001)^-(2^i)`` for i from 0, as Q128.128."""


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
    The pool stops at the end of every bitmap word, and rounds there, so a segment ends there too.
    """
    ends = net_liquidity.keys() | {
        _end_of(word, reading.spacing, zero_for_one=zero_for_one) for word in words
    }
    ahead = sorted(
        (tick for tick in ends if (tick <= reading.tick) == zero_for_one), reverse=zero_for_one
    )
    segments: list[PoolSegment] = []
    liquidity = reading.liquidity
    for tick in ahead:
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
    """Square-root price Q64.96 at a tick from -887272 to 887272, the very number the pool uses.

    Source: TickMath.getSqrtRatioAtTick of Uniswap v3-core 1.0.1. A rounded square root would be
    next to it, and a pool that stands exactly at a tick would seem to be beyond it.
    """
    ratio = _ONE
    for bit, factor in enumerate(_FACTORS):
        if abs(tick) >> bit & 1:
            ratio = ratio * factor >> 128
    if tick > 0:
        ratio = UINT256_MAX // ratio
    return ceil_div(ratio, 1 << 32)


def _end_of(word: int, spacing: int, *, zero_for_one: bool) -> int:
    """The last tick of a bitmap word in the swap's direction, if there is a price at it."""
    first = word << 8
    last = (first if zero_for_one else first + _BITS - 1) * spacing
    return min(max(last, -MAX_TICK), MAX_TICK)
