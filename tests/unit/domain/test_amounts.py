"""Amounts are exact integers, whatever they are read from and written to."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from domain.amounts import (
    UINT256_MAX,
    Amount,
    SignedUnits,
    Units,
    ceil_div,
    decimal_places,
    format_units,
    one_token,
    parse_decimal,
    value_usd8,
)
from domain.errors import InvalidInput


class Ledger(BaseModel):
    held: Units = 0
    change: SignedUnits = 0


def refusal(text: Any, decimals: int = 18) -> InvalidInput:
    with pytest.raises(InvalidInput) as caught:
        Amount.parse(text, decimals=decimals, field="working_liquidity")
    return caught.value


@pytest.mark.parametrize(
    ("text", "decimals", "units"),
    [
        ("1.25", 18, 1_250_000_000_000_000_000),
        ("1.25", 6, 1_250_000),
        ("0", 6, 0),
        ("-0", 6, 0),
        ("0.000001", 6, 1),
        ("1.2500000000", 2, 125),
        ("1e3", 6, 1_000_000_000),
        ("0e-50", 6, 0),
        (3, 6, 3_000_000),
        (Decimal("2.5"), 6, 2_500_000),
        ("7", 0, 7),
        (str(UINT256_MAX), 0, UINT256_MAX),
    ],
)
def test_decimal_text_becomes_the_exact_count_of_units(
    text: Any, decimals: int, units: int
) -> None:
    amount = Amount.parse(text, decimals=decimals, field="amount")
    assert (amount.units, amount.decimals) == (units, decimals)


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("-0.1", "0 or more"),
        (-1, "0 or more"),
        ("NaN", "a finite decimal number"),
        ("sNaN", "a finite decimal number"),
        ("Infinity", "a finite decimal number"),
        ("-Infinity", "a finite decimal number"),
        ("", "a finite decimal number"),
        ("ten", "a finite decimal number"),
        ("1,5", "a finite decimal number"),
        ("0x10", "a finite decimal number"),
        (Decimal("NaN"), "a finite decimal number"),
        (1.5, 'text such as "1.25"'),
        (float("nan"), 'text such as "1.25"'),
        (True, 'text such as "1.25"'),
        (b"1", 'text such as "1.25"'),
        ("0.0000000000000000001", "18 decimal places"),
        pytest.param("1." + "0" * 400 + "1", "18 decimal places", id="401 places"),
        ("1e-999999", "18 decimal places"),
        ("1e-999999999999999999", "18 decimal places"),
        (str(UINT256_MAX), "2^256 - 1 smallest units"),
        ("1e60", "2^256 - 1 smallest units"),
        ("1e999999", "2^256 - 1 smallest units"),
        ("1e999999999999999999", "2^256 - 1 smallest units"),
        pytest.param("9" * 5_000, "2^256 - 1 smallest units", id="5000 digits"),
    ],
)
def test_what_is_no_amount_is_refused_with_field_value_limit_and_next_action(
    text: Any, limit: str
) -> None:
    problem = refusal(text).problem
    assert problem.field == "working_liquidity"
    assert problem.value == str(text)
    assert problem.limit == limit
    assert problem.next_action


def test_a_number_too_long_to_print_is_refused_like_any_other() -> None:
    problem = refusal(10**5_000).problem
    assert problem.limit == "2^256 - 1 smallest units"
    assert problem.value == "a number of more digits than Python prints"


@pytest.mark.parametrize("decimals", [0, 6, 18])
def test_one_unit_above_256_bits_is_refused(decimals: int) -> None:
    problem = refusal(format_units(UINT256_MAX + 1, decimals), decimals).problem
    assert problem.limit == "2^256 - 1 smallest units"


@given(units=st.integers(0, UINT256_MAX), decimals=st.integers(0, 36))
def test_writing_and_reading_an_amount_gives_the_same_amount(units: int, decimals: int) -> None:
    amount = Amount(units=units, decimals=decimals)
    assert Amount.parse(str(amount), decimals=decimals, field="amount") == amount
    assert Amount.model_validate_json(amount.model_dump_json()) == amount
    assert Amount.model_validate(amount.model_dump()) == amount


@given(units=st.integers(0, UINT256_MAX), decimals=st.integers(0, 36), zeros=st.integers(0, 60))
def test_trailing_zeros_change_nothing(units: int, decimals: int, zeros: int) -> None:
    text = format_units(units, decimals)
    padded = text + ("" if "." in text else ".") + "0" * zeros
    assert Amount.parse(padded, decimals=decimals, field="amount").units == units


@given(units=st.integers(-UINT256_MAX, UINT256_MAX), decimals=st.integers(0, 36))
def test_decimal_notation_is_exact_and_without_trailing_zeros(units: int, decimals: int) -> None:
    text = format_units(units, decimals)
    # Integer arithmetic on the text, so that no rounding of Decimal can hide an error.
    whole, _, fraction = text.partition(".")
    assert int(whole + fraction.ljust(decimals, "0")) == units
    assert "." not in text or not text.endswith(("0", "."))
    assert text.startswith("-") == (units < 0)


@given(places=st.integers(0, 40), digits=st.integers(1, 10**40))
def test_decimal_places_count_up_to_the_last_digit_that_is_not_zero(
    places: int, digits: int
) -> None:
    number = Decimal((0, tuple(int(d) for d in f"{digits}7"), -places))
    assert decimal_places(number) == places
    assert decimal_places(Decimal(f"{number:f}" + ("0" if places else ".0"))) == places


@given(held=st.integers(0, UINT256_MAX), change=st.integers(-UINT256_MAX, UINT256_MAX))
def test_units_survive_json_as_text_at_any_size(held: int, change: int) -> None:
    ledger = Ledger(held=held, change=change)
    assert ledger.model_dump(mode="json") == {"held": str(held), "change": str(change)}
    assert Ledger.model_validate_json(ledger.model_dump_json()) == ledger
    assert Ledger.model_validate_json(f'{{"held": {held}, "change": {change}}}') == ledger


@pytest.mark.parametrize(
    "value",
    [-1, "-1", UINT256_MAX + 1, True, False, 1.0, "1.0", "1e3", "", "--1", "x", None, Decimal(1)],
)
def test_only_whole_numbers_of_256_bits_are_units(value: Any) -> None:
    with pytest.raises(ValidationError):
        Ledger(held=value)


@pytest.mark.parametrize("value", [-UINT256_MAX - 1, UINT256_MAX + 1, True, 1.0, "1.0", "-"])
def test_a_change_is_a_whole_number_of_256_bits_and_a_sign(value: Any) -> None:
    with pytest.raises(ValidationError):
        Ledger(change=value)


@pytest.mark.parametrize("text", ["1.0", "1e0", "true", "null", '"1.5"'])
def test_json_numbers_that_are_not_integers_are_not_units(text: str) -> None:
    with pytest.raises(ValidationError):
        Ledger.model_validate_json(f'{{"held": {text}}}')


@pytest.mark.parametrize("decimals", [-1, 37, True, 18.0, "18"])
def test_decimals_are_an_integer_between_0_and_36(decimals: Any) -> None:
    with pytest.raises(ValidationError):
        Amount(units=1, decimals=decimals)


def test_an_amount_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        Amount(units=1, decimals=6).units = 2  # type: ignore[misc]


def test_a_finite_decimal_is_read_unchanged() -> None:
    assert parse_decimal("0.30", field="max_ltv") == Decimal("0.30")


def test_a_token_has_ten_to_its_decimals_units() -> None:
    assert [one_token(d) for d in (0, 6, 18)] == [1, 1_000_000, 10**18]


@pytest.mark.parametrize(
    ("units", "decimals", "price", "value"),
    [
        (10**18, 18, 2_000_00000000, 2_000_00000000),
        (1_500_000, 6, 99_990_000, 149_985_000),
        (1, 18, 2_000_00000000, 0),
        (-1, 18, 2_000_00000000, -1),
    ],
)
def test_a_value_is_rounded_against_the_holder(
    units: int, decimals: int, price: int, value: int
) -> None:
    assert value_usd8(units, decimals, price) == value


@given(numerator=st.integers(-(10**30), 10**30), denominator=st.integers(1, 10**12))
def test_ceil_div_is_the_smallest_integer_not_below_the_quotient(
    numerator: int, denominator: int
) -> None:
    result = ceil_div(numerator, denominator)
    assert (result - 1) * denominator < numerator <= result * denominator
