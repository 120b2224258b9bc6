"""The limits of loans and swaps: kept to the unit, and named when they refuse."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import DealError, LimitExceeded, RedemptionFrozen
from domain.market import RedemptionTerms
from domain.positions import Position
from domain.swaps import (
    after_swap,
    break_even,
    ensure_exposure,
    ensure_ltv,
    ensure_redeemable,
    fitting,
    least_received,
    least_size,
    least_worth,
    loan_within,
)
from domain.transactions import Asset
from tests.unit.domain.test_positions import position

DOLLAR = 10**6
USD8 = 10**8


def terms(**changes: Any) -> RedemptionTerms:
    usual = {"fee_bps": 5, "frozen": False, "remaining_today": 10**13}
    return RedemptionTerms.model_validate(usual | changes)


def holding(collateral_usd: int = 30_000, par: int = 0, debt: int = 0) -> Position:
    """Collateral of so many dollars, and dollars held and owed."""
    return position(
        collateral=10**19,
        collateral_usd8=collateral_usd * USD8,
        par=par * DOLLAR,
        debt=debt * DOLLAR,
        debt_usd8=debt * USD8,
    )


@pytest.mark.parametrize(
    ("sized", "slippage", "least"), [(1_000, 50, 995), (999, 50, 995), (1, 500, 1), (0, 50, 0)]
)
def test_the_least_size_is_the_size_less_the_slippage(
    sized: int, slippage: int, least: int
) -> None:
    assert least_size(sized, slippage) == least


class TestLoan:
    def test_as_sized_where_the_limit_leaves_room(self) -> None:
        assert loan_within(holding(), 9_000 * DOLLAR, 3_000, 0) == 9_000 * DOLLAR

    def test_less_where_it_does_not_down_to_the_least(self) -> None:
        assert loan_within(holding(), 9_001 * DOLLAR, 3_000, 9_000 * DOLLAR) == 9_000 * DOLLAR

    def test_below_the_least_it_is_refused_by_its_limit(self) -> None:
        with pytest.raises(LimitExceeded) as caught:
            loan_within(holding(debt=1), 9_000 * DOLLAR, 3_000, 9_000 * DOLLAR)
        problem = caught.value.problem
        assert (problem.field, problem.limit, problem.actual) == ("max_ltv", "3000", "3001")

    def test_without_collateral_there_is_none(self) -> None:
        with pytest.raises(LimitExceeded):
            loan_within(position(), DOLLAR, 3_000, 1)

    @given(
        collateral=st.integers(0, 10**18),
        debt=st.integers(0, 10**15),
        sized=st.integers(0, 10**15),
        limit=st.integers(1, 3_000),
    )
    def test_no_loan_is_ever_above_the_limit(
        self, collateral: int, debt: int, sized: int, limit: int
    ) -> None:
        before = position(collateral_usd8=collateral, debt=debt, debt_usd8=100 * debt)
        loan = loan_within(before, sized, limit, 0)
        assert 0 <= loan <= sized
        owed = 100 * (debt + loan)
        if loan:
            assert owed * 10_000 <= collateral * limit
        if loan < sized:
            assert (owed + 100) * 10_000 > collateral * limit


class TestLeastReceived:
    def test_it_is_the_quote_less_the_slippage(self) -> None:
        assert least_received(terms(), 980, 1_000, 50) == 995

    def test_and_never_less_than_what_redeems_for_more_than_was_spent(self) -> None:
        assert least_received(terms(), 990, 1_000, 500) == break_even(terms(), 990) == 992

    def test_a_quote_that_does_not_pay_is_refused(self) -> None:
        with pytest.raises(LimitExceeded) as caught:
            least_received(terms(fee_bps=200), 990, 1_000, 50)
        problem = caught.value.problem
        assert (problem.field, problem.actual) == ("profit", "1000")
        assert least_worth(terms(fee_bps=200), 990, 1_000, 50) == 1_012

    @given(
        fee=st.integers(0, 9_999),
        spent=st.integers(0, 10**15),
        quote=st.integers(0, 10**15),
        slippage=st.integers(1, 500),
    )
    def test_what_is_accepted_always_redeems_for_more_and_is_within_the_slippage(
        self, fee: int, spent: int, quote: int, slippage: int
    ) -> None:
        redeeming = terms(fee_bps=fee)
        try:
            least = least_received(redeeming, spent, quote, slippage)
        except LimitExceeded:
            assert redeeming.paid(quote) <= spent
            return
        assert redeeming.paid(least) > spent
        assert quote * (10_000 - slippage) // 10_000 <= least <= quote


class TestExposure:
    """Of S bought for 0.985 S it is about S / (30,000 + 0.015 S): a quarter at 7,415."""

    BOUGHT = 7_500 * DOLLAR

    def test_a_swap_moves_par_to_discount_tokens(self) -> None:
        after = after_swap(holding(par=8_000), 7_000 * DOLLAR, 7_100 * DOLLAR)
        assert (after.par, after.discount) == (1_000 * DOLLAR, 7_100 * DOLLAR)
        assert after_swap(holding(par=1), 2 * DOLLAR, 3 * DOLLAR).par == 0

    def test_within_the_limit_all_of_it_fits_that_can_be_paid(self) -> None:
        before = holding(par=7_000, debt=7_000)
        assert fitting(before, 7_000 * DOLLAR, 7_100 * DOLLAR) == 7_000 * DOLLAR
        assert fitting(before, 7_200 * DOLLAR, 7_100 * DOLLAR) == 7_000 * DOLLAR

    def test_above_the_limit_a_part_fits_that_is_within_it(self) -> None:
        before = holding(par=8_000, debt=8_000)
        bought = 8_000 * DOLLAR * 1_000 // 985
        part = fitting(before, 8_000 * DOLLAR, bought)
        ensure_exposure(before, part, bought * part // (8_000 * DOLLAR))
        assert part > 7_300 * DOLLAR

    def test_more_than_the_limit_is_refused_by_its_name(self) -> None:
        before = holding(par=8_000, debt=8_000)
        with pytest.raises(LimitExceeded) as caught:
            ensure_exposure(before, 8_000 * DOLLAR, 8_100 * DOLLAR)
        problem = caught.value.problem
        assert (problem.field, problem.limit) == ("exposure", "2500")


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"frozen": True}, "redemption"),
        ({"remaining_today": 99}, "redemption_cap"),
        ({"reserve": 98}, "redemption_reserve"),
    ],
)
def test_what_cannot_be_redeemed_is_refused_with_what_stands_against_it(
    changes: dict[str, Any], field: str
) -> None:
    ensure_redeemable(terms(remaining_today=100, reserve=99), 100)
    with pytest.raises(RedemptionFrozen) as caught:
        ensure_redeemable(terms(**changes), 100)
    problem: DealError = caught.value
    assert problem.problem.field == field
    assert problem.problem.next_action


COLLATERAL = position(
    collateral=10**18, collateral_usd8=3_000 * 10**8, ether_price_usd8=3_000 * 10**8
)


def test_a_loan_is_held_against_the_collateral_that_comes_before_it() -> None:
    supplied = {Asset.COLLATERAL: 10**18}
    loan = {Asset.DEBT: 900 * 10**6, Asset.PAR: 900 * 10**6}
    assert ensure_ltv(COLLATERAL, [loan], 3_000) is None
    with pytest.raises(LimitExceeded) as caught:
        ensure_ltv(COLLATERAL, [loan], 2_999)
    problem = caught.value.problem
    assert (problem.field, problem.limit, problem.actual) == ("max_ltv", "2999", "3000")
    assert ensure_ltv(COLLATERAL, [supplied, loan], 1_500) is None
    with pytest.raises(LimitExceeded):
        ensure_ltv(COLLATERAL, [loan, supplied], 1_500)


def test_only_borrowing_is_held_against_the_limit() -> None:
    owing = position(debt_usd8=2_000 * 10**8, collateral_usd8=3_000 * 10**8)
    repaid = {Asset.DEBT: -(2_000 * 10**6)}
    assert ensure_ltv(owing, [{}, repaid, {Asset.COLLATERAL: -(10**18)}], 1) is None
