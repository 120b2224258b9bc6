"""What a deal is predicted to do, what it has done, and how far apart the two are.

Slippage is what a swap receives less than at the pool's own price at the block of the dry run (the
arrival price), the pool's fee and the swap's own effect on the price included. Held against the
same price, what was realised also shows how the market moved between the two.
"""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

from domain.amounts import BASIS_POINTS, Units, Usd8, ceil_div
from domain.deals import Step, digest_of
from domain.identifiers import ChainId
from domain.pool import Q96
from domain.settlement import Settlement
from domain.transactions import StepOutcome, Swap

PRICE_UNITS: Final = 10**18
"""Par tokens, in units, of which a pool price says how many discount tokens they buy."""
_RATIO: Final = Decimal("0.0001")


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True)


class StepFigures(_Model):
    """One batch in figures; the LTV is that right after it, slippage that of its worst swap."""

    step: Step
    round: Annotated[int, Field(ge=1)]
    transactions: Annotated[int, Field(ge=0)]
    gas: Annotated[int, Field(ge=0)]
    gas_cost_wei: Units
    ltv_bps: Annotated[int, Field(ge=0)]
    slippage_bps: int | None = None
    """In basis points, below 0 for a swap that received more; None without a swap."""
    estimated: bool = False
    """The gas is the profile's estimate: the owners of a Safe have signed nothing to simulate."""


class _Figures(_Model):
    steps: tuple[StepFigures, ...]
    gas: Annotated[int, Field(ge=0)]
    gas_cost_wei: Units
    max_slippage_bps: int | None = None
    max_ltv_bps: Annotated[int, Field(ge=0)]
    max_exposure_bps: Annotated[int, Field(ge=0)]
    duration_seconds: Annotated[int, Field(ge=0)]
    """From the first batch until the last one is confirmed."""
    profit_usd8: Usd8


class Prediction(_Figures):
    """What a deal would do on top of one block of its chain."""

    chain_id: ChainId
    block_number: Annotated[int, Field(ge=0)]
    block_hash: str
    timestamp: Annotated[int, Field(ge=0)]
    """Of that block, in Unix seconds."""
    gas_price_wei: Units
    """What a unit of gas is taken to cost, but for the sweep, which spends all that it bids."""
    pool_price_e18: Units
    """Discount tokens that 1e18 units of par tokens buy at the pool's own price at that block."""

    def digest(self) -> str:
        """SHA-256 over all of it: what approvals are bound to."""
        return digest_of(self)


class Realised(_Figures):
    """The same figures of a deal that has ended, from its confirmed batches."""


class Difference(_Model):
    """One figure of both; `ratio` is realised over predicted, None where nothing was predicted."""

    name: str
    predicted: int
    realised: int
    difference: int
    ratio: Decimal | None = None


class Comparison(_Model):
    """Predicted against realised, figure by figure."""

    predicted: Prediction
    realised: Realised

    @property
    def differences(self) -> tuple[Difference, ...]:
        """Every figure that both have, in smallest units, basis points or seconds."""
        return tuple(
            _difference(name, getattr(self.predicted, name), getattr(self.realised, name))
            for name in COMPARED
            if getattr(self.predicted, name) is not None
            and getattr(self.realised, name) is not None
        )


COMPARED: Final = (
    "gas",
    "gas_cost_wei",
    "max_slippage_bps",
    "max_ltv_bps",
    "max_exposure_bps",
    "duration_seconds",
    "profit_usd8",
)
"""The figures that are compared, in the order in which they are shown."""


def pool_price_e18(sqrt_price: int, *, zero_for_one: bool) -> int:
    """What 1e18 units of par tokens buy at the pool's own price, fee and depth aside.

    `sqrt_price` is the pool's, Q64.96; `zero_for_one` whether the par token is its first.
    """
    square = sqrt_price * sqrt_price
    if zero_for_one:
        return PRICE_UNITS * square // (Q96 * Q96)
    return PRICE_UNITS * Q96 * Q96 // square if square else 0


def slippage_bps(swap: Swap, price_e18: int) -> int:
    """What a swap received less than at this price, in basis points rounded up.

    A price of 0, of a pool in which par tokens buy nothing, cannot be fallen short of.
    """
    numerator, denominator = swap.spent * price_e18, PRICE_UNITS
    if swap.selling:
        numerator, denominator = swap.spent * PRICE_UNITS, price_e18
    if numerator == 0 or denominator == 0:
        return 0
    return ceil_div((numerator - swap.received * denominator) * BASIS_POINTS, numerator)


def worst(slippages: Iterable[int | None]) -> int | None:
    """The largest of those that there are."""
    return max((each for each in slippages if each is not None), default=None)


def realised(
    outcomes: Sequence[StepOutcome],
    settlement: Settlement,
    *,
    price_e18: int,
    duration_seconds: int,
) -> Realised:
    """The figures of a deal that has ended; every batch counts, also one that was in vain."""
    steps = tuple(figures_of(outcome, price_e18) for outcome in outcomes)
    return Realised(
        steps=steps,
        gas=sum(step.gas for step in steps),
        gas_cost_wei=sum(step.gas_cost_wei for step in steps),
        max_slippage_bps=worst(step.slippage_bps for step in steps),
        max_ltv_bps=max((_ltv_of(outcome) for outcome in outcomes), default=0),
        max_exposure_bps=max((_exposure_of(outcome) for outcome in outcomes), default=0),
        duration_seconds=duration_seconds,
        profit_usd8=settlement.profit_usd8,
    )


def figures_of(outcome: StepOutcome, price_e18: int) -> StepFigures:
    """One confirmed batch in figures."""
    swaps = outcome.course.swaps if outcome.course else ()
    return StepFigures(
        step=outcome.key.step,
        round=outcome.key.round,
        transactions=len(outcome.inclusions),
        gas=outcome.gas_used,
        gas_cost_wei=outcome.gas_cost_wei,
        ltv_bps=outcome.position.ltv_bps,
        slippage_bps=worst(slippage_bps(swap, price_e18) for swap in swaps),
    )


def _ltv_of(outcome: StepOutcome) -> int:
    return outcome.course.max_ltv_bps if outcome.course else outcome.position.ltv_bps


def _exposure_of(outcome: StepOutcome) -> int:
    return outcome.course.max_exposure_bps if outcome.course else outcome.position.exposure_bps


def _difference(name: str, predicted: int, actual: int) -> Difference:
    return Difference(
        name=name,
        predicted=predicted,
        realised=actual,
        difference=actual - predicted,
        ratio=(Decimal(actual) / Decimal(predicted)).quantize(_RATIO) if predicted else None,
    )
