"""A prediction says what it is held against afterwards, and both are measured alike."""

from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from domain.deals import Step
from domain.identifiers import ChainId, DealId
from domain.pool import Q96
from domain.predictions import (
    COMPARED,
    PRICE_UNITS,
    Comparison,
    Prediction,
    Realised,
    StepFigures,
    pool_price_e18,
    realised,
    slippage_bps,
    worst,
)
from domain.settlement import Settlement
from domain.transactions import BatchKey, Course, Inclusion, StepOutcome, Swap
from tests.unit.domain.test_positions import position

DOLLAR = 10**6
PAR = PRICE_UNITS


def figures(**changes: Any) -> StepFigures:
    usual: dict[str, Any] = {
        "step": Step.SWAP,
        "round": 1,
        "transactions": 2,
        "gas": 200_000,
        "gas_cost_wei": 200_000 * 10**9,
        "ltv_bps": 2_000,
        "slippage_bps": 12,
    }
    return StepFigures.model_validate(usual | changes)


def prediction(**changes: Any) -> Prediction:
    usual: dict[str, Any] = {
        "steps": (figures(),),
        "gas": 200_000,
        "gas_cost_wei": 200_000 * 10**9,
        "max_slippage_bps": 12,
        "max_ltv_bps": 2_000,
        "max_exposure_bps": 1_900,
        "duration_seconds": 8,
        "profit_usd8": 60_00000000,
        "chain_id": ChainId(138),
        "block_number": 7,
        "block_hash": "0x01",
        "timestamp": 1_700_000_000,
        "gas_price_wei": 10**9,
        "pool_price_e18": PAR,
    }
    return Prediction.model_validate(usual | changes)


def outcome(step: Step, *, course: Course | None = None, gas: int = 21_000) -> StepOutcome:
    mined = Inclusion(
        intent_id="i",
        purpose="p",
        transaction_hash="0x01",
        block_number=8,
        block_hash="0x02",
        succeeded=True,
        gas_used=gas,
        effective_gas_price=3,
        value=0,
    )
    return StepOutcome(
        key=BatchKey(deal_id=DealId("alpha"), step=step),
        inclusions=(mined, mined),
        changes={},
        treasury_changes={},
        position=position(
            collateral_usd8=1_000, debt_usd8=100, discount=1, par_price_usd8=100, par_decimals=0
        ),
        course=course,
    )


SETTLED = Settlement(ether_wei=-5, par=7, profit_usd8=55_00000000)


def test_the_price_of_a_pool_is_that_of_either_of_its_tokens() -> None:
    assert pool_price_e18(2 * Q96, zero_for_one=True) == 4 * PAR
    assert pool_price_e18(2 * Q96, zero_for_one=False) == PAR // 4
    assert pool_price_e18(0, zero_for_one=False) == 0
    assert pool_price_e18(0, zero_for_one=True) == 0


