"""What an account holds and owes, in the ratios that the limits are about."""

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from domain.positions import Position

NOTHING: dict[str, Any] = {
    "account": "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
    "block_number": 7,
    "wei": 0,
    "weth": 0,
    "par": 0,
    "discount": 0,
    "collateral": 0,
    "debt": 0,
    "collateral_usd8": 0,
    "debt_usd8": 0,
    "ether_price_usd8": 2_000_00000000,
    "par_price_usd8": 1_00000000,
    "par_decimals": 6,
}
HOLDINGS = ("wei", "weth", "par", "discount", "collateral", "debt")


def position(**changes: Any) -> Position:
    return Position.model_validate({**NOTHING, **changes})


def test_an_account_that_holds_and_owes_nothing_is_empty() -> None:
    assert position().is_empty


@pytest.mark.parametrize("asset", HOLDINGS)
def test_a_single_unit_of_anything_is_not_nothing(asset: str) -> None:
    assert not position(**{asset: 1}).is_empty


@pytest.mark.parametrize(
    ("collateral", "debt", "ltv"),
    [
        (0, 0, 0),
        (20_000_00000000, 0, 0),
        (20_000_00000000, 6_000_00000000, 3_000),
        (20_000_00000000, 6_000_00000001, 3_001),
        (1, 1, 10_000),
        (1, 2, 20_000),
        (0, 1, 10_000),
    ],
)
def test_loan_to_value_is_rounded_up_and_all_of_it_without_collateral(
    collateral: int, debt: int, ltv: int
) -> None:
    assert position(collateral_usd8=collateral, debt_usd8=debt).ltv_bps == ltv


def test_the_net_asset_value_counts_tokens_and_collateral_less_the_debt_but_no_ether() -> None:
    held = position(
        wei=10**18,
        weth=10**18,
        par=5_000_000,
        discount=7_000_000,
        collateral_usd8=20_000_00000000,
        debt_usd8=6_000_00000000,
    )
    assert held.net_asset_value_usd8 == (2_000 + 5 + 7 + 20_000 - 6_000) * 10**8


def test_a_deal_can_owe_more_than_it_has() -> None:
    assert position(debt_usd8=5).net_asset_value_usd8 == -5


@pytest.mark.parametrize(
    ("changes", "exposure"),
    [
        ({"collateral_usd8": 100}, 0),
        ({"debt_usd8": 100}, 0),
        ({"discount": 1_000_000}, 10_000),
        ({"discount": 1_000_000, "collateral_usd8": 3_00000000}, 2_500),
        ({"discount": 1_000_000, "collateral_usd8": 3_00000000 - 1}, 2_501),
        ({"discount": 1_000_000, "debt_usd8": 1_00000000}, 10_000),
        ({"discount": 1_000_000, "debt_usd8": 2_00000000}, 10_000),
        ({"discount": 10**18, "par_decimals": 18, "collateral_usd8": 9_00000000}, 1_000),
    ],
)
def test_exposure_is_rounded_up_and_all_of_it_without_value(
    changes: dict[str, Any], exposure: int
) -> None:
    assert position(**changes).exposure_bps == exposure


@given(
    collateral=st.integers(1, 10**20),
    debt=st.integers(0, 10**20),
    par=st.integers(0, 10**15),
    discount=st.integers(1, 10**15),
    price=st.integers(1, 10**10),
)
def test_the_ratios_never_flatter(
    collateral: int, debt: int, par: int, discount: int, price: int
) -> None:
    held = position(
        collateral_usd8=collateral, debt_usd8=debt, par=par, discount=discount, par_price_usd8=price
    )
    assert 0 <= held.ltv_bps - Fraction(debt * 10_000, collateral) < 1
    value = collateral + Fraction((par + discount) * price, 10**6) - debt
    if value > 0:
        assert held.exposure_bps >= Fraction(discount * price, 10**6) * 10_000 / value
    else:
        assert held.exposure_bps == 10_000


def test_a_position_survives_json() -> None:
    held = position(wei=2**200, debt=5, debt_usd8=500)
    assert Position.model_validate_json(held.model_dump_json()) == held


@pytest.mark.parametrize("field", [*HOLDINGS, "collateral_usd8", "debt_usd8", "block_number"])
def test_nothing_held_or_owed_is_negative(field: str) -> None:
    with pytest.raises(ValidationError):
        position(**{field: -1})
