"""What the policy allows, and how it says no."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.denials import MEANINGS, Denial
from domain.errors import PolicyDenied, error_from
from domain.identifiers import BankId, ChainId, ModuleId
from domain.identity import Principal, PrincipalId, Role
from domain.policy import DealPolicy
from domain.policy_decision import Facts, deciding_rule, evaluate, fits, usd

USD = 10**8
MONDAY_NOON = datetime(2026, 11, 30, 12, 0, tzinfo=UTC)
CATCH_ALL = {"name": "else", "effect": "deny"}


def policy(*rules: dict[str, Any], **fields: Any) -> DealPolicy:
    return DealPolicy.parse({"version": 3, "rules": [*rules, CATCH_ALL], **fields})


def rule(name: str = "r", effect: str = "allow", **fields: Any) -> dict[str, Any]:
    return {"name": name, "effect": effect, **fields}


def somebody(*roles: str, **fields: Any) -> Principal:
    known = {"principal_id": "ann", "banks": ["*"], "max_deal_usd8": 10**20}
    return Principal.model_validate({**known, "roles": roles or ["trader"], **fields})


def facts(who: Principal | None = None, **fields: Any) -> Facts:
    known = {
        "principal": who or somebody(),
        "bank": "bank-a",
        "chain_id": 138,
        "module": "usdtz",
        "value_usd8": 30_000 * USD,
        "at": MONDAY_NOON,
    }
    return Facts.model_validate({**known, **fields})


def denial(document: DealPolicy, asked: Facts) -> PolicyDenied:
    with pytest.raises(PolicyDenied) as caught:
        evaluate(document, asked)
    return caught.value


def test_the_first_rule_that_fits_decides() -> None:
    document = policy(rule("no-b", "deny", banks=["bank-b"]), rule("all"))
    assert evaluate(document, facts()).rule == "all"
    error = denial(document, facts(bank="bank-b"))
    assert error.problem.code == Denial.POLICY_RULE
    assert error.problem.value == "no-b"
    assert error.exit_code == 5


def test_what_no_rule_speaks_of_is_denied_without_a_final_rule_too() -> None:
    document = DealPolicy.parse({"version": 1, "rules": [rule(banks=["bank-b"])]})
    assert denial(document, facts()).problem.code == Denial.POLICY_NO_RULE


def test_a_deal_that_is_too_large_is_told_how_large_it_may_be() -> None:
    document = policy(rule("a", max_usd="1000"), rule("b", max_usd="20_000"))
    problem = denial(document, facts()).problem
    assert problem.code == Denial.POLICY_SIZE
    assert problem.limit == "20,000 USD"
    assert problem.actual == "30,000 USD"
    assert problem.headroom == "-10,000 USD"
    assert evaluate(document, facts(value_usd8=20_000 * USD)).rule == "b"


def test_a_smaller_size_that_is_denied_too_is_not_offered() -> None:
    document = policy(rule("no", "deny", max_usd="1000"), rule("a", max_usd="1000"))
    assert denial(document, facts()).problem.code == Denial.POLICY_NO_RULE


def test_a_deal_at_the_wrong_time_is_told_the_hours() -> None:
    document = policy(rule(hours=["08:00-10:00", "14:00-16:00"], weekdays=["mon", "fri"]))
    problem = denial(document, facts()).problem
    assert problem.code == Denial.POLICY_HOURS
    assert problem.limit == "08:00-10:00, 14:00-16:00 UTC on mon, fri"
    assert problem.actual == "mon 12:00 utc"
    assert evaluate(document, facts(at=MONDAY_NOON.replace(hour=14))).rule == "r"


def test_a_weekday_alone_is_enough_for_hours() -> None:
    problem = denial(policy(rule(weekdays=["sun"])), facts()).problem
    assert problem.limit == "00:00-24:00 UTC on sun"


@pytest.mark.parametrize(
    "fields",
    [
        {"roles": ["senior_trader"]},
        {"principals": ["bob"]},
        {"banks": ["bank-b"]},
        {"chains": [1]},
        {"modules": ["other"]},
    ],
)
def test_every_condition_counts(fields: dict[str, Any]) -> None:
    assert denial(policy(rule(**fields)), facts()).problem.code == Denial.POLICY_NO_RULE


def test_somebody_who_lost_the_role_is_denied() -> None:
    problem = denial(policy(rule()), facts(somebody("viewer"))).problem
    assert problem.code == Denial.NO_PERMISSION
    assert problem.limit == "trader, senior_trader"
    assert problem.actual == "viewer"


def test_somebody_without_any_role_is_denied() -> None:
    nobody = somebody().model_copy(update={"roles": frozenset()})
    assert denial(policy(rule()), facts(nobody)).problem.actual == "none"


def test_another_bank_is_denied() -> None:
    problem = denial(policy(rule()), facts(somebody(banks=["bank-b", "bank-c"]))).problem
    assert (problem.code, problem.limit) == (Denial.FOREIGN_BANK, "bank-b, bank-c")
    assert denial(policy(rule()), facts(somebody(banks=[]))).problem.limit == "none"


def test_ones_own_limit_holds_besides_the_policy() -> None:
    problem = denial(policy(rule()), facts(somebody(max_deal_usd8=29_999 * USD))).problem
    assert (problem.code, problem.headroom) == (Denial.OWN_SIZE, "-1 USD")


def test_more_than_five_million_takes_a_senior_trader_whatever_the_policy_says() -> None:
    large = {"value_usd8": 5_000_000 * USD + 1}
    problem = denial(policy(rule()), facts(**large)).problem
    assert (problem.code, problem.limit) == (Denial.SENIOR_TRADER, "5,000,000 USD")
    assert evaluate(policy(rule()), facts(somebody("senior_trader"), **large)).rule == "r"
    assert evaluate(policy(rule()), facts(value_usd8=5_000_000 * USD)).rule == "r"


def test_the_time_is_that_of_utc() -> None:
    document = policy(rule(weekdays=["mon"], hours=["23:00-24:00"]))
    assert evaluate(document, facts(at=datetime.fromisoformat("2026-12-01T01:30+02:00")))


def test_every_denial_has_a_meaning_and_comes_back_as_itself() -> None:
    assert set(MEANINGS) == set(Denial)
    for each in Denial:
        error = PolicyDenied.because(each, field="x")
        again = error_from(error.problem)
        assert isinstance(again, PolicyDenied)
        assert again.problem.code == each
        assert again.problem.next_action == MEANINGS[each].next_action


def test_dollars_are_written_to_the_last_unit() -> None:
    assert [usd(n) for n in (1, USD, -1_500 * USD)] == ["0.00000001 USD", "1 USD", "-1,500 USD"]


# -- properties -----------------------------------------------------------------------------------

BANKS, CHAINS, MODULES, PEOPLE = ["a", "b"], [1, 2], ["m", "n"], ["ann", "bob"]
ROLES = ["trader", "senior_trader"]
HOURS = ["00:00-12:00", "12:00-24:00", "18:00-06:00"]


def some(values: list[Any]) -> st.SearchStrategy[Any]:
    return st.none() | st.lists(st.sampled_from(values), min_size=1, unique=True)


RULES = st.fixed_dictionaries(
    {
        "effect": st.sampled_from(["allow", "deny"]),
        "roles": some(ROLES),
        "principals": some(PEOPLE),
        "banks": some(BANKS),
        "chains": some(CHAINS),
        "modules": some(MODULES),
        "weekdays": some(["mon", "tue"]),
        "hours": some(HOURS),
        "max_usd": st.none() | st.sampled_from(["10", "20"]),
    }
)


@st.composite
def policies(draw: st.DrawFn) -> DealPolicy:
    rules = draw(st.lists(RULES, min_size=1, max_size=6))
    named = [{"name": f"r{number}", **each} for number, each in enumerate(rules)]
    above = sorted(draw(st.sets(st.integers(1, 40), max_size=3)))
    needed = sorted(draw(st.lists(st.integers(1, 3), min_size=len(above), max_size=len(above))))
    tiers = [{"above_usd": str(a), "needed": n} for a, n in zip(above, needed, strict=True)]
    return DealPolicy.parse({"version": 1, "rules": named, "approvals": {"tiers": tiers}})


ASKED = st.builds(
    Facts,
    principal=st.builds(
        Principal,
        principal_id=st.sampled_from([PrincipalId(name) for name in [*PEOPLE, "eve"]]),
        roles=st.sets(st.sampled_from([Role(name) for name in ROLES]), min_size=1).map(frozenset),
        banks=st.just(frozenset({"*"})),
        max_deal_usd8=st.just(10**20),
    ),
    bank=st.sampled_from([BankId(name) for name in [*BANKS, "c"]]),
    chain_id=st.sampled_from([ChainId(number) for number in [*CHAINS, 3]]),
    module=st.sampled_from([ModuleId(name) for name in [*MODULES, "o"]]),
    value_usd8=st.integers(0, 45 * USD),
    at=st.integers(0, 30 * 1_440).map(lambda minutes: MONDAY_NOON + timedelta(minutes=minutes)),
)


@given(document=policies(), asked=ASKED)
def test_nothing_is_allowed_that_no_allowing_rule_fits(document: DealPolicy, asked: Facts) -> None:
    allowing = [each.name for each in document.rules if each.effect == "allow"]
    first = next((each for each in document.rules if fits(each, asked)), None)
    try:
        admission = evaluate(document, asked)
    except PolicyDenied:
        assert first is None or first.effect == "deny"
    else:
        assert first is not None
        assert admission.rule == first.name
        assert admission.rule in allowing


@given(document=policies(), asked=ASKED)
def test_what_a_denial_offers_is_allowed(document: DealPolicy, asked: Facts) -> None:
    try:
        evaluate(document, asked)
    except PolicyDenied as error:
        problem = error.problem
    else:
        return
    if problem.code == Denial.POLICY_SIZE and problem.limit is not None:
        smaller = int(problem.limit.split()[0]) * USD
        assert evaluate(document, asked.model_copy(update={"value_usd8": smaller}))


@given(document=policies(), asked=ASKED, more=st.integers(0, 50 * USD))
def test_a_larger_deal_never_needs_fewer_people(
    document: DealPolicy, asked: Facts, more: int
) -> None:
    larger = asked.model_copy(update={"value_usd8": asked.value_usd8 + more})
    try:
        before, after = evaluate(document, asked), evaluate(document, larger)
    except PolicyDenied:
        return
    assert after.approvals_needed >= before.approvals_needed


@given(document=policies(), asked=ASKED)
def test_deciding_is_a_matter_of_order_alone(document: DealPolicy, asked: Facts) -> None:
    decided = deciding_rule(document, asked)
    later = [each for each in document.rules if fits(each, asked)]
    assert decided == (later[0] if later else None)