@pytest.mark.parametrize(
    ("swap", "price", "bps"),
    [
        (Swap(spent=10_000, received=10_000), PAR, 0),
        (Swap(spent=10_000, received=9_988), PAR, 12),
        (Swap(spent=10_000, received=10_100), PAR, -100),
        (Swap(spent=10_000, received=10_000), PAR * 102 // 100, 197),  # 1.96 % of 1.02
        (Swap(spent=10_200, received=10_000, selling=True), PAR * 102 // 100, 0),
        (Swap(spent=10_200, received=9_900, selling=True), PAR * 102 // 100, 100),
        (Swap(spent=100_000, received=99_999), PAR, 1),  # rounded up
        (Swap(spent=0, received=5), PAR, 0),
        (Swap(spent=5, received=0), 0, 0),
        (Swap(spent=5, received=0, selling=True), 0, 0),
    ],
)
def test_slippage_is_what_is_missing_of_the_pools_own_price(
    swap: Swap, price: int, bps: int
) -> None:
    assert slippage_bps(swap, price) == bps


@given(
    spent=st.integers(1, 10**30),
    received=st.integers(0, 10**30),
    price=st.integers(1, 10**20),
    selling=st.booleans(),
)
def test_slippage_is_exact_but_for_rounding_up(
    spent: int, received: int, price: int, *, selling: bool
) -> None:
    swap = Swap(spent=spent, received=received, selling=selling)
    rate = Fraction(PRICE_UNITS, price) if selling else Fraction(price, PRICE_UNITS)
    exact = (1 - Fraction(received) / (spent * rate)) * 10_000
    assert 0 <= slippage_bps(swap, price) - exact < 1


def test_the_worst_of_nothing_is_nothing() -> None:
    assert worst([]) is None
    assert worst([None, 3, -7]) == 3


def test_what_was_realised_adds_up_every_batch_that_was_mined() -> None:
    swaps = (Swap(spent=1_000, received=990), Swap(spent=1_000, received=1_000))
    course = Course(max_ltv_bps=2_500, max_exposure_bps=2_400, swaps=swaps)
    done = realised(
        [outcome(Step.BORROW), outcome(Step.RUN, course=course, gas=100_000)],
        SETTLED,
        price_e18=PAR,
        duration_seconds=9,
    )
    assert (done.gas, done.gas_cost_wei) == (242_000, 726_000)
    assert (done.max_ltv_bps, done.max_exposure_bps, done.max_slippage_bps) == (2_500, 2_400, 100)
    assert (done.duration_seconds, done.profit_usd8) == (9, 55_00000000)
    assert [step.slippage_bps for step in done.steps] == [None, 100]
    assert [step.ltv_bps for step in done.steps] == [1_000, 1_000]
    assert [step.transactions for step in done.steps] == [2, 2]


def test_a_batch_that_was_recorded_without_its_course_is_measured_by_its_end() -> None:
    done = realised([outcome(Step.BORROW)], SETTLED, price_e18=PAR, duration_seconds=1)
    assert (done.max_ltv_bps, done.max_exposure_bps) == (1_000, 1_000)
    assert done.max_slippage_bps is None


def test_a_deal_without_a_batch_has_realised_nothing_but_its_settlement() -> None:
    done = realised([], SETTLED, price_e18=PAR, duration_seconds=0)
    assert (done.steps, done.gas, done.max_ltv_bps, done.max_exposure_bps) == ((), 0, 0, 0)


def test_every_figure_is_compared() -> None:
    actual = Realised(
        steps=(),
        gas=210_000,
        gas_cost_wei=0,
        max_slippage_bps=-3,
        max_ltv_bps=1_900,
        max_exposure_bps=1_900,
        duration_seconds=4,
        profit_usd8=-1,
    )
    differences = {
        d.name: d for d in Comparison(predicted=prediction(), realised=actual).differences
    }
    assert tuple(differences) == COMPARED
    gas = differences["gas"]
    assert (gas.predicted, gas.realised, gas.difference) == (200_000, 210_000, 10_000)
    assert gas.ratio == Decimal("1.0500")
    assert differences["gas_cost_wei"].ratio == 0
    assert (differences["max_slippage_bps"].difference, differences["profit_usd8"].realised) == (
        -15,
        -1,
    )


def test_what_one_of_them_does_not_have_is_not_compared() -> None:
    actual = realised([], SETTLED, price_e18=PAR, duration_seconds=0)
    names = [d.name for d in Comparison(predicted=prediction(), realised=actual).differences]
    assert "max_slippage_bps" not in names
    swapless = prediction(max_slippage_bps=None, gas=0)
    some = Realised.model_validate(actual.model_dump() | {"max_slippage_bps": 1})
    differences = {d.name: d for d in Comparison(predicted=swapless, realised=some).differences}
    assert "max_slippage_bps" not in differences
    assert differences["gas"].ratio is None  # of nothing


def test_the_digest_is_that_of_every_figure() -> None:
    digest = prediction().digest()
    assert prediction().digest() == digest
    assert Prediction.model_validate_json(prediction().model_dump_json()).digest() == digest
    for change in (
        {"profit_usd8": 1},
        {"block_hash": "0x02"},
        {"steps": ()},
        {"max_slippage_bps": None},
    ):
        assert prediction(**change).digest() != digest


def test_a_prediction_cannot_be_changed_afterwards() -> None:
    with pytest.raises(ValidationError):
        prediction().gas = 1  # type: ignore[misc]
