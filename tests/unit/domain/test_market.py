"""The terms of a market, rounded as the contracts round: never in the deal's favour."""

from fractions import Fraction
from math import ceil
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from domain.market import SECONDS_PER_YEAR, LendingTerms, MarketSnapshot, RedemptionTerms


def redemption(fee_bps: int) -> RedemptionTerms:
    return RedemptionTerms(fee_bps=fee_bps, frozen=False, remaining_today=0)


def lending(rate_ray: int) -> LendingTerms:
    return LendingTerms(
        ltv_bps=8_000, liquidation_threshold_bps=8_250, borrow_rate_ray=rate_ray, available=0
    )


@pytest.mark.parametrize(
    ("amount", "fee_bps", "paid"),
    [
        (1_000_000, 0, 1_000_000),
        (1_000_000, 5, 999_500),
        (1, 5, 0),
        (2_001, 5, 1_999),
        (7, 10_000, 0),
        (0, 5, 0),
    ],
)
def test_redemption_pays_par_less_the_fee_rounded_up(amount: int, fee_bps: int, paid: int) -> None:
    assert redemption(fee_bps).paid(amount) == paid


@given(amount=st.integers(0, 10**40), fee_bps=st.integers(0, 10_000))
def test_redemption_never_pays_more_than_par_nor_less_than_nothing(
    amount: int, fee_bps: int
) -> None:
    paid = redemption(fee_bps).paid(amount)
    exact = amount * (1 - Fraction(fee_bps, 10_000))
    assert 0 <= exact - paid < 1
    assert 0 <= paid <= amount


@pytest.mark.parametrize(
    ("principal", "rate", "seconds", "interest"),
    [
        (1_000_000, 5 * 10**25, SECONDS_PER_YEAR, 50_000),
        (1_000_000, 5 * 10**25, 1, 1),
        (1_000_000, 0, SECONDS_PER_YEAR, 0),
        (0, 5 * 10**25, SECONDS_PER_YEAR, 0),
        (6_000_000_000, 36_500 * 10**21, 86_400, 600_000),
    ],
)
def test_interest_is_linear_in_the_time_of_a_year_and_rounded_up(
    principal: int, rate: int, seconds: int, interest: int
) -> None:
    assert lending(rate).interest(principal, seconds) == interest


@given(principal=st.integers(0, 10**30), rate=st.integers(0, 10**28), seconds=st.integers(0, 10**8))
def test_interest_is_the_smallest_integer_that_covers_it(
    principal: int, rate: int, seconds: int
) -> None:
    exact = Fraction(principal * rate * seconds, 10**27 * 31_536_000)
    assert lending(rate).interest(principal, seconds) == ceil(exact)


@given(
    reserve=st.integers(0, 10**20),
    fee_bps=st.integers(0, 10_000),
    remaining=st.integers(0, 10**20),
)
def test_what_is_redeemable_is_the_most_that_cap_and_reserve_allow(
    reserve: int, fee_bps: int, remaining: int
) -> None:
    terms = RedemptionTerms(
        fee_bps=fee_bps, frozen=False, remaining_today=remaining, reserve=reserve
    )
    most = terms.redeemable
    assert most <= remaining
    assert terms.paid(most) <= reserve
    assert most == remaining or terms.paid(most + 1) > reserve


def market(**changes: Any) -> MarketSnapshot:
    fields: dict[str, Any] = {
        "chain_id": 138,
        "block_number": 1,
        "timestamp": 1,
        "collateral_price_usd8": 2_000_00000000,
        "par_price_usd8": 1_00000000,
        "par_decimals": 6,
        "lending": lending(5 * 10**25),
        "pool": {
            "sqrt_price": 2**96,
            "fee_pips": 100,
            "zero_for_one": True,
            "segments": [{"liquidity": 10**15, "sqrt_price_end": 2**95}],
        },
        "redemption": redemption(5),
        "gas_price_wei": 10**9,
        "gas_fee_cap_wei": 10**11,
        "treasury_wei": 10**21,
    }
    return MarketSnapshot.model_validate({**fields, **changes})


def test_a_market_survives_json() -> None:
    assert MarketSnapshot.model_validate_json(market().model_dump_json()) == market()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("block_number", -1),
        ("collateral_price_usd8", -1),
        ("par_price_usd8", 1.0),
        ("par_decimals", 37),
        ("gas_price_wei", -1),
        ("treasury_wei", -1),
        ("redemption", {"fee_bps": 10_001, "frozen": False, "remaining_today": 0}),
    ],
)
def test_a_market_that_cannot_be_is_refused(field: str, value: Any) -> None:
    with pytest.raises(ValidationError):
        market(**{field: value})
