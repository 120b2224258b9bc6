"""The deal policy as it is written down: who may start what, who must approve, how deals get out.

`deploy/config/deal-policy.toml` is version 1; every later version is proposed by one person and
put in force by another. A deal keeps the version that it was admitted by, to its end.
"""

import hashlib
import json
from datetime import timedelta
from enum import StrEnum
from functools import cached_property
from itertools import pairwise
from typing import Annotated, Final, Literal, Self, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    field_validator,
    model_validator,
)

from domain.amounts import (
    BASIS_POINTS,
    USD_DECIMALS,
    Amount,
    ceil_div,
    format_units,
    one_token,
    parse_decimal,
)
from domain.deals import invalid_input_from
from domain.errors import InvalidConfiguration
from domain.identifiers import BankId, ChainId, ModuleId
from domain.identity import GroupId, PrincipalId, Role

PolicyVersion = Annotated[int, Field(strict=True, ge=1, lt=2**31)]
_Seconds = Annotated[int, Field(strict=True, ge=1, le=366 * 86_400)]
_Bps = Annotated[int, Field(strict=True, ge=0, lt=BASIS_POINTS)]
_DAY: Final = timedelta(days=1)
_DAY_MINUTES: Final = 1_440
_WAD: Final = 18
"""Decimals of Aave's health factor."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FreezePolicy(_Part):
    """What a deal does that holds discount tokens while redemption is frozen."""

    probe_first_seconds: _Seconds = 1
    """After that redemption is looked at for the first time, then ever more seldom."""
    probe_last_seconds: _Seconds = 300
    """It is never longer until the next look."""
    haircut_bps_per_day: _Bps = 25
    """How much less the tokens are reckoned with for every day that they cannot be redeemed."""
    max_haircut_bps: _Bps = 5_000
    on_reopen: Literal["resume", "hold"] = "resume"
    """Go on by itself when redemption reopens, or wait for a person to resume it."""
    unwind_after_seconds: _Seconds | None = None
    """Unwind by itself after so long; without it only a person decides."""

    @model_validator(mode="after")
    def _probes_grow(self) -> "FreezePolicy":
        if self.probe_last_seconds < self.probe_first_seconds:
            raise wrong(
                "freeze.probe_last_seconds",
                self.probe_last_seconds,
                f"at least probe_first_seconds, {self.probe_first_seconds}",
            )
        return self

    @property
    def unwind_after(self) -> timedelta | None:
        """How long a freeze is put up with; None: for ever."""
        seconds = self.unwind_after_seconds
        return None if seconds is None else timedelta(seconds=seconds)

    def probe_after(self, probes: int) -> timedelta:
        """How long to wait before the next look, after so many: doubled each time, up to the last.

        `probes` is 0 before the first look.
        """
        # Past 2^32 the last one counts in any case, and the shift would be a number of many digits.
        grown = self.probe_first_seconds << min(probes, 32)
        return timedelta(seconds=min(grown, self.probe_last_seconds))

    def haircut_bps(self, frozen_for: timedelta) -> int:
        """How much less the tokens are reckoned with after so long, in basis points, rounded up."""
        micros = max(frozen_for, timedelta()) // timedelta(microseconds=1)
        grown = ceil_div(self.haircut_bps_per_day * micros, _DAY // timedelta(microseconds=1))
        return min(grown, self.max_haircut_bps)

    def value_usd8(self, par_value_usd8: int, frozen_for: timedelta) -> int:
        """Value of what would be worth so much at par, in 1e-8 USD, rounded down."""
        return par_value_usd8 * (BASIS_POINTS - self.haircut_bps(frozen_for)) // BASIS_POINTS


class ExitPolicy(_Part):
    """How far an unwinding deal goes to sell what it holds, and what it does first in danger."""

    first_slippage_bps: _Bps = 50
    """How much less than the quote the first attempt to sell takes."""
    step_slippage_bps: _Bps = 50
    """By how much each further attempt takes less."""
    max_slippage_bps: _Bps = 500
    """No attempt takes less than that."""
    attempts: Annotated[int, Field(strict=True, ge=1, le=100)] = 5
    """How often it is tried before a person is asked."""
    danger_health_factor: Annotated[str, Field(pattern=r"^[1-9]\.[0-9]{1,4}$")] = "1.10"
    """Below that the loan is repaid and collateral withdrawn before anything is sold."""

    @model_validator(mode="after")
    def _slippage_in_order(self) -> "ExitPolicy":
        if self.max_slippage_bps < self.first_slippage_bps:
            raise wrong(
                "exit.max_slippage_bps",
                self.max_slippage_bps,
                f"at least first_slippage_bps, {self.first_slippage_bps}",
            )
        return self

    def slippage_bps(self, attempt: int) -> int:
        """How much less than the quote an attempt takes; the first is number 1."""
        grown = self.first_slippage_bps + self.step_slippage_bps * (attempt - 1)
        return min(grown, self.max_slippage_bps)

    @property
    def danger_health_factor_wad(self) -> int:
        """The health factor in Aave's units of 1e-18."""
        whole, _, places = self.danger_health_factor.partition(".")
        return int(whole + places) * one_token(_WAD - len(places))


