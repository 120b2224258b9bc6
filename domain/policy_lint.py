"""What nobody can mean in a policy: rules that can never decide, and denials that are undercut.

A rule is dead if the rules before it take everything that it is for. That is found by cases: who,
bank, chain, module and time are cut into the pieces that the rules tell apart, and every piece of
the rule must be taken by a rule before it.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, Literal, NamedTuple

from domain.policy import DealPolicy, Rule

_OTHER: Final = None
"""A principal, bank, chain or module that no rule names; nobody's role."""


class Finding(NamedTuple):
    """One finding about one rule; `dead` and `no_final_deny` are errors, the others are not."""

    kind: Literal["dead", "no_final_deny", "undercut"]
    rule: str
    by: tuple[str, ...]
    """The rules that decide in its place."""

    @property
    def is_error(self) -> bool:
        """Whether a policy with it is not put in force."""
        return self.kind != "undercut"

    @property
    def text(self) -> str:
        """The finding as a sentence."""
        names = ", ".join(self.by)
        return {
            "dead": f"rule {self.rule} can never decide: {names} take all of it",
            "no_final_deny": f"the last rule, {self.rule}, is not a denial of everything",
            "undercut": f"rule {self.rule} does not deny what {names} allow before it",
        }[self.kind]


class _Dimension(NamedTuple):
    """One thing that rules tell apart."""

    pieces: Callable[[Rule, Sequence[Rule]], Iterable[Any]]
    """The pieces of a rule that the others may treat differently."""
    takes: Callable[[Rule, Any], bool]


def lint(policy: DealPolicy) -> list[Finding]:
    """Everything that is wrong with the rules, in their order."""
    return [*_of_rules(policy.rules), *_of_the_end(policy.rules)]


def _of_rules(rules: Sequence[Rule]) -> Iterator[Finding]:
    for number, rule in enumerate(rules):
        earlier = [each for each in rules[:number] if _meet(rule, each)]
        takers = _takers(rule, earlier, _DIMENSIONS)
        if takers is not None:
            yield Finding("dead", rule.name, _in_order(takers, rules))
        elif rule.effect == "deny" and not rule.is_catch_all:
            allowing = tuple(each.name for each in earlier if each.effect == "allow")
            if allowing:
                yield Finding("undercut", rule.name, allowing)


def _of_the_end(rules: Sequence[Rule]) -> Iterator[Finding]:
    last = rules[-1]
    if last.effect != "deny" or not last.is_catch_all:
        yield Finding("no_final_deny", last.name, ())


def _takers(
    rule: Rule, earlier: Sequence[Rule], dimensions: Sequence[_Dimension]
) -> set[str] | None:
    """The rules that decide in place of this one; None if something of it is left."""
    if not earlier:
        return None
    if not dimensions:
        return {earlier[0].name}
    first, *others = dimensions
    found: set[str] = set()
    known: dict[tuple[str, ...], set[str] | None] = {}
    for piece in first.pieces(rule, earlier):
        taking = [each for each in earlier if first.takes(each, piece)]
        names = tuple(each.name for each in taking)
        if names not in known:
            known[names] = _takers(rule, taking, others)
        takers = known[names]
        if takers is None:
            return None
        found |= takers
    return found


def _named(field: str) -> _Dimension:
    """Something that a rule lists by name, or does not care about."""

    def pieces(rule: Rule, earlier: Sequence[Rule]) -> list[Any]:
        named = getattr(rule, field)
        if named is not None:
            return list(named)
        return [_OTHER, *sorted({name for each in earlier for name in getattr(each, field) or ()})]

    def takes(rule: Rule, piece: object) -> bool:
        named = getattr(rule, field)
        return named is None or piece in named

    return _Dimension(pieces, takes)


def _roles_of(rule: Rule, _earlier: Sequence[Rule]) -> list[Any]:
    """Whoever has one role only is the hardest to take; whoever has none, for a rule for all."""
    return [_OTHER] if rule.roles is None else list(rule.roles)


def _minutes_of(rule: Rule, earlier: Sequence[Rule]) -> list[int]:
    """The first minutes of the pieces that the rules cut the week into."""
    cuts = {minute for each in (rule, *earlier) for times in each.times for minute in times}
    return sorted(minute for minute in cuts if rule.holds_at(minute))


def _largest(rule: Rule, _earlier: Sequence[Rule]) -> list[int | None]:
    """Who takes the largest takes all smaller ones; None is larger than any."""
    return [rule.max_usd]


def _takes_size(rule: Rule, size: int | None) -> bool:
    return rule.max_usd is None or (size is not None and size <= rule.max_usd)


_DIMENSIONS: Final = (
    _Dimension(_largest, _takes_size),
    _Dimension(_roles_of, lambda rule, role: rule.roles is None or role in rule.roles),
    *(_named(field) for field in ("principals", "banks", "chains", "modules")),
    _Dimension(_minutes_of, Rule.holds_at),
)


def _meet(one: Rule, other: Rule) -> bool:
    """Whether something can be for both rules; by their sizes and roles something always can."""
    lists = ("principals", "banks", "chains", "modules")
    return all(_share(getattr(one, name), getattr(other, name)) for name in lists) and any(
        begins < other_ends and other_begins < ends
        for begins, ends in one.times
        for other_begins, other_ends in other.times
    )


def _share(one: Sequence[object] | None, other: Sequence[object] | None) -> bool:
    return one is None or other is None or not set(one).isdisjoint(other)


def _in_order(names: set[str], rules: Sequence[Rule]) -> tuple[str, ...]:
    return tuple(rule.name for rule in rules if rule.name in names)
