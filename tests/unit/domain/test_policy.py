"""The deal policy as it is written down: what its sections mean."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from domain.amounts import BASIS_POINTS
from domain.deals import invalid_input_from
from domain.errors import InvalidConfiguration
from domain.policy import ExitPolicy, FreezePolicy, HaltPolicy, canonical, digest_of_content

DAY = timedelta(days=1)


def refusal(model: type[FreezePolicy | ExitPolicy], **fields: Any) -> InvalidConfiguration:
    with pytest.raises(ValidationError) as caught:
        model.model_validate(fields)
    error = invalid_input_from(caught.value)
    assert isinstance(error, InvalidConfiguration)
    return error


def test_probes_come_ever_more_seldom_up_to_the_last() -> None:
    freeze = FreezePolicy(probe_first_seconds=2, probe_last_seconds=10)
    waits = [freeze.probe_after(probes).total_seconds() for probes in (0, 1, 2, 3, 10_000)]
    assert waits == [2, 4, 8, 10, 10]


def test_the_last_probe_cannot_come_before_the_first() -> None:
    problem = refusal(FreezePolicy, probe_first_seconds=9, probe_last_seconds=8).problem
    assert problem.code == "invalid_configuration"
    assert problem.field == "freeze.probe_last_seconds"
    assert problem.limit == "at least probe_first_seconds, 9"


def test_a_freeze_is_put_up_with_for_ever_unless_the_policy_says_how_long() -> None:
    assert FreezePolicy().unwind_after is None
    assert FreezePolicy(unwind_after_seconds=90).unwind_after == timedelta(seconds=90)


def test_the_haircut_grows_by_the_day_up_to_its_maximum() -> None:
    freeze = FreezePolicy(haircut_bps_per_day=100, max_haircut_bps=250)
    assert [freeze.haircut_bps(DAY * days) for days in (-1, 0, 1, 2, 3)] == [0, 0, 100, 200, 250]
    assert freeze.haircut_bps(DAY / 1_000) == 1
    assert freeze.value_usd8(1_000_003, 2 * DAY) == 980_002


@given(
    per_day=st.integers(0, BASIS_POINTS - 1),
    most=st.integers(0, BASIS_POINTS - 1),
    value=st.integers(0, 10**30),
    days=st.lists(st.integers(0, 10**9), min_size=2, max_size=2),
)
def test_what_is_frozen_for_longer_is_never_reckoned_with_as_more(
    per_day: int, most: int, value: int, days: list[int]
) -> None:
    freeze = FreezePolicy(haircut_bps_per_day=per_day, max_haircut_bps=most)
    sooner, later = (freeze.value_usd8(value, timedelta(seconds=s)) for s in sorted(days))
    assert 0 <= later <= sooner <= value


def test_each_attempt_to_sell_goes_further_up_to_the_maximum() -> None:
    exits = ExitPolicy(first_slippage_bps=30, step_slippage_bps=20, max_slippage_bps=60)
    assert [exits.slippage_bps(attempt) for attempt in (1, 2, 3, 4)] == [30, 50, 60, 60]


def test_the_maximum_is_no_less_than_the_first() -> None:
    problem = refusal(ExitPolicy, first_slippage_bps=30, max_slippage_bps=20).problem
    assert problem.field == "exit.max_slippage_bps"


@pytest.mark.parametrize(
    ("text", "wad"),
    [("1.1", 11 * 10**17), ("1.10", 11 * 10**17), ("2.0345", 20_345 * 10**14)],
)
def test_the_health_factor_is_kept_exactly(text: str, wad: int) -> None:
    assert ExitPolicy(danger_health_factor=text).danger_health_factor_wad == wad


@pytest.mark.parametrize("text", ["0.9", "11.0", "1", "1.00001", "-1.1"])
def test_no_other_health_factor_is_one(text: str) -> None:
    with pytest.raises(ValidationError):
        ExitPolicy(danger_health_factor=text)


def test_equal_documents_have_one_digest() -> None:
    one, other = HaltPolicy(), HaltPolicy(on_reducing="unwind")
    assert canonical(one) == canonical(other) == '{"on_reducing":"unwind"}'
    assert digest_of_content(canonical(one)) == digest_of_content(canonical(other))
    assert digest_of_content(canonical(one)) != digest_of_content(
        canonical(HaltPolicy(on_reducing="hold"))
    )
