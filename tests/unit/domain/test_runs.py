"""A run's amounts are known beforehand, and keep every limit whatever the market does meanwhile."""

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from domain.errors import DealError, LimitExceeded, RedemptionFrozen
from domain.market import RedemptionTerms
from domain.positions import Position
from domain.prices import PriceGuard
from domain.runs import Run, RunMarket, fitting_run, plan_run, supplied
from domain.swaps import loan_within
from tests.unit.domain.test_positions import position

ETHER = 10**18
DOLLAR = 10**6
PRICE = 3_000 * 10**8
LOAN = 7_000 * DOLLAR
BUYS = 7_100 * DOLLAR


def market(*quotes: int, slippage_bps: int = 50, limit_bps: int = 300, **terms: Any) -> RunMarket:
    """One loan buys what the quotes say, the pool being 1.5 % below par; redeemed at 0.05 %."""
    usual = {"fee_bps": 5, "frozen": False, "remaining_today": 10**13}
    return RunMarket(
        terms=RedemptionTerms.model_validate(usual | terms),
        prices=PriceGuard(Fraction("0.985"), Fraction(1), limit_bps),
        slippage_bps=slippage_bps,
        quotes=quotes,
    )


def funded(ether: int = 11) -> Position:
    return position(wei=ether * ETHER, ether_price_usd8=PRICE)


def after_supplying() -> Position:
    return supplied(funded(), 10 * ETHER)


def refusal_of(kind: type[DealError], found: RunMarket, loan: int = LOAN) -> str | None:
    with pytest.raises(kind) as caught:
        plan_run(after_supplying(), loan, found)
    return caught.value.problem.field


def test_supplying_turns_ether_into_collateral_of_its_value() -> None:
    after = after_supplying()
    assert (after.wei, after.collateral) == (ETHER, 10 * ETHER - 1)
    # Aave rounds; a unit against the account costs a fraction of 1e-8 USD.
    assert after.collateral_usd8 == 10 * PRICE - 1


def test_a_run_buys_the_least_that_the_loan_has_to_buy() -> None:
    run = plan_run(after_supplying(), LOAN, market(BUYS))
    assert run == Run(loan=LOAN, bought=(BUYS * 995 // 1_000,))


def test_each_cycle_is_quoted_after_the_ones_before_it() -> None:
    run = plan_run(after_supplying(), LOAN, market(BUYS, BUYS + 7_090 * DOLLAR))
    assert run.bought == (BUYS * 995 // 1_000, 7_090 * DOLLAR * 995 // 1_000)


def test_with_much_slippage_it_still_buys_what_pays() -> None:
    (bought,) = plan_run(after_supplying(), LOAN, market(BUYS, slippage_bps=500)).bought
    paid = market(BUYS).terms.paid
    assert paid(bought - 1) <= LOAN < paid(bought)


def test_the_price_guard_asks_for_no_less_than_the_dearest_price_allows() -> None:
    # The pool is 150 basis points below the feed; 160 below and above are allowed.
    (bought,) = plan_run(after_supplying(), LOAN, market(BUYS, slippage_bps=500)).bought
    tight = market(BUYS, slippage_bps=500, limit_bps=160)
    assert plan_run(after_supplying(), LOAN, tight).bought == (bought,)
    assert refusal_of(LimitExceeded, market(BUYS, limit_bps=100)) == "price_deviation"


@pytest.mark.parametrize(
    ("kind", "found", "field"),
    [
        (LimitExceeded, market(LOAN), "profit"),
        (LimitExceeded, market(BUYS, fee_bps=150), "profit"),
        (RedemptionFrozen, market(BUYS, frozen=True), "redemption"),
        (RedemptionFrozen, market(BUYS, remaining_today=BUYS * 99 // 100), "redemption_cap"),
        (RedemptionFrozen, market(BUYS, reserve=LOAN), "redemption_reserve"),
    ],
)
def test_a_limit_that_the_first_cycle_breaks_is_named(
    kind: type[DealError], found: RunMarket, field: str
) -> None:
    assert refusal_of(kind, found) == field


def test_too_much_exposure_is_named_and_a_part_of_the_loan_fits() -> None:
    large = 8_000 * DOLLAR
    found = market(large * 1_000 // 985)
    assert refusal_of(LimitExceeded, found, large) == "exposure"
    fits = fitting_run(after_supplying(), large, found)
    assert 7_300 * DOLLAR < fits < large
    plan_run(after_supplying(), fits, market(fits * 1_000 // 985))


def test_a_loan_within_the_limits_fits_whole() -> None:
    assert fitting_run(after_supplying(), LOAN, market(BUYS)) == LOAN


@pytest.mark.parametrize(
    "second", [LOAN, 0], ids=["the price is gone", "there is nothing to buy any more"]
)
def test_a_later_cycle_that_does_not_pay_is_left_out(second: int) -> None:
    run = plan_run(after_supplying(), LOAN, market(BUYS, BUYS + second, 2 * BUYS + second))
    assert len(run.bought) == 1


def test_a_later_cycle_beyond_the_daily_cap_is_left_out() -> None:
    found = market(BUYS, 2 * BUYS, remaining_today=2 * BUYS * 99 // 100)
    assert len(plan_run(after_supplying(), LOAN, found).bought) == 1


@st.composite
def runs(draw: st.DrawFn) -> tuple[Position, Run, RunMarket, int]:
    """A planned run, the account before its loan, its market, and its limit of loan to value."""
    limit = draw(st.integers(1, 3_000))
    account = supplied(funded(), draw(st.integers(10**12, 11 * ETHER)))
    most = account.collateral_usd8 * min(limit, 2_600) // 10_000 // 100
    sized = draw(st.one_of(st.integers(max(1, most * 9 // 10), most + 1), st.integers(1, most + 1)))
    quote, quotes = 0, []
    for _ in range(draw(st.integers(1, 4))):
        quote += sized * draw(st.integers(10_050, 10_290)) // 10_000
        quotes.append(quote)
    found = market(
        *quotes,
        slippage_bps=draw(st.integers(1, 500)),
        fee_bps=draw(st.integers(0, 40)),
        remaining_today=draw(st.integers(sized, 10 * sized)),
    )
    try:
        loan = loan_within(account, sized, limit, sized)
        return account, plan_run(account, loan, found), found, limit
    except DealError:
        assume(False)  # noqa: FBT003 - Hypothesis's own signature
        raise


@given(runs(), st.data())
def test_whatever_each_purchase_costs_every_limit_holds_after_every_call(
    case: tuple[Position, Run, RunMarket, int], data: st.DataObject
) -> None:
    account, run, found, limit = case
    debt = run.loan + 1  # rounded up by Aave
    assert debt * 100 * 10_000 <= account.collateral_usd8 * limit + 100 * 10_000
    held, redeemed = run.loan, 0
    for bought in run.bought:
        cost = data.draw(st.integers(1, run.loan))
        assert held >= run.loan >= cost
        held -= cost
        now = account.model_copy(
            update={"par": held, "discount": bought, "debt": debt, "debt_usd8": 100 * debt}
        )
        assert now.exposure_bps <= 2_500
        redeemed += bought
        held += found.terms.paid(bought)
        assert held > run.loan
    assert redeemed <= found.terms.remaining_today
    assert held - run.loan >= len(run.bought)
    # No purchase is dearer than the slippage of its quote, nor than the feeds allow.
    for before, quote, bought in zip((0, *found.quotes), found.quotes, run.bought, strict=False):
        assert bought * 10_000 >= (quote - before) * (10_000 - found.slippage_bps) - 10_000
        assert Fraction(run.loan, bought) <= Fraction(103, 100)
