"""Sizing keeps every limit, and never refuses what keeps them and pays.

The oracle rehearses a deal step by step in fractions, as the docstring of `domain.sizing` tells it,
and searches all sizes and cycle counts for the best. It shares no formula with the sizing; only
the pool is the same, and that has an oracle of its own.
"""

from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil, isqrt
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.chains import ModuleProfile
from domain.deals import DealRequest, ExecutionMode
from domain.errors import SizingRefused
from domain.market import LendingTerms, MarketSnapshot, RedemptionTerms
from domain.pool import Q96, PoolSegment, PoolSnapshot
from domain.sizing import Sizing, gas_reserve_wei, size_deal

ETHER = 10**18
GAS = {
    "fund": 28_000,
    "wrap": 59_000,
    "collateralize": 357_000,
    "borrow": 349_000,
    "swap": 237_000,
    "redeem": 204_000,
    "settle": 607_000,
}

Case = tuple[DealRequest, ModuleProfile, MarketSnapshot]


# --- a usual market, and changes to it --------------------------------------------------------


def request(**changes: Any) -> DealRequest:
    fields = {
        "deal_id": "alpha",
        "bank": "first-bank",
        "module": "usdtz",
        "chain_id": 138,
        "working_liquidity": "10",
    }
    return DealRequest.parse(**{**fields, **changes})


def module(**changes: Any) -> ModuleProfile:
    names = {
        name: name
        for name, info in ModuleProfile.model_fields.items()
        if info.is_required() and info.annotation is str
    }
    return ModuleProfile.model_validate({**names, "pool_fee": 100, "gas_units": GAS, **changes})


def pool(
    *segments: tuple[Fraction, int],
    price: Fraction = Fraction(102, 100),
    fee: int = 100,
    zero_for_one: bool = True,
) -> PoolSnapshot:
    """A pool by what a unit in pays out: at first, and where each segment ends."""
    return PoolSnapshot(
        sqrt_price=root(price, zero_for_one=zero_for_one),
        fee_pips=fee,
        zero_for_one=zero_for_one,
        segments=tuple(
            PoolSegment(liquidity=liquidity, sqrt_price_end=root(end, zero_for_one=zero_for_one))
            for end, liquidity in segments
        ),
    )


