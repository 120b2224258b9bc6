"""From whatever an account holds and owes, a few steps lead to nothing held and nothing owed."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.deals import Step
from domain.exits import debt_bound, next_exit_step, topped_up
from domain.positions import Position

HOLDINGS = ("wei", "weth", "par", "discount", "collateral", "debt")
MOST_STEPS = 4
"""Unwind, top up, settle, sweep."""


def position(**holdings: int) -> Position:
    fields: dict[str, Any] = {
        "account": "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
        "block_number": 7,
        **dict.fromkeys(HOLDINGS, 0),
        "collateral_usd8": 0,
        "debt_usd8": 0,
        "ether_price_usd8": 2_000_00000000,
        "par_price_usd8": 1_00000000,
        "par_decimals": 6,
        **holdings,
    }
    return Position.model_validate(fields)


def after(step: Step, held: Position, sold_for: int) -> Position:
    """What the chain holds after the step: the least that it promises."""
    wei, weth, par, discount, collateral, debt = (getattr(held, name) for name in HOLDINGS)
    match step:
        case Step.UNWIND:
            par, discount = par + sold_for, 0
        case Step.TOP_UP:
            par = topped_up(debt)
        case Step.SETTLE:
            assert par >= debt, "a repayment that cannot be paid"
            assert discount == 0, "tokens left behind"
            wei, weth, par, collateral, debt = wei + weth + collateral, 0, par - debt, 0, 0
        case Step.SWEEP:
            assert weth == discount == collateral == debt == 0, "tokens left behind"
            wei, par = 0, 0
        case _:
            pytest.fail(f"{step} is no step of an exit")
    return position(
        wei=wei, weth=weth, par=par, discount=discount, collateral=collateral, debt=debt
    )


def with_interest(held: Position, permille: int) -> Position:
    """The debt grown by part of what the buffer allows between looking and repaying."""
    grown = held.debt + (debt_bound(held.debt) - held.debt) * permille // 1000
    return held.model_copy(update={"debt": grown})


units = st.one_of(st.just(0), st.integers(1, 10), st.integers(1, 10**24))


@given(
    holdings=st.fixed_dictionaries(dict.fromkeys(HOLDINGS, units)),
    sold_for=units,
    interest=st.integers(0, 1000),
)
def test_every_account_is_emptied_in_a_few_steps_whatever_the_tokens_are_sold_for(
    holdings: dict[str, int], sold_for: int, interest: int
) -> None:
    held, steps = position(**holdings), []
    while (step := next_exit_step(held)) is not None:
        steps.append(step)
        assert len(steps) <= MOST_STEPS, f"going round: {steps}"
        # The debt grows until a step is mined, and after it until somebody looks again.
        grown = with_interest(held, interest) if step is Step.SETTLE else held
        held = with_interest(after(step, grown, sold_for), interest)
    assert held.is_empty
    assert len(set(steps)) == len(steps)


@given(holdings=st.fixed_dictionaries(dict.fromkeys(HOLDINGS, units)))
def test_an_exit_has_a_next_step_exactly_while_something_is_left(holdings: dict[str, int]) -> None:
    held = position(**holdings)
    assert (next_exit_step(held) is None) == held.is_empty


@pytest.mark.parametrize(
    ("holdings", "step"),
    [
        ({}, None),
        ({"wei": 1}, Step.SWEEP),
        ({"par": 1}, Step.SWEEP),
        ({"weth": 1, "wei": 1}, Step.SETTLE),
        ({"weth": 1, "par": 1}, Step.SETTLE),
        ({"collateral": 1}, Step.SETTLE),
        ({"debt": 10_000, "par": 10_002}, Step.SETTLE),
        ({"debt": 10_000, "par": 10_001}, Step.TOP_UP),
        ({"debt": 10_000}, Step.TOP_UP),
        ({"debt": 10_000, "par": 99_999, "discount": 1}, Step.UNWIND),
        ({"discount": 1}, Step.UNWIND),
    ],
)
def test_tokens_are_sold_first_the_debt_is_paid_next_and_the_rest_goes_last(
    holdings: dict[str, int], step: Step | None
) -> None:
    assert next_exit_step(position(**holdings)) is step


@pytest.mark.parametrize(
    ("debt", "bound"),
    [(0, 0), (1, 3), (10_000, 10_002), (10_001, 10_004), (10**12, 10**12 + 10**8 + 1)],
)
def test_the_debt_may_grow_by_a_basis_point_and_a_unit(debt: int, bound: int) -> None:
    assert debt_bound(debt) == bound
