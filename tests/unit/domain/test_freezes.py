"""What frozen tokens are worth as they age, and what a deal that was taken over says."""

from datetime import UTC, datetime, timedelta

import pytest

from domain.adoptions import Adoption, told
from domain.deals import Step
from domain.exits import next_exit_step
from domain.freezes import Freeze
from domain.identifiers import Address
from domain.policy import FreezePolicy
from domain.positions import Position

SINCE = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)
WAD = 10**18


def position(**changes: int) -> Position:
    units = dict.fromkeys(("wei", "weth", "par", "discount", "collateral", "debt"), 0)
    values = dict.fromkeys(("collateral_usd8", "debt_usd8"), 0)
    return Position(
        account=Address("0x70997970C51812dc3A010C7d01b50e0d17dc79C8"),
        block_number=7,
        ether_price_usd8=3_000 * 10**8,
        par_price_usd8=10**8,
        par_decimals=6,
        **(units | values | changes),
    )


@pytest.mark.parametrize(
    ("age", "haircut_bps", "value_usd8"),
    [
        (timedelta(), 0, 1_000 * 10**8),
        (DAY, 100, 990 * 10**8),
        (3 * DAY, 300, 970 * 10**8),
        (100 * DAY, 2_000, 800 * 10**8),
        (-DAY, 0, 1_000 * 10**8),
    ],
)
def test_what_is_frozen_is_worth_less_every_day_up_to_the_most(
    age: timedelta, haircut_bps: int, value_usd8: int
) -> None:
    policy = FreezePolicy(haircut_bps_per_day=100, max_haircut_bps=2_000)
    freeze = Freeze.of(position(discount=1_000 * 10**6), policy, SINCE)
    assert freeze.at_par_usd8 == 1_000 * 10**8
    assert freeze.haircut_bps(SINCE + age) == haircut_bps
    assert freeze.value_usd8(SINCE + age) == value_usd8


def test_a_freeze_ends_when_the_policy_says_or_only_by_a_person() -> None:
    held = position(discount=1)
    assert Freeze.of(held, FreezePolicy(), SINCE).unwinds_at is None
    policy = FreezePolicy(unwind_after_seconds=3_600)
    assert Freeze.of(held, policy, SINCE).unwinds_at == SINCE + timedelta(hours=1)


def test_an_adoption_says_what_is_left_where_and_who_answers_for_it() -> None:
    remains = position(wei=5, discount=7, debt=9)
    adoption = Adoption(
        who="mia", why="sold by hand", answers="treasury", at=SINCE, remains=remains
    )
    assert adoption.text() == (
        "adopted by mia: sold by hand; treasury answers for 5 wei, 7 units of the discount token, "
        f"9 units of debt at Aave in {remains.account}"
    )
    empty = adoption.model_copy(update={"remains": position()})
    assert empty.text() == "adopted by mia: sold by hand; nothing is left in the account"
    assert told(position()) == f"nothing in {remains.account}"


@pytest.mark.parametrize(
    ("health_wad", "first"),
    [(2 * WAD, Step.UNWIND), (11 * WAD // 10, Step.UNWIND), (109 * WAD // 100, Step.TOP_UP)],
)
def test_in_danger_the_loan_is_repaid_before_anything_is_sold(health_wad: int, first: Step) -> None:
    held = position(discount=100, debt=90, collateral=1_000, health_factor_wad=health_wad)
    assert next_exit_step(held, 11 * WAD // 10) is first
    # Without a policy of its own a deal sells first, as it always did.
    assert next_exit_step(held) is Step.UNWIND


def test_in_danger_what_is_held_is_sold_once_the_loan_is_repaid() -> None:
    in_danger = position(discount=100, par=200, debt=90, health_factor_wad=WAD)
    assert next_exit_step(in_danger, 2 * WAD) is Step.SETTLE
    repaid = position(discount=100, par=109)
    assert next_exit_step(repaid, 2 * WAD) is Step.UNWIND
    # What was read before the loan was repaid is no reason to leave anything behind.
    stale = repaid.model_copy(update={"health_factor_wad": WAD})
    assert next_exit_step(stale, 2 * WAD) is Step.UNWIND
