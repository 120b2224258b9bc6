"""How large a deal may be, and whether it pays: a size within every limit, or the limit that bound.

The working liquidity is wrapped and supplied whole, because that gives the lowest loan to value.
What is borrowed is swapped at once, so borrow and swap are one size S, repeated for c cycles:

    profit(S, c) = sum over cycles of (redeem(swap(S)) - S) - interest(S) - gas(c)

The swap's output is concave in S, so the best total input is where one more unit in pays exactly
its cost, which is a price of the pool (`PoolSnapshot.price_where`); the limits cap it from above.
Every cycle count up to the request's is tried, since gas grows with it.

A pipelined deal is sized alike, and of each swap it is reckoned with what a run buys of it.

The limits hold for the debt with its interest until the expected end, and with one token unit to
spare, because the protocols round:

    max_ltv      debt / collateral value <= the lowest of the request's, Aave's and 0.30
    exposure     discount tokens at par / (collateral + tokens held - debt) <= 0.25, in every cycle
"""

from collections.abc import Callable, Iterator
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from domain.amounts import (
    BASIS_POINTS,
    ETHER_DECIMALS,
    SignedUnits,
    Units,
    ceil_div,
    one_token,
    value_usd8,
)
from domain.chains import PRICED_ONCE, PRICED_PER_CYCLE, ModuleProfile
from domain.deals import DealRequest, ExecutionMode, Step
from domain.errors import SizingRefused
from domain.limits import MAX_EXPOSURE_BPS, MAX_LTV_BPS
from domain.market import RAY, SECONDS_PER_YEAR, MarketSnapshot
from domain.swaps import least_worth

_NEXT_ACTION = {
    "redemption_frozen": "wait until redemption reopens",
    "price": "wait until the price feed answers again",
    "treasury": "fund the treasury or give less working liquidity",
    "available_liquidity": "wait until the lending pool has liquidity again",
    "redemption_cap": "wait for the redemption module's next day",
    "pool_depth": "wait until the pool has liquidity again",
    "max_ltv": "allow a higher max_ltv, up to 0.30, or give more working liquidity",
    "exposure": "give more working liquidity",
    "profit": "wait for a deeper discount or cheaper gas",
}


class Sizing(BaseModel):
    """The sizes of a deal, in wei and par-token units, and what is expected of it."""

    model_config = ConfigDict(frozen=True)

    wrap_wei: Units
    gas_reserve_wei: Units
    borrow: Units
    par_decimals: Annotated[int, Field(ge=0, le=36)]
    cycles: Annotated[int, Field(ge=1)]
    bound_by: str
    """The limit that kept the deal from being larger, or ``profit`` at the best size."""
    expected_ltv_bps: int
    expected_exposure_bps: int
    expected_gas_wei: Units
    expected_interest: Units
    expected_profit_usd8: SignedUnits


def size_deal(request: DealRequest, module: ModuleProfile, market: MarketSnapshot) -> Sizing:
    """Return the most profitable size within every limit.

    Raises `SizingRefused` whose `field` names the limit that bound: ``redemption_frozen``,
    ``price``, ``treasury``, ``available_liquidity``, ``redemption_cap``, ``pool_depth``,
    ``max_ltv``, ``exposure`` or ``profit``.
    """
    if market.redemption.frozen:
        raise _refusal("redemption_frozen", limit="open", actual="frozen")
    if market.collateral_price_usd8 == 0 or market.par_price_usd8 == 0:
        raise _refusal("price", limit="above 0", actual=0)
    needed = [_needed_wei(request, module, market, n + 1) for n in range(request.cycles)]
    sizings = [_candidate(request, module, market, n + 1) for n in range(request.cycles)]
    affordable = [s for s in sizings if needed[s.cycles - 1] <= market.treasury_wei]
    best = max(affordable, key=_profit, default=None)
    if best is not None and best.expected_profit_usd8 > 0:
        return best
    pays = next((s for s in sizings if s.expected_profit_usd8 > 0), None)
    if best is None or pays is not None:
        actual = f"{needed[pays.cycles - 1 if pays else 0]} wei"
        raise _refusal("treasury", limit=f"{market.treasury_wei} wei", actual=actual)
    if best.borrow == 0:
        raise _refusal(best.bound_by, limit="room for one unit", actual=0)
    raise _refusal(
        "profit",
        limit="above 0 USD after gas, fees and interest",
        actual=f"{best.expected_profit_usd8} e-8 USD, size bound by {best.bound_by}",
        next_action=_NEXT_ACTION[best.bound_by],
    )


