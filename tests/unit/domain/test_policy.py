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
from domain.policy import DealPolicy, ExitPolicy, FreezePolicy, HaltPolicy, Rule

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


# -- the document ---------------------------------------------------------------------------------

ALLOW = {"name": "traders", "effect": "allow", "roles": ["trader"]}
DENY = {"name": "else", "effect": "deny"}


def document(**fields: Any) -> dict[str, Any]:
    return {"version": 1, "rules": [ALLOW, DENY], **fields}


def tiers(*pairs: tuple[str, int]) -> dict[str, Any]:
    return {"tiers": [{"above_usd": above, "needed": needed} for above, needed in pairs]}


def test_a_document_survives_its_own_content() -> None:
    policy = DealPolicy.parse(
        document(
            approvals=tiers(("2_000_000", 1), ("5000000.5", 2)),
            velocity=[{"per": "bank", "window_seconds": 3600, "max_usd": "1e6"}],
        )
    )
    again = DealPolicy.model_validate_json(policy.content)
    assert again == policy
    assert again.digest == policy.digest
    assert '"above_usd":"5000000.5"' in policy.content
    assert DealPolicy.parse(document(version=2)).digest != policy.digest


def test_a_deal_keeps_the_version_and_what_it_says_of_the_way_out() -> None:
    policy = DealPolicy.parse(document(version=7, exit={"attempts": 9}))
    pinned = policy.pinned()
    assert (pinned.version, pinned.exit.attempts) == (7, 9)
    assert (pinned.freeze, pinned.halts) == (FreezePolicy(), HaltPolicy())


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"version": 0}, "version"),
        ({"rules": []}, "rules"),
        ({"rules": [DENY, DENY]}, "rules"),
        ({"rules": [{**ALLOW, "roles": []}]}, "rules.0.roles"),
        ({"rules": [{**ALLOW, "roles": ["boss"]}]}, "rules.0.roles.0"),
        ({"rules": [{**ALLOW, "hours": ["08:00-08:00"]}]}, "rules.0.hours"),
        ({"rules": [{**ALLOW, "hours": ["8-9"]}]}, "rules.0.hours.0"),
        ({"rules": [{**ALLOW, "max_usd": "0"}]}, "rules.0.max_usd"),
        ({"rules": [{**ALLOW, "max_usd": 0.5}]}, "rules.0.max_usd"),
        ({"rules": [{**ALLOW, "max_eth": "1"}]}, "rules.0.max_eth"),
        ({"approvals": tiers(("2", 1), ("2", 2))}, "approvals.tiers"),
        ({"approvals": tiers(("2", 2), ("3", 1))}, "approvals.tiers"),
        ({"velocity": [{"per": "user", "window_seconds": 1}]}, "velocity.0"),
        ({"exit": {"first_slippage_bps": 99, "max_slippage_bps": 9}}, "exit"),
    ],
)
def test_what_makes_no_sense_is_named(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidConfiguration) as caught:
        DealPolicy.parse(document(**fields))
    assert caught.value.problem.field == field
    assert "deal policy lint" in caught.value.problem.next_action


def test_what_is_no_document_at_all_is_named_too() -> None:
    with pytest.raises(InvalidConfiguration):
        DealPolicy.parse(["rules"])


def test_hours_past_midnight_are_the_rest_of_the_day_and_its_beginning() -> None:
    rule = Rule.model_validate({**DENY, "weekdays": ["tue"], "hours": ["22:00-06:30"]})
    day = 1_440
    assert rule.times == ((day, day + 390), (day + 1_320, 2 * day))
    held = [rule.holds_at(minute) for minute in (day - 1, day, day + 390, 2 * day - 1, 2 * day)]
    assert held == [False, True, False, True, False]


def test_a_rule_that_says_nothing_more_is_for_everything() -> None:
    assert Rule.model_validate(DENY).is_catch_all
    assert not Rule.model_validate(ALLOW).is_catch_all
    assert not Rule.model_validate({**DENY, "max_usd": "1"}).is_catch_all


def test_a_tier_is_for_what_is_worth_more() -> None:
    approvals = DealPolicy.parse(document(approvals=tiers(("2", 1), ("5", 2)))).approvals
    needed = []
    for value in (2 * 10**8, 2 * 10**8 + 1, 5 * 10**8, 6 * 10**8):
        tier = approvals.tier_of(value)
        needed.append(0 if tier is None else tier.needed)
    assert needed == [0, 1, 1, 2]