def root(price: Fraction, *, zero_for_one: bool) -> int:
    one_per_zero = price if zero_for_one else 1 / price
    return isqrt(Q96 * Q96 * one_per_zero.numerator // one_per_zero.denominator)


DEEP = (Fraction(1, 2), 10**15)


def market(
    *,
    lending: dict[str, Any] | None = None,
    redemption: dict[str, Any] | None = None,
    **changes: Any,
) -> MarketSnapshot:
    """Ether at 2000 USD, a deep pool where 100 USDT buy 102 USDTz, redeemed at 0.05 %."""
    lent = {
        "ltv_bps": 8_000,
        "liquidation_threshold_bps": 8_250,
        "borrow_rate_ray": 5 * 10**25,
        "available": 10**13,
    }
    redeemed = {"fee_bps": 5, "frozen": False, "remaining_today": 10**13}
    fields: dict[str, Any] = {
        "chain_id": 138,
        "block_number": 1,
        "timestamp": 1,
        "collateral_price_usd8": 2_000_00000000,
        "par_price_usd8": 1_00000000,
        "par_decimals": 6,
        "lending": LendingTerms.model_validate({**lent, **(lending or {})}),
        "pool": pool(DEEP),
        "redemption": RedemptionTerms.model_validate({**redeemed, **(redemption or {})}),
        "gas_price_wei": 10**9,
        "gas_fee_cap_wei": 10**11,
        "treasury_wei": 1_000 * ETHER,
    }
    return MarketSnapshot.model_validate({**fields, **changes})


# --- the oracle ------------------------------------------------------------------------------


@dataclass
class Rehearsal:
    """A deal of this size played through on paper: what it earns and which limits it breaks."""

    request: DealRequest
    module: ModuleProfile
    market: MarketSnapshot
    size: int
    cycles: int
    spare: int = 0
    broken: set[str] = field(default_factory=set)
    outs: list[int] = field(default_factory=list)
    ltv: Fraction = Fraction(0)
    exposure: Fraction = Fraction(0)
    profit_usd8: Fraction = Fraction(0)

    def __post_init__(self) -> None:
        market, lending = self.market, self.market.lending
        wei = self.request.working_liquidity.units
        collateral = Fraction(wei * market.collateral_price_usd8, ETHER)
        if self.spare:  # Aave counts in whole 1e-8 USD.
            collateral = Fraction(int(collateral))
        token = Fraction(market.par_price_usd8, 10**market.par_decimals)
        year = 10**27 * 365 * 24 * 3600
        duration = self.module.expected_duration_seconds
        interest = Fraction(self.size * lending.borrow_rate_ray * duration, year)
        debt = (self.size + interest) * token

        if self.size > lending.available:
            self.broken.add("available_liquidity")
        limit = min(
            Fraction(self.request.max_ltv), Fraction(3, 10), Fraction(lending.ltv_bps, 10_000)
        )
        self.ltv = ratio(debt, collateral)
        if ratio(debt + self.spare * token, collateral) > limit:
            self.broken.add("max_ltv")

        par, pool = self.size, market.pool
        for _ in range(self.cycles):
            used, out, pool = pool.swap(self.size)
            if used < self.size:
                self.broken.add("pool_depth")
            if par < self.size:
                self.broken.add("balance")
            par -= used
            value = collateral + (par + out) * token - debt
            self.exposure = max(self.exposure, ratio(out * token, value))
            if ratio((out + self.spare) * token, value) > Fraction(1, 4):
                self.broken.add("exposure")
            par += out - ceil(Fraction(out * market.redemption.fee_bps, 10_000))
            self.outs.append(out)
        if sum(self.outs) > market.redemption.remaining_today:
            self.broken.add("redemption_cap")

        gas = Fraction(self.gas * market.gas_price_wei * market.collateral_price_usd8, ETHER)
        self.profit_usd8 = par * token - debt - gas

    @property
    def gas(self) -> int:
        units = {step.value: gas for step, gas in self.module.gas_units.items()}
        once = sum(units[step] for step in ("fund", "wrap", "collateralize", "borrow", "settle"))
        return once + self.cycles * (units["swap"] + units["redeem"])

    @property
    def affordable(self) -> bool:
        reserve = 2 * self.gas * self.market.gas_fee_cap_wei
        funding = dict(self.module.gas_units)["fund"] * self.market.gas_fee_cap_wei  # type: ignore[index]
        needed = self.request.working_liquidity.units + reserve + funding
        return needed <= self.market.treasury_wei


def ratio(part: Fraction, whole: Fraction) -> Fraction:
    if part == 0:
        return Fraction(0)
    return part / whole if whole > 0 else Fraction(10**9)


def best_of(case: Case, cycles: int, sizes: list[int]) -> Rehearsal:
    """The best size within the limits for this many cycles, found by looking.

    The limits all cap the size from above, and what a deal earns is concave in it, so a bisection
    finds the largest and a search by thirds the best; `sizes` are tried as well, to be sure.
    """

    def play(size: int) -> Rehearsal:
        return Rehearsal(*case, size=size, cycles=cycles)

    low, high = 0, case[2].pool.depth()
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (low, middle - 1) if play(middle).broken - {"balance"} else (middle, high)
    largest = low
    left, right = 0, largest
    # Near its top the curve is flat: a billionth of the size off costs nothing that counts.
    while right - left > max(8, largest // 10**9):
        one, two = left + (right - left) // 3, right - (right - left) // 3
        if play(one).profit_usd8 < play(two).profit_usd8:
            left = one
        else:
            right = two
    near = range(left, right + 1, max(1, (right - left) // 8))
    tries = [*near, right, largest, *(size for size in sizes if size >= 0)]
    allowed = [game for game in map(play, tries) if not game.broken]
    return max(allowed, key=lambda game: game.profit_usd8)


def rounding_margin_usd8(market: MarketSnapshot, cycles: int) -> Fraction:
    """What whole units and the unit to spare may cost: ten token units and ten more a cycle."""
    token = Fraction(market.par_price_usd8, 10**market.par_decimals)
    return 10 * (cycles + 1) * token + 2


# --- the properties --------------------------------------------------------------------------


def spread(low: int, high: int) -> st.SearchStrategy[int]:
    """Integers of every order of magnitude, from ten to the low to ten to the high."""
    return st.integers(low, high).flatmap(lambda power: st.integers(10**power, 10 ** (power + 1)))


@st.composite
def pool_snapshots(draw: st.DrawFn, unit: int) -> PoolSnapshot:
    zero_for_one = draw(st.booleans())
    near, far = st.integers(99_900, 110_000), st.integers(50_000, 200_000)
    price = Fraction(draw(st.one_of(near, near, far)), 10**5)
    segments, end = [], price
    for _ in range(draw(st.sampled_from([2, 1, 3, 4, 5, 1, 2, 3, 4, 0]))):
        end = end / (
            1 + Fraction(draw(st.integers(1, 3_000)), draw(st.sampled_from([10**4, 10**6])))
        )
        end = end.limit_denominator(10**9)
        power = draw(st.sampled_from([6, 7, 8, 9, 10, 5, 4, 3, 2, 1, 0, None, *range(5, 11)]))
        liquidity = 0 if power is None else draw(st.integers(1, 10)) * 10**power * unit // 100
        segments.append((end, liquidity))
    fee = draw(st.sampled_from([100, 100, 500, 0, 3_000, 10_000]))
    return pool(*segments, price=price, fee=fee, zero_for_one=zero_for_one)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Usual markets with any number of unusual traits."""

    def usually(usual: Any, unusual: st.SearchStrategy[Any]) -> Any:
        return draw(unusual) if draw(st.integers(0, 9)) == 7 else usual

    decimals = draw(st.sampled_from([6, 18]))
    unit = 10**decimals
    asked = request(
        working_liquidity={"units": draw(spread(17, 22)), "decimals": 18},
        max_ltv=usually("0.30", st.integers(1, 3_000).map(lambda bps: f"0.{bps:04d}")),
        cycles=draw(st.sampled_from([1, 1, 2, 3, 4])),
    )
    profile = module(
        expected_duration_seconds=usually(600, spread(0, 8)),
        gas_units=usually(GAS, st.fixed_dictionaries(dict.fromkeys(GAS, spread(3, 6)))),
    )
    worth = asked.working_liquidity.units * unit // ETHER
    snapshot = market(
        collateral_price_usd8=usually(2_000_00000000, spread(0, 14)),
        par_price_usd8=usually(
            1_00000000, st.one_of(st.integers(9 * 10**7, 11 * 10**7), spread(0, 10))
        ),
        par_decimals=decimals,
        pool=draw(pool_snapshots(unit)),
        lending={
            "ltv_bps": usually(8_000, st.integers(0, 10_000)),
            "borrow_rate_ray": usually(5 * 10**25, st.integers(0, 10**28)),
            "available": usually(
                10**9 * unit, st.integers(0, 10_000).map(lambda n: n * worth // 20)
            ),
        },
        redemption={
            "fee_bps": usually(5, st.sampled_from([0, 1, 50, 200, 1_000, 10_000])),
            "frozen": draw(st.integers(0, 40)) == 7,
            "remaining_today": usually(
                10**9 * unit, st.integers(0, 10_000).map(lambda n: n * worth // 20)
            ),
        },
        gas_price_wei=usually(10**8, st.one_of(st.just(0), spread(6, 12))),
        gas_fee_cap_wei=usually(10**11, spread(6, 13)),
        treasury_wei=usually(10**24, spread(17, 23)),
    )
    return asked, profile, snapshot


@given(cases())
def test_no_size_ever_breaks_a_limit_or_expects_a_loss(case: Case) -> None:
    try:
        sizing = size_deal(*case)
    except SizingRefused:
        return
    asked, profile, snapshot = case
    game = Rehearsal(*case, size=sizing.borrow, cycles=sizing.cycles)
    assert not game.broken
    assert game.affordable
    assert not snapshot.redemption.frozen
    assert 1 <= sizing.cycles <= asked.cycles
    assert sizing.wrap_wei == asked.working_liquidity.units
    assert sizing.gas_reserve_wei == gas_reserve_wei(profile, snapshot, sizing.cycles)
    # What is expected is what the rehearsal gives, rounded against the deal.
    assert game.profit_usd8 >= sizing.expected_profit_usd8 > 0
    assert game.profit_usd8 - sizing.expected_profit_usd8 < rounding_margin_usd8(snapshot, 0)
    assert game.ltv * 10_000 <= sizing.expected_ltv_bps <= min(3_000, asked.max_ltv_bps)
    assert game.exposure * 10_000 <= sizing.expected_exposure_bps <= 2_500
    assert sizing.expected_gas_wei == game.gas * snapshot.gas_price_wei


@given(cases(), st.lists(st.integers(0, 10**6), max_size=3))
def test_no_deal_is_refused_or_made_smaller_than_pays_best_within_the_limits(
    case: Case, shares: list[int]
) -> None:
    asked, _, snapshot = case
    if snapshot.redemption.frozen:
        with pytest.raises(SizingRefused):
            size_deal(*case)
        return
    try:
        sizing: Sizing | None = size_deal(*case)
    except SizingRefused:
        sizing = None
    sized = sizing.borrow if sizing else 0
    expected = sizing.expected_profit_usd8 if sizing else 0
    depth = snapshot.pool.depth()
    for cycles in range(1, asked.cycles + 1):
        around = [sized + n for n in (-10, -1, 1, 2, 10)]
        grid = [depth * n // (8 * cycles) for n in range(9)]
        drawn = [depth * share // 10**6 for share in shares]
        game = best_of(case, cycles, [*around, *grid, *drawn])
        if game.affordable:
            assert game.profit_usd8 <= expected + rounding_margin_usd8(snapshot, cycles)


@given(cases())
def test_a_refusal_names_a_limit_that_did_bind(case: Case) -> None:
    try:
        size_deal(*case)
    except SizingRefused as refused:
        problem = refused.problem
    else:
        return
    asked, _, snapshot = case
    assert problem.limit
    assert problem.actual
    assert problem.next_action
    # Interest is rounded up to a unit, and another is kept to spare.
    smallest = Rehearsal(*case, size=1, cycles=1, spare=2)
    everything = [Rehearsal(*case, size=0, cycles=n + 1) for n in range(asked.cycles)]
    match problem.field:
        case "redemption_frozen":
            assert snapshot.redemption.frozen
        case "treasury":
            assert not all(game.affordable for game in everything)
        case "profit":
            assert everything[0].affordable
        case _:
            assert problem.field in smallest.broken
            assert problem.actual == "0"


# --- each limit, by example ------------------------------------------------------------------

BOUND_BY: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("exposure", {}, {}),
    ("max_ltv", {"max_ltv": "0.20"}, {}),
    ("max_ltv", {}, {"lending": {"ltv_bps": 2_000}}),
    ("available_liquidity", {}, {"lending": {"available": 4_000_000_000}}),
    ("redemption_cap", {}, {"redemption": {"remaining_today": 3_000_000_000}}),
    ("pool_depth", {}, {"pool": pool((Fraction(1015, 1000), 10**12))}),
    ("profit", {}, {"pool": pool((Fraction(1, 2), 10**11))}),
]


@pytest.mark.parametrize(("bound_by", "asked", "found"), BOUND_BY)
def test_a_size_names_the_limit_that_kept_it_from_being_larger(
    bound_by: str, asked: dict[str, Any], found: dict[str, Any]
) -> None:
    case = request(**asked), module(), market(**found)
    sizing = size_deal(*case)
    assert sizing.bound_by == bound_by
    game = Rehearsal(*case, size=sizing.borrow, cycles=1)
    assert not game.broken
    # A few units more break that limit and no other, or earn no more.
    more = Rehearsal(*case, size=sizing.borrow + 3, cycles=1)
    if bound_by == "profit":
        wider = [Rehearsal(*case, size=sizing.borrow * n // 100, cycles=1) for n in (99, 101)]
        assert all(other.profit_usd8 < game.profit_usd8 for other in wider)
        assert not more.broken
    else:
        assert more.broken == {bound_by}


def test_a_usual_deal_has_the_size_that_one_can_reckon_by_hand() -> None:
    """20,000 USD of collateral; a quarter of the value in USDTz is 5,024 of 20,098 USD."""
    sizing = size_deal(request(), module(), market())
    assert sizing.wrap_wei == 10 * ETHER
    assert (sizing.cycles, sizing.bound_by) == (1, "exposure")
    assert 4_926_000_000 < sizing.borrow < 4_928_000_000
    assert sizing.expected_exposure_bps == 2_500
    assert sizing.expected_ltv_bps == 2_464
    gas = 28_000 + 59_000 + 357_000 + 349_000 + 237_000 + 204_000 + 607_000
    assert sizing.expected_gas_wei == gas * 10**9
    assert sizing.gas_reserve_wei == 2 * gas * 10**11
    assert sizing.expected_interest == ceil(sizing.borrow * 0.05 * 600 / 31_536_000)
    # 2 % of 4927 less 0.01 % and 0.05 % of fees, what the price moves, and 3.68 USD of gas.
    assert 90_00000000 < sizing.expected_profit_usd8 < 92_00000000


def test_more_cycles_earn_more_where_a_limit_binds() -> None:
    one, three = (size_deal(request(cycles=n), module(), market()) for n in (1, 3))
    assert (one.cycles, three.cycles) == (1, 3)
    assert three.expected_profit_usd8 > 2 * one.expected_profit_usd8


def test_a_pool_that_cannot_take_another_cycle_is_what_bounds_the_deal() -> None:
    shallow = market(pool=pool((Fraction(1016, 1000), 4 * 10**12)))
    depth = shallow.pool.depth()
    sizing = size_deal(request(cycles=2), module(), shallow)
    assert (sizing.cycles, sizing.bound_by) == (2, "pool_depth")
    assert sizing.borrow == depth // 2


def test_cycles_that_do_not_pay_for_their_gas_are_left_out() -> None:
    thin = market(pool=pool((Fraction(1, 2), 10**11)), gas_price_wei=10**9)
    sizing = size_deal(request(cycles=5), module(), thin)
    assert sizing.cycles == 1


def test_cycles_that_the_treasury_cannot_pay_are_left_out() -> None:
    enough_for_two = 10 * ETHER + (2 * (1_400_000 + 2 * 441_000) + 28_000) * 10**11
    sizing = size_deal(request(cycles=5), module(), market(treasury_wei=enough_for_two))
    assert sizing.cycles == 2
    sizing = size_deal(request(cycles=5), module(), market(treasury_wei=enough_for_two - 1))
    assert sizing.cycles == 1


NOTHING_TO_EARN = pool((Fraction(1, 2), 10**15), price=Fraction(1))
DRAINED = pool((Fraction(1, 2), 0))

REFUSALS: list[tuple[str, dict[str, Any], str, str, str]] = [
    ("redemption_frozen", {"redemption": {"frozen": True}}, "open", "frozen", "reopens"),
    ("price", {"collateral_price_usd8": 0}, "above 0", "0", "price feed"),
    ("price", {"par_price_usd8": 0}, "above 0", "0", "price feed"),
    (
        "treasury",
        {"treasury_wei": 10 * ETHER},
        "10000000000000000000 wei",
        f"{10 * ETHER + (2 * 1_841_000 + 28_000) * 10**11} wei",
        "fund the treasury",
    ),
    (
        "available_liquidity",
        {"lending": {"available": 0}},
        "room for one unit",
        "0",
        "lending pool has liquidity",
    ),
    (
        "redemption_cap",
        {"redemption": {"remaining_today": 0}, "pool": pool(DEEP, fee=0)},
        "room for one unit",
        "0",
        "next day",
    ),
    ("pool_depth", {"pool": pool()}, "room for one unit", "0", "pool has liquidity"),
    ("pool_depth", {"pool": DRAINED}, "room for one unit", "0", "pool has liquidity"),
    ("max_ltv", {"lending": {"ltv_bps": 0}}, "room for one unit", "0", "higher max_ltv"),
    ("max_ltv", {"collateral_price_usd8": 1}, "room for one unit", "0", "working liquidity"),
    ("profit", {"pool": NOTHING_TO_EARN}, "room for one unit", "0", "deeper discount"),
    ("profit", {"redemption": {"fee_bps": 10_000}}, "room for one unit", "0", "deeper discount"),
    (
        "profit",
        {"gas_price_wei": 10**11},
        "above 0 USD after gas, fees and interest",
        "size bound by exposure",
        "give more working liquidity",
    ),
    (
        "profit",
        {"redemption": {"remaining_today": 100_000_000}},
        "above 0 USD after gas, fees and interest",
        "size bound by redemption_cap",
        "next day",
    ),
    (
        "profit",
        {"pool": pool((Fraction(1, 2), 10**10))},
        "above 0 USD after gas, fees and interest",
        "size bound by profit",
        "deeper discount",
    ),
]


@pytest.mark.parametrize(("limit_name", "found", "limit", "actual", "action"), REFUSALS)
def test_each_refusal_names_the_limit_that_bound_and_what_to_do(
    limit_name: str, found: dict[str, Any], limit: str, actual: str, action: str
) -> None:
    with pytest.raises(SizingRefused) as caught:
        size_deal(request(cycles=3), module(), market(**found))
    problem = caught.value.problem
    assert (problem.field, problem.limit) == (limit_name, limit)
    assert problem.actual is not None
    assert actual in problem.actual
    assert action in problem.next_action
    assert limit_name in problem.message
    assert caught.value.exit_code == 5


def test_collateral_worth_nothing_in_whole_prices_is_refused_not_divided_by() -> None:
    with pytest.raises(SizingRefused) as caught:
        size_deal(request(working_liquidity="0.000000000000000001"), module(), market())
    assert caught.value.problem.field == "max_ltv"


def test_a_profit_of_exactly_nothing_is_refused_and_of_the_least_is_taken() -> None:
    gained = size_deal(request(), module(), market(gas_price_wei=0)).expected_profit_usd8
    price = gained * ETHER // (1_841_000 * 2_000_00000000)
    with pytest.raises(SizingRefused) as caught:
        size_deal(request(), module(), market(gas_price_wei=price))
    assert caught.value.problem.field == "profit"
    assert str(caught.value.problem.actual).startswith("0 e-8 USD")
    cheaper = size_deal(request(), module(), market(gas_price_wei=price - 3))
    assert cheaper.expected_profit_usd8 == 1


def test_no_room_under_the_exposure_limit_is_refused_by_its_name() -> None:
    """So little collateral that Aave lends a few units, and a quarter of it buys none."""
    asked = request(working_liquidity="0.000000006")
    pays_ten = pool((Fraction(1, 2), 10**15), price=Fraction(10), fee=0)
    with pytest.raises(SizingRefused) as caught:
        size_deal(asked, module(), market(pool=pays_ten))
    assert (caught.value.problem.field, caught.value.problem.actual) == ("exposure", "0")


def test_a_treasury_that_cannot_pay_for_the_cycles_it_takes_to_profit_is_named() -> None:
    """One cycle does not pay for the gas, two would, and the treasury has enough for one."""
    costly = market(gas_price_wei=3 * 10**10, treasury_wei=10 * ETHER + 4 * 10**17)
    with pytest.raises(SizingRefused) as caught:
        size_deal(request(cycles=3), module(), costly)
    problem = caught.value.problem
    assert problem.field == "treasury"
    needed = 10 * ETHER + (2 * (1_400_000 + 2 * 441_000) + 28_000) * 10**11
    assert problem.actual == f"{needed} wei"
    enough = costly.model_copy(update={"treasury_wei": needed})
    assert size_deal(request(cycles=3), module(), enough).cycles == 2


@pytest.mark.parametrize("zero_for_one", [True, False])
def test_the_direction_of_the_pool_changes_nothing_but_rounding(*, zero_for_one: bool) -> None:
    there = market(pool=pool((Fraction(1, 2), 10**12), zero_for_one=zero_for_one))
    usual = market(pool=pool((Fraction(1, 2), 10**12)))
    one, other = (size_deal(request(), module(), seen) for seen in (there, usual))
    difference = abs(one.expected_profit_usd8 - other.expected_profit_usd8)
    assert difference <= rounding_margin_usd8(usual, 1)


def test_tokens_of_18_decimals_give_the_same_deal_in_other_units() -> None:
    scale = 10**12
    usual = size_deal(request(), module(), market())
    finer = size_deal(
        request(),
        module(),
        market(
            par_decimals=18,
            pool=pool((Fraction(1, 2), 10**15 * scale)),
            lending={"available": 10**13 * scale},
            redemption={"remaining_today": 10**13 * scale},
        ),
    )
    assert abs(finer.borrow - usual.borrow * scale) <= 5 * scale
    assert finer.bound_by == usual.bound_by
    assert finer.expected_ltv_bps == usual.expected_ltv_bps


def test_a_large_interest_is_kept_within_the_loan_to_value() -> None:
    """At 100 % a year for a year, the loan may be half of what it may grow to."""
    sizing = size_deal(
        request(max_ltv="0.10"),
        module(expected_duration_seconds=31_536_000),
        market(
            lending={"borrow_rate_ray": 10**27},
            pool=pool((Fraction(1), 10**15), price=Fraction(4)),
        ),
    )
    assert sizing.bound_by == "max_ltv"
    assert 999_999_990 <= sizing.borrow <= 1_000_000_000
    assert sizing.expected_interest == sizing.borrow
    assert sizing.expected_ltv_bps == 1_000


def test_a_gas_reserve_is_twice_the_estimate_at_the_highest_price() -> None:
    assert gas_reserve_wei(module(), market(), 1) == 2 * 1_841_000 * 10**11
    assert gas_reserve_wei(module(), market(), 2) == 2 * (1_841_000 + 441_000) * 10**11


# --- pipelined deals --------------------------------------------------------------------------


def pipelined(case: Case) -> Case:
    asked, *rest = case
    return (asked.model_copy(update={"mode": ExecutionMode.PIPELINED}), *rest)


@given(cases())
def test_a_pipelined_deal_is_within_the_limits_and_expects_what_its_run_would_earn(
    case: Case,
) -> None:
    try:
        sizing = size_deal(*pipelined(case))
    except SizingRefused:
        return
    asked, _, snapshot = case
    game = Rehearsal(*case, size=sizing.borrow, cycles=sizing.cycles)
    assert not game.broken
    assert game.affordable
    assert sizing.expected_profit_usd8 > 0
    assert game.ltv * 10_000 <= sizing.expected_ltv_bps <= min(3_000, asked.max_ltv_bps)
    assert sizing.expected_exposure_bps <= 2_500
    # It buys less than a whole size would, so it earns less; but no more than the slippage of it.
    assert sizing.expected_profit_usd8 <= game.profit_usd8
    token = Fraction(snapshot.par_price_usd8, 10**snapshot.par_decimals)
    missed = sum(game.outs) * token * asked.max_slippage_bps / 10_000
    margin = rounding_margin_usd8(snapshot, sizing.cycles)
    assert game.profit_usd8 - sizing.expected_profit_usd8 <= missed + margin


def test_a_usual_pipelined_deal_has_the_size_of_a_stepwise_one_and_earns_the_slippage_less() -> (
    None
):
    case = request(), module(), market()
    one, other = size_deal(*case), size_deal(*pipelined(case))
    assert (other.borrow, other.cycles, other.bound_by) == (one.borrow, one.cycles, one.bound_by)
    gas = 1_841_000 * 10**9 * 2_000_00000000 // ETHER
    ratio_of_gains = Fraction(other.expected_profit_usd8 + gas, one.expected_profit_usd8 + gas)
    assert Fraction(994, 1_000) < ratio_of_gains < Fraction(996, 1_000)


def test_a_size_survives_json() -> None:
    sizing = size_deal(request(), module(), market())
    assert Sizing.model_validate_json(sizing.model_dump_json()) == sizing