def _profit(sizing: Sizing) -> int:
    return sizing.expected_profit_usd8


def gas_reserve_wei(module: ModuleProfile, market: MarketSnapshot, cycles: int) -> int:
    """Ether the deal's account needs for its gas at the highest price it may have to bid.

    Counted twice over: the second half is for the way out if the deal must be unwound.
    """
    return gas_reserve_at(module, market.gas_fee_cap_wei, cycles)


def gas_reserve_at(module: ModuleProfile, price_wei: int, cycles: int) -> int:
    """The same at any price, in wei a unit of gas."""
    return 2 * _gas_units(module, cycles) * price_wei


def _needed_wei(
    request: DealRequest, module: ModuleProfile, market: MarketSnapshot, cycles: int
) -> int:
    """Ether the treasury must hold to fund the deal, the gas of funding included."""
    fund_gas = module.gas_units[Step.FUND] * market.gas_fee_cap_wei
    return request.working_liquidity.units + gas_reserve_wei(module, market, cycles) + fund_gas


def _refusal(
    bound_by: str, *, limit: object, actual: object, next_action: str | None = None
) -> SizingRefused:
    return SizingRefused(
        f"no size of this deal is within its limits and profitable: {bound_by}",
        field=bound_by,
        limit=limit,
        actual=actual,
        next_action=next_action or _NEXT_ACTION[bound_by],
    )


def _candidate(
    request: DealRequest, module: ModuleProfile, market: MarketSnapshot, cycles: int
) -> Sizing:
    """The best size for exactly this many cycles, profitable or not."""
    caps = dict(_caps(request, module, market, cycles))
    bound_by = min(caps, key=lambda name: caps[name])
    return _evaluate(request, module, market, cycles, caps[bound_by], bound_by)


def _caps(
    request: DealRequest, module: ModuleProfile, market: MarketSnapshot, cycles: int
) -> Iterator[tuple[str, int]]:
    """Yield the largest swap of a cycle under each limit; of equal ones the first binds."""
    pool = market.pool
    depth = pool.depth() // cycles
    yield "pool_depth", depth
    yield "profit", _best_total(module, market, cycles) // cycles
    yield "available_liquidity", market.lending.available
    yield "max_ltv", _ltv_cap(request, module, market)
    yield "exposure", _exposure_cap(request, module, market, depth)
    redeemable = market.redemption.redeemable
    yield "redemption_cap", _largest(lambda size: pool.quote(size * cycles) <= redeemable, depth)


def _best_total(module: ModuleProfile, market: MarketSnapshot, cycles: int) -> int:
    """Total input at which one more unit in pays exactly its cost.

    One more unit costs itself and, as it is borrowed once for all cycles, a share of interest.
    """
    year = RAY * SECONDS_PER_YEAR * cycles
    interest = market.lending.borrow_rate_ray * module.expected_duration_seconds
    kept = BASIS_POINTS - market.redemption.fee_bps
    if kept == 0:
        return 0
    price = market.pool.price_where((year + interest) * BASIS_POINTS, year * kept)
    return market.pool.input_to(price)


