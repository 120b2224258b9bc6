"""Rules that can never decide are found, and no others are called so."""

from datetime import UTC, datetime
from itertools import combinations, product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.identifiers import BankId, ChainId, ModuleId
from domain.identity import Principal, PrincipalId, Role
from domain.policy import DealPolicy
from domain.policy_decision import Facts, deciding_rule
from domain.policy_lint import lint

USD = 10**8
CATCH_ALL = {"name": "else", "effect": "deny"}


def findings(*rules: dict[str, Any]) -> list[tuple[str, str, tuple[str, ...]]]:
    return [tuple(each) for each in lint(DealPolicy.parse({"version": 1, "rules": list(rules)}))]


def rule(name: str, effect: str = "allow", **fields: Any) -> dict[str, Any]:
    return {"name": name, "effect": effect, **fields}


def test_a_policy_that_says_what_it_means_has_no_findings() -> None:
    assert (
        findings(rule("a", roles=["trader"], max_usd="5"), rule("b", banks=["x"]), CATCH_ALL) == []
    )


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({}, {"roles": ["trader"]}),
        ({"roles": ["trader", "senior_trader"]}, {"roles": ["trader"]}),
        ({"principals": ["ann", "bob"]}, {"principals": ["bob"]}),
        ({"banks": ["x"]}, {"banks": ["x"], "chains": [1]}),
        ({"chains": [1, 2]}, {"chains": [2], "max_usd": "7"}),
        ({"modules": ["m"]}, {"modules": ["m"]}),
        ({"hours": ["08:00-18:00"]}, {"hours": ["09:00-10:00"], "weekdays": ["sat"]}),
        ({"weekdays": ["sat", "sun"]}, {"weekdays": ["sun"]}),
        ({"max_usd": "10"}, {"max_usd": "10"}),
        ({"max_usd": "10"}, {"max_usd": "9"}),
    ],
)
def test_a_rule_within_an_earlier_one_is_dead_and_not_the_other_way_round(
    first: dict[str, Any], second: dict[str, Any]
) -> None:
    dead = findings(rule("a", **first), rule("b", **second), CATCH_ALL)
    assert ("dead", "b", ("a",)) in dead
    if first != second:
        other = findings(rule("b", **second), rule("a", **first), CATCH_ALL)
        assert not [each for each in other if each[:2] == ("dead", "a")]


def test_several_rules_together_take_everything_of_one() -> None:
    rules = (
        rule("morning", hours=["00:00-12:00"]),
        rule("small", max_usd="10", hours=["12:00-24:00"]),
        rule("bank", banks=["x"]),
    )
    together = findings(*rules, rule("late", banks=["x"], max_usd="10"), CATCH_ALL)
    assert together == [("dead", "late", ("morning", "small"))]
    assert findings(*rules, rule("larger", chains=[1], max_usd="11"), CATCH_ALL) == []


def test_a_missing_final_denial_is_found() -> None:
    assert findings(rule("a")) == [("no_final_deny", "a", ())]
    found = lint(DealPolicy.parse({"version": 1, "rules": [rule("a", "deny", banks=["x"])]}))
    assert [each.text for each in found] == ["the last rule, a, is not a denial of everything"]
    assert found[0].is_error


def test_a_denial_that_is_allowed_before_in_part_is_told_but_no_error() -> None:
    document = [rule("a", roles=["trader"]), rule("b", "deny", banks=["x"]), CATCH_ALL]
    found = lint(DealPolicy.parse({"version": 1, "rules": document}))
    assert [each.text for each in found] == ["rule b does not deny what a allow before it"]
    assert not found[0].is_error


def test_a_denial_beside_what_is_allowed_is_no_finding() -> None:
    assert findings(rule("a", banks=["y"]), rule("b", "deny", banks=["x"]), CATCH_ALL) == []
    early, late = {"hours": ["08:00-09:00"]}, {"hours": ["09:00-10:00"]}
    assert findings(rule("a", **early), rule("b", "deny", **late), CATCH_ALL) == []
    assert findings(rule("c", "deny", **early), rule("b", "deny", chains=[1]), CATCH_ALL) == []


def test_the_dead_are_told_in_words() -> None:
    found = lint(DealPolicy.parse({"version": 1, "rules": [rule("a"), CATCH_ALL]}))
    assert [each.text for each in found] == ["rule else can never decide: a take all of it"]


# -- every small world ----------------------------------------------------------------------------

ROLES = [Role.TRADER, Role.SENIOR_TRADER]
SOME: dict[str, list[Any]] = {
    "roles": ["trader", "senior_trader"],
    "principals": ["ann"],
    "banks": ["x"],
    "chains": [1],
    "modules": ["m"],
}


def world() -> list[Facts]:
    """Everybody and everything that these rules could tell apart."""
    some_roles = [set(each) for size in range(3) for each in combinations(ROLES, size)]
    times = [datetime(2024, 1, day, hour, tzinfo=UTC) for day in (1, 2) for hour in (6, 13, 20)]
    sizes = [10 * USD, 20 * USD, 20 * USD + 1]
    return [
        Facts(
            principal=Principal(principal_id=PrincipalId(who), roles=frozenset(roles)),
            bank=BankId(bank),
            chain_id=ChainId(chain),
            module=ModuleId(module),
            value_usd8=size,
            at=at,
        )
        for roles, who, bank, chain, module, size, at in product(
            some_roles, ("ann", "eve"), ("x", "y"), (1, 2), ("m", "n"), sizes, times
        )
    ]


WORLD = world()


def some(values: list[Any]) -> st.SearchStrategy[Any]:
    return st.none() | st.lists(st.sampled_from(values), min_size=1, unique=True)


RULE = st.fixed_dictionaries(
    {
        "effect": st.sampled_from(["allow", "deny"]),
        **{name: some(values) for name, values in SOME.items()},
        "weekdays": st.none() | st.just(["mon"]),
        "hours": st.none() | st.sampled_from([["00:00-12:00"], ["12:00-18:00"], ["18:00-12:00"]]),
        "max_usd": st.none() | st.sampled_from(["10", "20"]),
    }
)


@given(rules=st.lists(RULE, min_size=2, max_size=5))
def test_a_rule_is_called_dead_exactly_if_it_never_decides(rules: list[dict[str, Any]]) -> None:
    named = [{"name": f"r{number}", **each} for number, each in enumerate(rules)]
    document = DealPolicy.parse({"version": 1, "rules": named})
    deciding = {each.name for facts in WORLD if (each := deciding_rule(document, facts))}
    dead = {each.rule: each.by for each in lint(document) if each.kind == "dead"}
    assert set(dead) == {each.name for each in document.rules} - deciding
    for name, takers in dead.items():
        assert set(takers) <= deciding, name
