"""Prices from a fee history, never above the cap."""

from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from activities.rpc.client import Rpc
from activities.rpc.fees import FeeLevel, ReplacementReason, fee_level, price_call
from domain.errors import Unavailable
from domain.transactions import Fees
from tests.activities.chain import GWEI, Node
from tests.activities.desk import profile_for

WEI = st.integers(min_value=0, max_value=10**14)
PRIORITY = st.integers(min_value=1, max_value=10**13)
CAP = st.integers(min_value=1, max_value=10**13)
LEVELS = st.builds(FeeLevel, base_fee=WEI, priority_fee=PRIORITY, cap=CAP)


@st.composite
def bids(draw: st.DrawFn) -> Fees:
    """What a transaction may bid already: a tip within the maximum."""
    highest = draw(st.integers(min_value=1, max_value=10**13))
    tip = draw(st.integers(min_value=1, max_value=highest) | st.just(highest))
    return Fees(max_fee_per_gas=highest, max_priority_fee_per_gas=tip)


def level(base: int, priority: int, cap: int = 100) -> FeeLevel:
    return FeeLevel(base_fee=base, priority_fee=priority, cap=cap)


def fees(maximum: int, priority: int) -> Fees:
    return Fees(max_fee_per_gas=maximum, max_priority_fee_per_gas=priority)


@given(LEVELS)
def test_a_new_bid_is_never_above_the_cap_and_its_tip_never_above_the_bid(now: FeeLevel) -> None:
    for bid in (now.maximum, now.maximum_exact):
        assert 0 < bid.max_priority_fee_per_gas <= bid.max_fee_per_gas <= now.cap


@given(LEVELS)
def test_below_the_cap_a_new_bid_pays_even_when_the_base_fee_doubles(now: FeeLevel) -> None:
    assume(2 * now.base_fee + now.priority_fee <= now.cap)
    assert now.maximum == fees(2 * now.base_fee + now.priority_fee, now.priority_fee)


@given(LEVELS, WEI)
def test_of_an_exact_bid_every_wei_is_paid_whatever_the_base_fee(
    now: FeeLevel, base_fee: int
) -> None:
    bid = now.maximum_exact
    assume(base_fee <= bid.max_fee_per_gas)
    paid = min(bid.max_fee_per_gas, base_fee + bid.max_priority_fee_per_gas)
    assert paid == bid.max_fee_per_gas == now.maximum.max_fee_per_gas


@given(LEVELS, bids())
@example(level(50, 10), fees(40, 1))
@example(level(90, 10), fees(88, 3))
@example(level(10, 1), fees(30, 30))
@example(level(100, 50, cap=110), fees(100, 100))
def test_a_replacement_raises_both_fees_by_a_tenth_under_the_cap(now: FeeLevel, bid: Fees) -> None:
    found = now.replacement(bid)
    assert (found.fees is not None) == (found.reason is ReplacementReason.RAISED)
    if found.fees is None:
        return
    assert 10 * found.fees.max_fee_per_gas >= 11 * bid.max_fee_per_gas
    assert 10 * found.fees.max_priority_fee_per_gas >= 11 * bid.max_priority_fee_per_gas
    assert found.fees.max_priority_fee_per_gas <= found.fees.max_fee_per_gas <= now.cap


@given(LEVELS, bids())
def test_there_is_none_if_the_bid_is_enough_or_a_tenth_more_is_above_the_cap(
    now: FeeLevel, bid: Fees
) -> None:
    enough = bid.max_fee_per_gas >= now.expected_price and (
        bid.max_priority_fee_per_gas >= now.priority_fee
    )
    capped = 11 * bid.max_fee_per_gas > 10 * now.cap
    expected = ReplacementReason.CAPPED if capped else ReplacementReason.RAISED
    if enough:
        expected = ReplacementReason.COMPETITIVE
    assert now.replacement(bid).reason is expected


@given(LEVELS, bids())
def test_a_replacement_bids_an_eighth_more_unless_the_cap_is_in_between(
    now: FeeLevel, bid: Fees
) -> None:
    found = now.replacement(bid).fees
    assume(found is not None)
    assert found is not None
    assert 8 * found.max_fee_per_gas >= 9 * bid.max_fee_per_gas or (
        found.max_fee_per_gas == now.cap
    )
    assert 8 * found.max_priority_fee_per_gas >= 9 * bid.max_priority_fee_per_gas or (
        found.max_priority_fee_per_gas == now.cap
    )


