"""Whether the policy lets somebody start a deal: the first rule that fits decides, else nothing.

What holds whatever the policy says is checked first: the initiator's own banks and largest deal,
and that the largest deals are for senior traders.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated, Final

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from domain.amounts import USD_DECIMALS, Units, format_units
from domain.denials import Denial
from domain.errors import PolicyDenied
from domain.identifiers import BankId, ChainId, ModuleId
from domain.identity import Permission, Principal, Role, roles_with
from domain.limits import SENIOR_TRADER_ABOVE_USD8
from domain.policy import DealPolicy, Name, PolicyVersion, Rule, Weekday

_DAY_MINUTES: Final = 1_440


class Facts(BaseModel):
    """What a rule is applied to: who asks for what, its value in 1e-8 USD, and when."""

    model_config = ConfigDict(frozen=True)

    principal: Principal
    bank: BankId
    chain_id: ChainId
    module: ModuleId
    value_usd8: Units
    at: AwareDatetime

    @property
    def minute(self) -> int:
        """The minute of the week, from Monday 00:00 UTC."""
        at = self.at.astimezone(UTC)
        return at.weekday() * _DAY_MINUTES + at.hour * 60 + at.minute


class Admission(BaseModel):
    """That the policy allows a deal: by which rule, and who has to approve it."""

    model_config = ConfigDict(frozen=True)

    policy_version: PolicyVersion
    rule: Name
    approvals_needed: Annotated[int, Field(ge=0)]


def evaluate(policy: DealPolicy, facts: Facts) -> Admission:
    """Return what the policy allows; raises `PolicyDenied` whose code says why it does not."""
    check_initiator(facts)
    rule = deciding_rule(policy, facts)
    if rule is None or rule.effect == "deny":
        raise _denied(policy, facts, rule)
    tier = policy.approvals.tier_of(facts.value_usd8)
    return Admission(
        policy_version=policy.version, rule=rule.name, approvals_needed=tier.needed if tier else 0
    )


def check_initiator(facts: Facts) -> None:
    """Raise `PolicyDenied` for what no policy can allow this initiator."""
    who, value = facts.principal, facts.value_usd8
    if Permission.DEALS_START not in who.permissions:
        raise PolicyDenied.because(
            Denial.NO_PERMISSION,
            field="initiator",
            value=who.principal_id,
            limit=_listed(roles_with(Permission.DEALS_START)),
            actual=_listed(sorted(who.roles)) or "none",
        )
    if not who.has_bank(facts.bank):
        raise PolicyDenied.because(
            Denial.FOREIGN_BANK,
            field="bank",
            value=facts.bank,
            limit=_listed(sorted(who.banks)) or "none",
            actual=facts.bank,
        )
    if value > SENIOR_TRADER_ABOVE_USD8 and Role.SENIOR_TRADER not in who.roles:
        raise _too_large(Denial.SENIOR_TRADER, value, SENIOR_TRADER_ABOVE_USD8)
    if value > who.max_deal_usd8:
        raise _too_large(Denial.OWN_SIZE, value, who.max_deal_usd8)


def deciding_rule(policy: DealPolicy, facts: Facts) -> Rule | None:
    """The first rule that fits; None if none does."""
    return next((rule for rule in policy.rules if fits(rule, facts)), None)


def fits(rule: Rule, facts: Facts) -> bool:
    """Whether a rule is for this."""
    who = facts.principal
    return (
        (rule.roles is None or not who.roles.isdisjoint(rule.roles))
        and (rule.principals is None or who.principal_id in rule.principals)
        and (rule.banks is None or facts.bank in rule.banks)
        and (rule.chains is None or facts.chain_id in rule.chains)
        and (rule.modules is None or facts.module in rule.modules)
        and (rule.max_usd is None or facts.value_usd8 <= rule.max_usd)
        and rule.holds_at(facts.minute)
    )


def usd(usd8: int) -> str:
    """An amount of 1e-8 USD as people read it."""
    whole, point, places = format_units(usd8, USD_DECIMALS).partition(".")
    return f"{int(whole):,}{point}{places} USD"


def _denied(policy: DealPolicy, facts: Facts, rule: Rule | None) -> PolicyDenied:
    """Why it is denied, and what would be allowed instead."""
    if rule is not None and not rule.is_catch_all:
        return PolicyDenied.because(
            Denial.POLICY_RULE, field="rule", value=rule.name, limit=rule.name, actual=_who(facts)
        )
    size = max(_sizes_allowed(policy, facts), default=None)
    if size is not None:
        return _too_large(Denial.POLICY_SIZE, facts.value_usd8, size)
    hours = next(_hours_allowed(policy, facts), None)
    if hours is not None:
        return PolicyDenied.because(
            Denial.POLICY_HOURS,
            field="hours",
            value=facts.at.astimezone(UTC).isoformat(timespec="minutes"),
            limit=hours,
            actual=_moment(facts.at),
        )
    return PolicyDenied.because(
        Denial.POLICY_NO_RULE,
        field="rule",
        value=f"policy version {policy.version}",
        limit=_listed(rule.name for rule in policy.rules if rule.effect == "allow") or "none",
        actual=_who(facts),
    )


def _sizes_allowed(policy: DealPolicy, facts: Facts) -> Iterator[int]:
    """Smaller sizes, each the largest of a rule, that are allowed to whoever asks."""
    for rule in policy.rules:
        if rule.max_usd is not None and rule.max_usd < facts.value_usd8:
            smaller = facts.model_copy(update={"value_usd8": rule.max_usd})
            if _allows(policy, smaller):
                yield rule.max_usd


def _hours_allowed(policy: DealPolicy, facts: Facts) -> Iterator[str]:
    """Hours at which it is allowed, as the rule that does so has them."""
    for rule in policy.rules:
        if any(_allows(policy, facts.model_copy(update={"at": _at(t)})) for t, _ in rule.times):
            days = _listed(rule.weekdays or Weekday)
            yield f"{_listed(rule.hours or ('00:00-24:00',))} UTC on {days}"


def _allows(policy: DealPolicy, facts: Facts) -> bool:
    rule = deciding_rule(policy, facts)
    return rule is not None and rule.effect == "allow"


def _at(minute: int) -> datetime:
    """Some moment in that minute of the week; 1 January 2024 is a Monday."""
    day, rest = divmod(minute, _DAY_MINUTES)
    return datetime(2024, 1, 1 + day, *divmod(rest, 60), tzinfo=UTC)


def _moment(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%a %H:%M UTC").lower()


def _too_large(denial: Denial, value: int, limit: int) -> PolicyDenied:
    return PolicyDenied.because(
        denial,
        field="value",
        value=usd(value),
        limit=usd(limit),
        actual=usd(value),
        headroom=f"{usd(limit - value)}",
    )


def _who(facts: Facts) -> str:
    what = f"bank {facts.bank}, chain {facts.chain_id}, module {facts.module}"
    return f"{facts.principal.principal_id}, {what}, {usd(facts.value_usd8)}, {_moment(facts.at)}"


def _listed(names: "Iterator[str] | tuple[str, ...] | list[str] | type[Weekday]") -> str:
    return ", ".join(names)
