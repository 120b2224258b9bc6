"""Between two calls of a batch nobody looks: what was in between is reckoned back from its end."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from domain.courses import before, course_of
from domain.positions import Position
from domain.transactions import Asset, Course, Swap
from tests.unit.domain.test_positions import position

DOLLAR = 10**6
ETHER = 10**18
USD8 = 10**8


def at(**changes: Any) -> Position:
    """Ten ETH of 3,000 USD as collateral, or what is said instead."""
    collateral = changes.get("collateral", 10 * ETHER)
    debt = changes.get("debt", 0)
    usual = {
        "collateral": collateral,
        "collateral_usd8": collateral * 3_000 * USD8 // ETHER,
        "debt": debt,
        "debt_usd8": debt * 100,
        "ether_price_usd8": 3_000 * USD8,
        "par_price_usd8": USD8,
        "par_decimals": 6,
    }
    return position(**usual | changes)


def test_a_loan_that_is_repaid_in_the_same_batch_was_owed_in_between() -> None:
    ended = at(collateral=0, wei=10 * ETHER)
    changes = [
        {Asset.COLLATERAL: 10 * ETHER},
        {Asset.PAR: 6_000 * DOLLAR, Asset.DEBT: 6_000 * DOLLAR},
        {Asset.PAR: -6_000 * DOLLAR, Asset.DEBT: -6_000 * DOLLAR},
        {Asset.COLLATERAL: -10 * ETHER, Asset.ETHER: 10 * ETHER},
    ]
    course = course_of(ended, changes, with_pool=[False] * 4)
    assert course == Course(max_ltv_bps=2_000, max_exposure_bps=0)
    assert ended.ltv_bps == 0


def test_tokens_that_are_redeemed_in_the_same_batch_were_held_in_between() -> None:
    ended = at(par=6_060 * DOLLAR, debt=6_000 * DOLLAR)
    bought = {Asset.PAR: -6_000 * DOLLAR, Asset.DISCOUNT: 6_060 * DOLLAR}
    redeemed = {Asset.DISCOUNT: -6_060 * DOLLAR, Asset.PAR: 6_060 * DOLLAR}
    course = course_of(ended, [bought, redeemed], with_pool=[True, False])
    assert course.swaps == (Swap(spent=6_000 * DOLLAR, received=6_060 * DOLLAR),)
    assert course.max_exposure_bps == 2_016  # 6,060 of 30,060 USD
    assert ended.exposure_bps == 0


def test_selling_back_is_a_swap_the_other_way() -> None:
    sold = {Asset.DISCOUNT: -100, Asset.PAR: 98}
    course = course_of(at(par=98), [{}, sold], with_pool=[False, True])
    assert course.swaps == (Swap(spent=100, received=98, selling=True),)


def test_a_call_to_the_pool_that_reverted_was_no_swap() -> None:
    assert course_of(at(), [{}], with_pool=[True]).swaps == ()


def test_a_batch_without_calls_went_nowhere() -> None:
    owing = at(debt=3_000 * DOLLAR)
    assert course_of(owing, [], with_pool=[]) == Course(max_ltv_bps=1_000, max_exposure_bps=0)


def test_what_grew_by_itself_was_never_less_than_nothing() -> None:
    assert before(at(debt=5), {Asset.DEBT: 6}).debt == 0


@given(
    st.fixed_dictionaries(
        {asset: st.integers(-(10**20), 10**20) for asset in Asset},
    )
)
def test_going_back_undoes_what_a_call_did(change: dict[Asset, int]) -> None:
    start = at(wei=10**21, weth=10**21, par=10**21, discount=10**21, debt=10**21)
    start = start.model_copy(update={"collateral": 10**21})
    names = ("wei", "weth", "par", "discount", "collateral", "debt")
    moved = start.model_copy(
        update={n: getattr(start, n) + change[a] for n, a in zip(names, Asset, strict=True)}
    )
    back = before(moved, change)
    assert [getattr(back, n) for n in names] == [getattr(start, n) for n in names]
    assert back.collateral_usd8 == 10**21 * 3_000 * USD8 // ETHER
    assert back.debt_usd8 == 10**21 * 100
