"""What a halt covers, which of several counts, and who may end it."""

from datetime import UTC, datetime, timedelta
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.deals import Step
from domain.errors import Halted, InvalidInput, LimitExceeded
from domain.halts import (
    RISK_INCREASING,
    Halt,
    Scope,
    ScopeKind,
    TradingState,
    halted,
    is_release,
    stops_for_good,
    strictest,
)
from domain.identifiers import BankId, ChainId, ModuleId

NOON: Final = datetime(2026, 11, 28, 12, tzinfo=UTC)
OURS: Final = (BankId("bank-one"), ChainId(138), ModuleId("usdtz"))


def halt(scope: str, state: TradingState = TradingState.HALTED, minutes: int = 0) -> Halt:
    return Halt(
        scope=Scope.parse(scope),
        state=state,
        who="risk-1",
        why="the market moves",
        since=NOON + timedelta(minutes=minutes),
        set_by=("risk-1",),
        version=1,
    )


@pytest.mark.parametrize("text", ["desk", "bank=bank-one", "chain=138", "module=usdtz"])
def test_a_scope_is_written_as_it_is_read(text: str) -> None:
    assert str(Scope.parse(f" {text} ")) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "desk=all",
        "bank",
        "bank=",
        "bank=Bank One",
        "module=-",
        "chain",
        "chain=0138",
        "chain=one",
        "chain=١٣٨",
        "chain=-1",
        "account=7",
    ],
)
def test_what_is_no_scope_is_refused_with_what_would_be(text: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        Scope.parse(text)
    assert refused.value.problem.field == "scope"
    assert refused.value.problem.limit == "desk, bank=ID, chain=ID or module=ID"


@pytest.mark.parametrize(
    ("scope", "covers"),
    [
        ("desk", True),
        ("bank=bank-one", True),
        ("bank=bank-two", False),
        ("chain=138", True),
        ("chain=1", False),
        ("module=usdtz", True),
        ("module=other", False),
    ],
)
def test_a_scope_covers_what_belongs_to_it(scope: str, covers: bool) -> None:  # noqa: FBT001 - a parameter of the test
    assert Scope.parse(scope).covers(*OURS) is covers


def test_nothing_that_leads_out_is_stopped() -> None:
    assert RISK_INCREASING.isdisjoint(
        {Step.REDEEM, Step.TOP_UP, Step.UNWIND, Step.SETTLE, Step.SWEEP}
    )
    assert RISK_INCREASING.isdisjoint({Step.SCHEDULE, Step.EXECUTE, Step.REVOKE})
    assert {Step.FUND, Step.RUN, Step.BORROW, Step.SWAP} < RISK_INCREASING


STATES: Final = st.sampled_from(TradingState)
SCOPES: Final = st.sampled_from(
    ["desk", "bank=bank-one", "bank=bank-two", "chain=138", "chain=1", "module=usdtz", "module=b"]
)


@given(st.dictionaries(SCOPES, st.tuples(STATES, st.integers(0, 9))))
def test_the_strictest_of_those_that_cover_a_deal_counts(
    set_for: dict[str, tuple[TradingState, int]],
) -> None:
    halts = [halt(scope, state, minutes) for scope, (state, minutes) in set_for.items()]
    found = strictest(halts, *OURS)
    covering = [each for each in halts if each.scope.covers(*OURS)]
    highest = max((each.state.strictness for each in covering), default=0)
    assert (found.state.strictness if found else 0) == highest
    if found is not None:
        equals = [each for each in covering if each.state is found.state]
        assert found.since == min(each.since for each in equals)


@given(STATES, STATES)
def test_a_release_leads_towards_active(before: TradingState, after: TradingState) -> None:
    order = [TradingState.ACTIVE, TradingState.REDUCING, TradingState.HALTED]
    assert is_release(before, after) is (order.index(after) < order.index(before))


def test_what_a_halt_stops_is_told_with_who_why_and_how_it_ends() -> None:
    problem = halted(halt("bank=bank-one")).problem
    assert problem.code == Halted.code == "halted"
    assert problem.message == "bank=bank-one halted by risk-1: the market moves"
    assert (problem.field, problem.value) == ("bank", "bank-one")
    assert (problem.limit, problem.actual) == ("ACTIVE", "HALTED")
    assert "deal halt release bank=bank-one" in problem.next_action
    whole = halted(halt("desk", TradingState.REDUCING)).problem
    assert whole.message == "desk reducing by risk-1: the market moves"
    assert (whole.field, whole.value) == ("desk", "desk")


def test_only_reducing_ends_a_running_deal() -> None:
    assert stops_for_good(halted(halt("desk", TradingState.REDUCING)).problem)
    assert not stops_for_good(halted(halt("desk")).problem)
    other = LimitExceeded("too much", next_action="less", actual="REDUCING").problem
    assert not stops_for_good(other)


def test_every_kind_of_scope_can_be_written() -> None:
    assert {Scope.parse(text).kind for text in ("desk", "bank=b", "chain=1", "module=m")} == set(
        ScopeKind
    )
