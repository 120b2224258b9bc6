"""What is different between two versions of the policy, one line for each thing that is."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from domain.policy import DealPolicy


class Change(NamedTuple):
    """One thing that differs; None where it is not there. Rules are named, not numbered."""

    path: str
    before: str | None
    after: str | None


def changes(before: DealPolicy, after: DealPolicy) -> list[Change]:
    """Everything but the version, in the order of the paths."""
    old, new = dict(_lines(before)), dict(_lines(after))
    return [
        Change(path, old.get(path), new.get(path))
        for path in sorted(old | new)
        if old.get(path) != new.get(path)
    ]


def _lines(policy: DealPolicy) -> Iterator[tuple[str, str]]:
    fields = policy.model_dump(mode="json", exclude_none=True, exclude={"version"})
    rules = fields.pop("rules")
    yield "rules", " > ".join(rule["name"] for rule in rules)
    for rule in rules:
        yield from _flat(f"rules.{rule.pop('name')}", rule)
    for name, section in fields.items():
        yield from _flat(name, section)


def _flat(path: str, value: Any) -> Iterator[tuple[str, str]]:  # noqa: ANN401 - any JSON
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _flat(f"{path}.{name}", inner)
    elif isinstance(value, list) and any(isinstance(inner, dict) for inner in value):
        for number, inner in enumerate(value, start=1):
            yield from _flat(f"{path}.{number}", inner)
    elif isinstance(value, list):
        yield path, ", ".join(str(inner) for inner in value)
    else:
        yield path, str(value)