@pytest.mark.parametrize(
    ("bid", "cap", "expected"),
    [
        (fees(100, 8), 200, fees(130, 10)),  # today's price
        (fees(120, 8), 200, fees(135, 10)),  # 12.5 % more
        (fees(120, 8), 134, fees(134, 10)),  # 12.5 % would be above the cap, 10 % fits
        (fees(120, 8), 132, fees(132, 10)),  # exactly 10 %
        (fees(120, 8), 131, None),
    ],
)
def test_at_the_cap_a_replacement_bids_exactly_the_cap(
    bid: Fees, cap: int, expected: Fees | None
) -> None:
    found = level(60, 10, cap).replacement(bid)
    assert found.fees == expected
    if expected is None:
        assert found.reason is ReplacementReason.CAPPED


@given(LEVELS, st.integers(min_value=1, max_value=10**13))
@example(level(130, 10, cap=134), 120)
def test_a_bid_of_which_every_wei_is_paid_stays_one_when_it_is_replaced(
    now: FeeLevel, bid: int
) -> None:
    found = now.replacement(fees(bid, bid)).fees
    if found is not None:
        assert found.max_priority_fee_per_gas == found.max_fee_per_gas


@given(LEVELS, bids())
def test_replacing_comes_to_an_end(now: FeeLevel, bid: Fees) -> None:
    # Each step raises the bid by a tenth, and the cap ends it.
    for _ in range(400):
        found = now.replacement(bid).fees
        if found is None:
            return
        bid = found
    pytest.fail("it went on and on")


@given(LEVELS, CAP)
def test_of_two_caps_the_lower_one_holds(now: FeeLevel, own: int) -> None:
    assert now.under(None) == now
    assert now.under(own).cap == min(own, now.cap)
    assert now.under(own).maximum.max_fee_per_gas <= own


def test_the_market_above_the_cap_is_waited_for_and_at_the_cap_it_is_not() -> None:
    level(90, 10).ensure_under_cap()
    with pytest.raises(Unavailable) as caught:
        level(91, 10).ensure_under_cap()
    problem = caught.value.problem
    assert (problem.field, problem.limit, problem.actual) == ("max_fee_per_gas_wei", "100", "101")
    assert caught.value.retryable


@pytest.mark.parametrize(
    ("history", "base", "priority"),
    [
        ({"baseFeePerGas": ["0x1", "0x9"], "reward": [["0x5"]]}, 9, 5),
        ({"baseFeePerGas": ["0x9"], "reward": [["0x1"], ["0x7"], ["0x5"]]}, 9, 5),
        ({"baseFeePerGas": ["0x9"], "reward": [["0x1"], ["0x7"]]}, 9, 1),
        ({"baseFeePerGas": ["0x9"], "reward": [["0x0"], ["0x0"]]}, 9, 1),
        ({"baseFeePerGas": ["0x9"], "reward": [[], ["0x3"]]}, 9, 3),
        ({"baseFeePerGas": ["0x9"], "reward": []}, 9, 1),
        ({"baseFeePerGas": ["0x9"], "reward": None}, 9, 1),
        ({"baseFeePerGas": ["0x0"]}, 0, 1),
    ],
)
def test_a_level_is_the_next_base_fee_and_the_median_tip_of_at_least_one_wei(
    history: dict[str, Any], base: int, priority: int
) -> None:
    profile = profile_for("http://nowhere")
    assert fee_level(profile, history) == FeeLevel(
        base_fee=base, priority_fee=priority, cap=profile.fees.max_fee_per_gas_wei
    )


async def test_a_nodes_own_history_gives_the_base_fee_of_its_next_block(node: Node) -> None:
    profile = profile_for(node.url)
    rpc = Rpc(profile)
    call = price_call(profile.fees)
    now = fee_level(profile, await rpc.call(call.method, *call.params))
    await rpc.close()
    node.mine()
    assert now.base_fee == int(node.block()["baseFeePerGas"], 16)
    assert now.priority_fee == GWEI


async def test_without_eip_1559_both_fees_are_the_nodes_gas_price(node: Node) -> None:
    profile = profile_for(node.url, fees={"kind": "legacy"})
    rpc = Rpc(profile)
    call = price_call(profile.fees)
    now = fee_level(profile, await rpc.call(call.method, *call.params))
    await rpc.close()
    price = int(node.ask("eth_gasPrice"), 16)
    assert now.expected_price == price
    assert now.maximum == now.maximum_exact == fees(price, price)
    found = now.replacement(fees(price - 1, price - 1)).fees
    assert found is not None
    assert found.max_fee_per_gas == found.max_priority_fee_per_gas
