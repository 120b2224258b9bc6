"""What is different between two versions is told, and nothing else."""

from typing import Any

from domain.policy import DealPolicy
from domain.policy_diff import changes

RULES = [
    {"name": "a", "effect": "allow", "banks": ["x", "y"]},
    {"name": "else", "effect": "deny"},
]


def policy(version: int = 1, **fields: Any) -> DealPolicy:
    return DealPolicy.parse({"version": version, "rules": RULES, **fields})


def test_versions_that_say_the_same_do_not_differ() -> None:
    assert changes(policy(1), policy(2)) == []


def test_each_difference_is_told_with_its_path() -> None:
    tiers = {"tiers": [{"above_usd": "2", "needed": 1}]}
    rules = [{"name": "b", "effect": "deny"}, {**RULES[0], "banks": ["x"], "max_usd": "5"}]
    changed = policy(2, rules=rules, approvals=tiers, exit={"attempts": 9})
    assert [tuple(each) for each in changes(policy(), changed)] == [
        ("approvals.tiers", "", None),
        ("approvals.tiers.1.above_usd", None, "2"),
        ("approvals.tiers.1.needed", None, "1"),
        ("exit.attempts", "5", "9"),
        ("rules", "a > else", "b > a"),
        ("rules.a.banks", "x, y", "x"),
        ("rules.a.max_usd", None, "5"),
        ("rules.b.effect", None, "deny"),
        ("rules.else.effect", "deny", None),
    ]
