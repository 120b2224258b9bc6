"""From a pool's ticks to segments: the price at a tick, bitmaps, and where knowledge ends."""

import re
from decimal import Decimal, localcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from activities.protocols.ticks import (
    MAX_TICK,
    PoolReading,
    pool_snapshot,
    sqrt_price_at,
    words_to_read,
)
from deploy.chain.paths import NODE_MODULES
from domain.pool import Q96
from tests.activities.chain import Node

TICKS = st.integers(min_value=-MAX_TICK, max_value=MAX_TICK)
LIQUIDITY = 10**12


def reading(tick: int, spacing: int = 1, liquidity: int = LIQUIDITY) -> PoolReading:
    return PoolReading(sqrt_price_at(tick), tick, liquidity, spacing)


def test_prices_are_those_of_uniswaps_own_library() -> None:
    source = NODE_MODULES / "@uniswap/v3-core/contracts/libraries/TickMath.sol"
    limits = dict(re.findall(r"uint160 internal constant (M\w+) = (\d+);", source.read_text()))
    assert sqrt_price_at(-MAX_TICK) == int(limits["MIN_SQRT_RATIO"])
    assert sqrt_price_at(MAX_TICK) == int(limits["MAX_SQRT_RATIO"])
    assert sqrt_price_at(0) == Q96


@given(TICKS)
def test_a_price_is_the_root_of_1_0001_to_the_tick(tick: int) -> None:
    with localcontext(prec=80):
        true = (Decimal("1.0001") ** tick).sqrt() * Q96
        # Rounded up to a whole number; the library's factors are good to some 2^-32 of it.
        assert abs(sqrt_price_at(tick) - true) <= 1 + true / 2**31


@given(st.integers(min_value=-MAX_TICK, max_value=MAX_TICK - 1))
def test_prices_rise_with_the_tick(tick: int) -> None:
    assert sqrt_price_at(tick) < sqrt_price_at(tick + 1)


def test_the_pools_own_price_is_between_those_of_its_tick_and_the_next(node: Node) -> None:
    price, tick, *_ = node.read("usdt_usdtz_pool", "slot0")
    assert tick < 0
    assert sqrt_price_at(tick) <= price < sqrt_price_at(tick + 1)


@pytest.mark.parametrize(
    ("tick", "spacing", "word"),
    [
        *((0, 1, 0), (255, 1, 0), (256, 1, 1), (-1, 1, -1), (-256, 1, -1), (-257, 1, -2)),
        *((59, 60, 0), (-1, 60, -1), (-60, 60, -1), (-61, 60, -1), (-15_361, 60, -2)),
    ],
)
def test_a_tick_is_in_the_word_that_the_pool_looks_in(tick: int, spacing: int, word: int) -> None:
    assert reading(tick, spacing).word == word


@pytest.mark.parametrize(
    ("zero_for_one", "words"), [(True, [-1, -2, -3, -4]), (False, [-1, 0, 1, 2])]
)
def test_words_are_read_in_the_swaps_direction(zero_for_one: bool, words: list[int]) -> None:  # noqa: FBT001 - a parameter of the test
    assert words_to_read(reading(-151), zero_for_one=zero_for_one) == words


@given(
    st.sets(st.integers(min_value=-1_000, max_value=1_000), max_size=20),
    st.sampled_from([1, 10, 60, 200]),
)
def test_bitmaps_give_back_the_ticks_that_were_marked(marked: set[int], spacing: int) -> None:
    words = sorted({index >> 8 for index in marked})
    bitmaps = [sum(1 << (i & 0xFF) for i in marked if i >> 8 == word) for word in words]
    ticks = reading(0, spacing).initialized(words, bitmaps)
    assert ticks == sorted(index * spacing for index in marked)


