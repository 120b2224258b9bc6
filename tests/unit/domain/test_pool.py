"""A swap agrees with Uniswap v3, and with exact arithmetic as far as integers can.

The oracle below is the whitepaper's (sections 6.1 to 6.3) in fractions, without any rounding.
"""

from fractions import Fraction
from math import isqrt

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import ValidationError

from domain.pool import PIPS, Q96, PoolSegment, PoolSnapshot


def sqrt_price(numerator: int, denominator: int) -> int:
    return isqrt(numerator * Q96 * Q96 // denominator)


def pool(
    *segments: tuple[int, int], price: int = Q96, fee: int = 100, zero_for_one: bool = True
) -> PoolSnapshot:
    return PoolSnapshot(
        sqrt_price=price,
        fee_pips=fee,
        zero_for_one=zero_for_one,
        segments=tuple(PoolSegment(liquidity=liq, sqrt_price_end=end) for liq, end in segments),
    )


@st.composite
def pools(draw: st.DrawFn) -> PoolSnapshot:
    """Pools of any price that tokens of 6 or 18 decimals have, with up to five segments."""
    zero_for_one = draw(st.booleans())
    price = draw(st.integers(Q96 // 10**7, Q96 * 10**7))
    segments, end = [], price
    for _ in range(draw(st.integers(1, 5))):
        # From less than a tick (1 part in 20000 of the square root) to a factor of four.
        step = draw(st.integers(1, 10)) * 10 ** draw(st.integers(0, 5))
        end = end * 10**6 // (10**6 + step) if zero_for_one else end * (10**6 + step) // 10**6
        liquidity = draw(st.one_of(st.just(0), st.integers(1, 10**6), st.integers(1, 10**26)))
        segments.append((liquidity, end))
    fee = draw(st.sampled_from([0, 1, 100, 500, 3_000, 10_000, 999_999]))
    return pool(*segments, price=price, fee=fee, zero_for_one=zero_for_one)


@st.composite
def pools_and_inputs(draw: st.DrawFn) -> tuple[PoolSnapshot, int]:
    snapshot = draw(pools())
    amount = draw(st.one_of(st.integers(0, 1000), st.integers(0, snapshot.depth() * 5 // 4)))
    return snapshot, amount


class ExactSwap:
    """The same swap in fractions: the reserves of a range move along x * y = L^2."""

    def __init__(self, snapshot: PoolSnapshot, amount: int) -> None:
        price = Fraction(snapshot.sqrt_price, Q96)
        keep = Fraction(PIPS - snapshot.fee_pips, PIPS)
        left, self.out, self.slack = Fraction(amount), Fraction(0), Fraction(0)
        for segment in snapshot.segments:
            liquidity, end = segment.liquidity, Fraction(segment.sqrt_price_end, Q96)
            if snapshot.zero_for_one:
                needed = liquidity * (1 / end - 1 / price)
                best_price, ulp = price * price, Fraction(liquidity, Q96)
            else:
                needed = liquidity * (end - price)
                best_price, ulp = 1 / (price * price), liquidity / (Q96 * price * price)
            # In a segment the pool rounds the input up twice, and both its price (by a 2^-96th)
            # and the output down.
            self.slack += 3 * best_price + ulp + 1
            if left * keep < needed:
                net = left * keep
                if snapshot.zero_for_one:
                    after = 1 / (1 / price + net / liquidity)
                    self.out += liquidity * (price - after)
                else:
                    after = price + net / liquidity
                    self.out += liquidity * (1 / price - 1 / after)
                left, price = Fraction(0), after
                break
            left -= needed / keep
            if snapshot.zero_for_one:
                self.out += liquidity * (price - end)
            else:
                self.out += liquidity * (1 / price - 1 / end)
            price = end
        self.used, self.price = amount - left, price


@pytest.mark.parametrize(
    ("snapshot", "amount", "used", "out", "after"),
    [
        pytest.param(
            pool((2 * 10**18, sqrt_price(101, 100)), price=Q96, fee=600, zero_for_one=False),
            10**18,
            9975124224178055 + 5988667735148,
            9925619580021728,
            sqrt_price(101, 100),
            id="capped at the price target",
        ),
        pytest.param(
            pool((2 * 10**18, sqrt_price(10, 1)), price=Q96, fee=600, zero_for_one=False),
            10**18,
            10**18,
            666399946655997866,
            Q96 + 999400000000000000 * Q96 // (2 * 10**18),
            id="fully spent",
        ),
        pytest.param(
            pool((1, 1), price=2, fee=1, zero_for_one=True),
            3915081100057732413702495386755767,
            39614081257132168796771975168 + 39614120871253040049813,
            0,
            1,
            id="target price of 1 uses partial input",
        ),
        pytest.param(
            pool(
                (1985041575832132834610021537970, 79887613182836312),
                price=2413,
                fee=1872,
                zero_for_one=False,
            ),
            10,
            10,
            0,
            2413,
            id="entire input taken as fee",
        ),
    ],
)
def test_a_step_agrees_to_the_unit_with_the_vectors_of_uniswaps_own_tests(
    snapshot: PoolSnapshot, amount: int, used: int, out: int, after: int
) -> None:
    """Source: SwapMath.spec.ts of v3-core 1.0.1."""
    paid, received, moved = snapshot.swap(amount)
    assert (paid, received, moved.sqrt_price) == (used, out, after)


@given(pools_and_inputs())
def test_a_swap_pays_what_exact_arithmetic_pays_but_for_rounding_in_the_pools_favour(
    case: tuple[PoolSnapshot, int],
) -> None:
    snapshot, amount = case
    used, out, after = snapshot.swap(amount)
    exact = ExactSwap(snapshot, amount)
    assert exact.out - exact.slack <= out <= exact.out
    # With a fee of 99.9999 % a unit of net input is a million units of input.
    rounding = 3 * len(snapshot.segments) * Fraction(PIPS, PIPS - snapshot.fee_pips)
    assert exact.used <= used <= exact.used + rounding
    assert used <= amount
    reached = Fraction(after.sqrt_price, Q96)
    assert reached >= exact.price if snapshot.zero_for_one else reached <= exact.price


@given(pools_and_inputs())
def test_the_whole_input_is_used_unless_the_segments_end(case: tuple[PoolSnapshot, int]) -> None:
    snapshot, amount = case
    used, out, after = snapshot.swap(amount)
    assert used == min(amount, snapshot.depth())
    assert out == snapshot.quote(amount)
    if amount >= snapshot.depth():
        assert after.depth() == 0
        assert after.swap(10**9)[:2] == (0, 0)


@given(pools_and_inputs(), st.integers(1, 10**9))
def test_more_input_never_pays_less(case: tuple[PoolSnapshot, int], more: int) -> None:
    snapshot, amount = case
    assert snapshot.quote(amount) <= snapshot.quote(amount + more)


@given(pools_and_inputs(), st.integers(1, 10**9))
def test_the_same_input_again_never_pays_more(case: tuple[PoolSnapshot, int], step: int) -> None:
    snapshot, amount = case
    first = ExactSwap(snapshot, amount)
    second = ExactSwap(snapshot, amount + step)
    third = ExactSwap(snapshot, amount + 2 * step)
    outs = [snapshot.quote(amount + n * step) for n in range(3)]
    # Concave but for the rounding of the three; the exact curve is concave without exception.
    assert second.out - first.out >= third.out - second.out
    assert outs[1] - outs[0] >= outs[2] - outs[1] - first.slack - third.slack


@given(pools_and_inputs())
def test_no_swap_beats_the_best_price_nor_the_largest_liquidity(
    case: tuple[PoolSnapshot, int],
) -> None:
    snapshot, amount = case
    out = snapshot.quote(amount)
    price = Fraction(snapshot.sqrt_price, Q96) ** 2
    best = price if snapshot.zero_for_one else 1 / price
    net = Fraction(amount * (PIPS - snapshot.fee_pips), PIPS)
    assert out <= net * best
    liquidity = max(segment.liquidity for segment in snapshot.segments)
    end = snapshot.segments[-1].sqrt_price_end
    uniform = pool(
        (liquidity, end),
        price=snapshot.sqrt_price,
        fee=snapshot.fee_pips,
        zero_for_one=snapshot.zero_for_one,
    )
    assert out <= uniform.quote(amount) + ExactSwap(uniform, amount).slack


@given(pools_and_inputs(), st.integers(0, 100))
def test_splitting_a_swap_never_pays_more(case: tuple[PoolSnapshot, int], share: int) -> None:
    snapshot, amount = case
    first, first_out, between = snapshot.swap(amount * share // 100)
    second, second_out, after = between.swap(amount - first)
    whole, whole_out, at_once = snapshot.swap(amount)
    assert first_out + second_out <= whole_out
    assert first + second == whole or whole == snapshot.depth()
    if snapshot.zero_for_one:
        assert after.sqrt_price >= at_once.sqrt_price
    else:
        assert after.sqrt_price <= at_once.sqrt_price


@given(pools(), st.integers(0, 4))
def test_the_input_to_a_segments_end_reaches_exactly_its_price(
    snapshot: PoolSnapshot, index: int
) -> None:
    segment = snapshot.segments[min(index, len(snapshot.segments) - 1)]
    end = segment.sqrt_price_end
    needed = snapshot.input_to(end)
    assume(needed)
    used, _, after = snapshot.swap(needed)
    assert used == needed
    # A range without liquidity is crossed for nothing, but only by the input that comes after it.
    assert after.sqrt_price == end or segment.liquidity == 0
    assert after.input_to(end) == 0
    short = snapshot.swap(needed - 1)[2]
    assert short.input_to(end) > 0


@given(pools(), st.integers(1, 999))
def test_the_input_to_a_price_reaches_it_and_overshoots_by_less_than_a_unit(
    snapshot: PoolSnapshot, share: int
) -> None:
    end = snapshot.segments[-1].sqrt_price_end
    target = snapshot.sqrt_price + (end - snapshot.sqrt_price) * share // 1000
    needed = snapshot.input_to(target)
    assume(needed)
    used, _, after = snapshot.swap(needed)
    assert used == needed
    assert after.input_to(target) == 0
    assert snapshot.swap(needed - 1)[2].input_to(target) > 0


@pytest.mark.parametrize(
    ("zero_for_one", "target", "end"),
    [(True, Q96 * 3 // 4, Q96 // 2), (False, Q96 * 3 // 2, Q96 * 2)],
)
def test_the_price_asked_for_is_met_to_the_last_bit_where_the_liquidity_divides(
    *, zero_for_one: bool, target: int, end: int
) -> None:
    snapshot = pool((3 * 2**70, end), fee=0, zero_for_one=zero_for_one)
    assert snapshot.swap(snapshot.input_to(target))[2].sqrt_price == target


@pytest.mark.parametrize("zero_for_one", [True, False])
@pytest.mark.parametrize("factor", [(1, 1), (3, 2), (2, 3), (1, 10)])
def test_a_price_already_passed_needs_no_input(
    *, zero_for_one: bool, factor: tuple[int, int]
) -> None:
    end = Q96 // 4 if zero_for_one else Q96 * 4
    passed = Q96 * factor[0] // factor[1] if zero_for_one else Q96 * factor[1] // factor[0]
    needed = pool((10**12, end), zero_for_one=zero_for_one).input_to(passed)
    assert (needed == 0) == (factor[0] >= factor[1])


def test_a_price_beyond_the_segments_needs_all_they_can_take() -> None:
    snapshot = pool((10**12, Q96 // 2), (10**9, Q96 // 4))
    assert snapshot.input_to(1) == snapshot.depth() == snapshot.input_to(Q96 // 4)


@given(pools(), st.integers(1, 2_000_000), st.integers(1, 2_000_000))
def test_at_the_price_where_a_unit_pays_the_ratio_the_next_pays_less_and_the_last_paid_more(
    snapshot: PoolSnapshot, numerator: int, denominator: int
) -> None:
    keep = Fraction(PIPS - snapshot.fee_pips, PIPS)
    ratio = Fraction(numerator, denominator)

    def marginal(root: int) -> Fraction:
        price = Fraction(root, Q96) ** 2
        return keep * (price if snapshot.zero_for_one else 1 / price)

    price = snapshot.price_where(numerator, denominator)
    assume(price > 10**6)
    before, beyond = (price + 1, price - 1) if snapshot.zero_for_one else (price - 1, price + 1)
    assert marginal(before) >= ratio >= marginal(beyond)


@given(pools_and_inputs())
def test_the_cost_is_the_fewest_units_that_pay_so_much(case: tuple[PoolSnapshot, int]) -> None:
    snapshot, amount = case
    wanted = snapshot.quote(amount)
    cost = snapshot.cost(wanted)
    assert cost <= amount
    assert snapshot.quote(cost) >= wanted
    assert cost == 0 or snapshot.quote(cost - 1) < wanted


@given(pools())
def test_more_than_there_is_costs_all_that_the_segments_can_take(snapshot: PoolSnapshot) -> None:
    assert snapshot.cost(snapshot.quote(snapshot.depth()) + 1) == snapshot.depth()


def test_a_pool_without_segments_takes_and_pays_nothing() -> None:
    empty = pool()
    assert empty.depth() == 0
    assert empty.swap(5) == (0, 0, empty)
    assert empty.input_to(1) == 0


def test_a_price_on_a_segments_border_is_no_end_of_the_pool() -> None:
    """A price exactly on a tick starts with a range of no width."""
    plain = pool((10**12, Q96 // 2))
    bordered = pool((10**15, Q96), (10**12, Q96 // 2))
    assert bordered.depth() == plain.depth() > 0
    assert bordered.swap(10**9)[:2] == plain.swap(10**9)[:2]


def test_a_gap_without_liquidity_is_crossed_for_nothing() -> None:
    gap = pool((10**12, Q96 * 9 // 10), (0, Q96 * 8 // 10), (10**12, Q96 * 7 // 10))
    first = gap.input_to(Q96 * 9 // 10)
    assert gap.input_to(Q96 * 8 // 10) == first
    used, _, after = gap.swap(first + 1000)
    assert used == first + 1000
    assert after.sqrt_price < Q96 * 8 // 10
    assert len(after.segments) == 1


def test_a_swap_that_ends_on_a_border_leaves_the_segments_beyond_it() -> None:
    snapshot = pool((10**12, Q96 * 9 // 10), (10**11, Q96 * 8 // 10))
    _, _, after = snapshot.swap(snapshot.input_to(Q96 * 9 // 10))
    assert after == pool((10**11, Q96 * 8 // 10), price=Q96 * 9 // 10)


@pytest.mark.parametrize(
    ("segments", "zero_for_one"),
    [
        ([(1, Q96 * 2)], True),
        ([(1, Q96 // 2)], False),
        ([(1, Q96 // 2), (1, Q96 * 3 // 4)], True),
        ([(1, Q96 * 2), (1, Q96 * 3 // 2)], False),
    ],
)
def test_segments_that_lead_back_are_refused(
    *, segments: list[tuple[int, int]], zero_for_one: bool
) -> None:
    with pytest.raises(ValidationError, match="ends before it begins"):
        pool(*segments, zero_for_one=zero_for_one)


def test_a_price_of_zero_is_refused() -> None:
    with pytest.raises(ValidationError):
        pool((1, 0))
    with pytest.raises(ValidationError):
        pool(price=0)


def test_a_pool_survives_json() -> None:
    snapshot = pool((2**100, Q96 // 2), price=2**150)
    assert PoolSnapshot.model_validate_json(snapshot.model_dump_json()) == snapshot