def _ltv_cap(request: DealRequest, module: ModuleProfile, market: MarketSnapshot) -> int:
    """Largest loan whose value, with interest until the expected end, stays within the limit."""
    limit_bps = min(request.max_ltv_bps, MAX_LTV_BPS, market.lending.ltv_bps)
    collateral = _collateral_usd8(request, market)

    def allowed(size: int) -> bool:
        debt = size + market.lending.interest(size, module.expected_duration_seconds)
        return _ltv_bps(market, collateral, debt + 1) <= limit_bps

    return _largest(allowed, collateral * one_token(market.par_decimals) // market.par_price_usd8)


def _exposure_cap(
    request: DealRequest, module: ModuleProfile, market: MarketSnapshot, depth: int
) -> int:
    """Largest swap whose discount tokens stay within the limit.

    The first cycle has the best price, so it holds the most.
    """
    collateral = _collateral_usd8(request, market)

    def allowed(size: int) -> bool:
        interest = market.lending.interest(size, module.expected_duration_seconds)
        used, out, _ = market.pool.swap(size)
        gained = out - used - interest
        return _exposure_bps(market, collateral, out + 1, gained) <= MAX_EXPOSURE_BPS

    return _largest(allowed, depth)


def _collateral_usd8(request: DealRequest, market: MarketSnapshot) -> int:
    wei = request.working_liquidity.units
    return value_usd8(wei, ETHER_DECIMALS, market.collateral_price_usd8)


def _largest(allowed: Callable[[int], bool], ceiling: int) -> int:
    """Largest size up to `ceiling` that is allowed; allowed must be monotone and hold for 0."""
    low, high = 0, ceiling
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if allowed(middle) else (low, middle - 1)
    return low


def _evaluate(  # noqa: PLR0913, PLR0917 - the facts of one candidate
    request: DealRequest,
    module: ModuleProfile,
    market: MarketSnapshot,
    cycles: int,
    size: int,
    bound_by: str,
) -> Sizing:
    collateral = _collateral_usd8(request, market)
    interest = market.lending.interest(size, module.expected_duration_seconds)
    gained, exposure_bps = -interest, 0
    for used, out in _swaps(request, market, cycles, size):
        held = _exposure_bps(market, collateral, out, gained + out - used)
        exposure_bps = max(exposure_bps, held)
        gained += market.redemption.paid(out) - used
    gas_wei = _gas_units(module, cycles) * market.gas_price_wei
    gained_usd8 = value_usd8(gained, market.par_decimals, market.par_price_usd8)
    gas_usd8 = ceil_div(gas_wei * market.collateral_price_usd8, 10**ETHER_DECIMALS)
    return Sizing(
        wrap_wei=request.working_liquidity.units,
        gas_reserve_wei=gas_reserve_wei(module, market, cycles),
        borrow=size,
        par_decimals=market.par_decimals,
        cycles=cycles,
        bound_by=bound_by,
        expected_ltv_bps=_ltv_bps(market, collateral, size + interest),
        expected_exposure_bps=exposure_bps,
        expected_gas_wei=gas_wei,
        expected_interest=interest,
        expected_profit_usd8=gained_usd8 - gas_usd8,
    )


def _swaps(
    request: DealRequest, market: MarketSnapshot, cycles: int, size: int
) -> Iterator[tuple[int, int]]:
    """Yield what each cycle's swap spends and receives.

    Stepwise the whole size is spent. A run buys the least that the size may receive, and spends
    what that costs, for it cannot know what a whole one will receive, but has to say what it
    redeems (see `domain.runs`).
    """
    pool = quoted = market.pool
    for _ in range(cycles):
        spent = size
        if request.mode is ExecutionMode.PIPELINED:
            _, quote, quoted = quoted.swap(size)
            least = least_worth(market.redemption, size, quote, request.max_slippage_bps)
            spent = pool.cost(min(quote, least))
        used, out, pool = pool.swap(spent)
        yield used, out


def _ltv_bps(market: MarketSnapshot, collateral_usd8: int, debt: int) -> int:
    """Loan to value of a debt in par-token units, in basis points, rounded up."""
    return _ratio_bps(
        debt * market.par_price_usd8, collateral_usd8 * one_token(market.par_decimals)
    )


def _exposure_bps(market: MarketSnapshot, collateral_usd8: int, held: int, gained: int) -> int:
    """Discount tokens over the net asset value, in basis points, rounded up.

    `gained` is what the net asset value has grown by, discount tokens at par, in token units.
    """
    collateral = collateral_usd8 * one_token(market.par_decimals)
    price = market.par_price_usd8
    return _ratio_bps(held * price, collateral + gained * price)


def _ratio_bps(part: int, whole: int) -> int:
    """Ratio in basis points, rounded up; everything if there is no whole to compare with."""
    if part == 0:
        return 0
    return ceil_div(part * BASIS_POINTS, whole) if whole > 0 else BASIS_POINTS


def _gas_units(module: ModuleProfile, cycles: int) -> int:
    once = sum(module.gas_units[step] for step in PRICED_ONCE)
    return once + cycles * sum(module.gas_units[step] for step in PRICED_PER_CYCLE)