def test_a_falling_price_crosses_the_ticks_at_and_below_it() -> None:
    nets = {-300: 4, -151: 3, -150: 7, 100: -9}
    pool = pool_snapshot(reading(-151), nets, [-1, -2], 100, zero_for_one=True)
    ends = [(segment.sqrt_price_end, segment.liquidity) for segment in pool.segments]
    assert ends == [
        (sqrt_price_at(-151), LIQUIDITY),
        (sqrt_price_at(-256), LIQUIDITY - 3),  # where the word ends the pool stops and rounds
        (sqrt_price_at(-300), LIQUIDITY - 3),
        (sqrt_price_at(-512), LIQUIDITY - 7),
    ]


def test_a_rising_price_crosses_the_ticks_above_it() -> None:
    nets = {-300: 4, -151: 3, -150: 7, 100: -9}
    pool = pool_snapshot(reading(-151), nets, [-1, 0], 100, zero_for_one=False)
    ends = [(segment.sqrt_price_end, segment.liquidity) for segment in pool.segments]
    assert ends == [
        (sqrt_price_at(-150), LIQUIDITY),
        (sqrt_price_at(-1), LIQUIDITY + 7),
        (sqrt_price_at(100), LIQUIDITY + 7),
        (sqrt_price_at(255), LIQUIDITY - 2),
    ]


@pytest.mark.parametrize("zero_for_one", [True, False])
def test_it_ends_where_liquidity_ends(zero_for_one: bool) -> None:  # noqa: FBT001 - as above
    nets = {-200: LIQUIDITY, -100: -LIQUIDITY, -300: 5}
    words = words_to_read(reading(-151), zero_for_one=zero_for_one)
    pool = pool_snapshot(reading(-151), nets, words, 100, zero_for_one=zero_for_one)
    (segment,) = pool.segments
    assert segment.sqrt_price_end == sqrt_price_at(-200 if zero_for_one else -100)


@pytest.mark.parametrize("zero_for_one", [True, False])
def test_a_pool_without_liquidity_has_no_segment_and_takes_nothing(zero_for_one: bool) -> None:  # noqa: FBT001 - as above
    words = words_to_read(reading(0), zero_for_one=zero_for_one)
    pool = pool_snapshot(reading(0, liquidity=0), {}, words, 100, zero_for_one=zero_for_one)
    assert (pool.segments, pool.depth(), pool.quote(10**6)) == ((), 0, 0)


def test_a_pool_at_the_last_tick_of_a_word_rises_into_the_next_word() -> None:
    pool = pool_snapshot(reading(255), {300: 5}, [0, 1], 100, zero_for_one=False)
    assert [segment.sqrt_price_end for segment in pool.segments] == [
        sqrt_price_at(300),
        sqrt_price_at(511),
    ]


@pytest.mark.parametrize("spacing", [1, 200, 16_383])
@pytest.mark.parametrize("zero_for_one", [True, False])
@pytest.mark.parametrize("tick", [-887_000, 0, 887_000])
def test_words_beyond_the_last_tick_end_at_the_last_price(
    tick: int,
    zero_for_one: bool,  # noqa: FBT001 - as above
    spacing: int,
) -> None:
    words = words_to_read(reading(tick, spacing), zero_for_one=zero_for_one)
    pool = pool_snapshot(reading(tick, spacing), {}, words, 100, zero_for_one=zero_for_one)
    assert pool.segments
    for segment in pool.segments:
        assert sqrt_price_at(-MAX_TICK) <= segment.sqrt_price_end <= sqrt_price_at(MAX_TICK)


def test_a_pool_that_fell_to_a_tick_exactly_rises_through_it_again() -> None:
    # The pool has crossed the tick already: it is one below, at the price of the tick itself.
    fallen = PoolReading(sqrt_price_at(100), 99, LIQUIDITY, 1)
    pool = pool_snapshot(fallen, {100: 5}, [0], 100, zero_for_one=False)
    assert [(segment.sqrt_price_end, segment.liquidity) for segment in pool.segments] == [
        (sqrt_price_at(100), LIQUIDITY),
        (sqrt_price_at(255), LIQUIDITY + 5),
    ]
    assert pool.swap(10**6)[0] == 10**6