class HaltPolicy(_Part):
    """What a running deal does at its gate while what it needs is halted."""

    on_reducing: Literal["unwind", "hold"] = "unwind"
    """Before a step that takes on more risk, while its scope is REDUCING."""


class Weekday(StrEnum):
    """A day of the week in UTC."""

    MON = "mon"
    TUE = "tue"
    WED = "wed"
    THU = "thu"
    FRI = "fri"
    SAT = "sat"
    SUN = "sun"


def _dollars(value: object) -> int:
    """Read decimal US dollars as units of 1e-8."""
    return Amount.parse(parse_decimal(value, field="usd"), decimals=USD_DECIMALS, field="usd").units


def _written(usd8: int) -> str:
    return format_units(usd8, USD_DECIMALS)


Usd = Annotated[
    int,
    BeforeValidator(_dollars),
    Field(gt=0),
    PlainSerializer(_written, return_type=str, when_used="always"),
]
"""US dollars as decimal text, in the document and in JSON; kept in units of 1e-8."""

Name = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
Window = Annotated[str, Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d-(([01]\d|2[0-3]):[0-5]\d|24:00)$")]
"""Hours of a day in UTC, the last minute not included: "07:00-19:00". What ends before it begins
is the rest of the day and its beginning."""
_T = TypeVar("_T")
_AnyOf = Annotated[tuple[_T, ...], Field(min_length=1)] | None
"""One of these; anything at all if it is left out."""


class Rule(_Part):
    """Who may start what, or may not. What is left out holds for everything."""

    name: Name
    effect: Literal["allow", "deny"]
    roles: _AnyOf[Role] = None
    """Whoever has one of these."""
    principals: _AnyOf[PrincipalId] = None
    banks: _AnyOf[BankId] = None
    chains: _AnyOf[ChainId] = None
    modules: _AnyOf[ModuleId] = None
    weekdays: _AnyOf[Weekday] = None
    hours: _AnyOf[Window] = None
    max_usd: Usd | None = None
    """The rule is for deals of that value or less."""

    @field_validator("hours")
    @classmethod
    def _windows_last(cls, hours: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for window in hours or ():
            begins, _, ends = window.partition("-")
            if begins == ends:
                raise wrong("hours", window, "a window that lasts")
        return hours

    @property
    def is_catch_all(self) -> bool:
        """Whether it is for everybody and everything."""
        names = set(type(self).model_fields) - {"name", "effect"}
        return all(getattr(self, name) is None for name in names)

    @cached_property
    def times(self) -> tuple[tuple[int, int], ...]:
        """When it holds, in minutes since the beginning of Monday, UTC; ends are not included."""
        days = [list(Weekday).index(day) for day in self.weekdays or Weekday]
        parts = [part for window in self.hours or ("00:00-24:00",) for part in _parts(window)]
        return tuple(
            (day * _DAY_MINUTES + begins, day * _DAY_MINUTES + ends)
            for day in days
            for begins, ends in parts
        )

    def holds_at(self, minute: int) -> bool:
        """Whether it holds in this minute of the week."""
        return any(begins <= minute < ends for begins, ends in self.times)


def _parts(window: str) -> list[tuple[int, int]]:
    """The window in minutes of the day; two parts if it goes past midnight."""
    begins, ends = (int(text[:2]) * 60 + int(text[3:]) for text in window.split("-"))
    return [(begins, ends)] if begins < ends else [(0, ends), (begins, _DAY_MINUTES)]


class ApprovalTier(_Part):
    """How many people have to approve what is worth more than that."""

    above_usd: Usd
    needed: Annotated[int, Field(strict=True, ge=1, le=10)]
    group: GroupId | None = None
    """Only approvers who are in this group; any approver if it is left out."""


class ApprovalPolicy(_Part):
    """Who has to approve a deal, by its value; what no tier speaks of needs nobody."""

    expiry_seconds: _Seconds = 14_400
    tiers: tuple[ApprovalTier, ...] = ()

    @field_validator("tiers")
    @classmethod
    def _rising(cls, tiers: tuple[ApprovalTier, ...]) -> tuple[ApprovalTier, ...]:
        for number, (lower, higher) in enumerate(pairwise(tiers), start=1):
            if higher.above_usd <= lower.above_usd:
                limit = f"more than the tier before, {_written(lower.above_usd)}"
                raise wrong(
                    f"approvals.tiers.{number}.above_usd", _written(higher.above_usd), limit
                )
            if higher.needed < lower.needed:
                limit = f"no fewer than the tier before, {lower.needed}"
                raise wrong(f"approvals.tiers.{number}.needed", higher.needed, limit)
        return tiers

    def tier_of(self, value_usd8: int) -> ApprovalTier | None:
        """The tier of a deal's value in 1e-8 USD; None if nobody has to approve it."""
        above = [tier for tier in self.tiers if value_usd8 > tier.above_usd]
        return above[-1] if above else None


class VelocityLimit(_Part):
    """How many deals, and how much, one user or one bank may have within a window."""

    per: Literal["user", "bank"]
    window_seconds: _Seconds
    max_deals: Annotated[int, Field(strict=True, ge=1, lt=2**31)] | None = None
    max_usd: Usd | None = None

    @model_validator(mode="after")
    def _limits_something(self) -> "VelocityLimit":
        if self.max_deals is None and self.max_usd is None:
            raise wrong("velocity", self.per, "max_deals, max_usd, or both")
        return self


class DealPolicy(_Part):
    """The whole document. Whatever no rule allows is denied."""

    version: PolicyVersion
    rules: Annotated[tuple[Rule, ...], Field(min_length=1, max_length=200)]
    """The first one that fits decides."""
    approvals: ApprovalPolicy = ApprovalPolicy()
    velocity: Annotated[tuple[VelocityLimit, ...], Field(max_length=20)] = ()
    freeze: FreezePolicy = FreezePolicy()
    exit: ExitPolicy = ExitPolicy()
    halts: HaltPolicy = HaltPolicy()

    @field_validator("rules")
    @classmethod
    def _names_differ(cls, rules: tuple[Rule, ...]) -> tuple[Rule, ...]:
        names = [rule.name for rule in rules]
        doubled = next((name for name in names if names.count(name) > 1), None)
        if doubled is not None:
            raise wrong("rules", doubled, "a name of its own for each rule")
        return rules

    @classmethod
    def parse(cls, fields: object) -> Self:
        """Validate what came from outside.

        Raises `InvalidConfiguration` naming the first field that is wrong.
        """
        try:
            return cls.model_validate(fields)
        except ValidationError as error:
            problem = invalid_input_from(error).problem
            raise wrong(problem.field or "document", problem.value, problem.limit) from None

    @property
    def content(self) -> str:
        """The document as JSON in one way only: keys sorted, nothing that is not set."""
        fields = self.model_dump(mode="json", exclude_none=True)
        return json.dumps(fields, sort_keys=True, separators=(",", ":"))

    @property
    def digest(self) -> str:
        """SHA-256 of the content, hexadecimal."""
        return hashlib.sha256(self.content.encode()).hexdigest()

    def pinned(self) -> "PinnedPolicy":
        """What a deal keeps of it."""
        return PinnedPolicy(
            version=self.version, freeze=self.freeze, exit=self.exit, halts=self.halts
        )


class PinnedPolicy(_Part):
    """What a deal keeps of the version that it was admitted by, to its end."""

    version: PolicyVersion
    freeze: FreezePolicy
    exit: ExitPolicy
    halts: HaltPolicy


def wrong(field: str, value: object, limit: object) -> InvalidConfiguration:
    """The error of a document that cannot be used as it is."""
    return InvalidConfiguration(
        f"the deal policy's {field} is not usable",
        field=field,
        value=value,
        limit=limit,
        next_action="correct the deal policy, then run `deal policy lint`",
    )
