"""The deal policy as it is written down: who may start what, who must approve, how deals get out.

`deploy/config/deal-policy.toml` is version 1; every later version is proposed by one person and
put in force by another. A deal keeps the version that it was admitted by, to its end.
"""

import hashlib
import json
from datetime import timedelta
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from domain.amounts import BASIS_POINTS, ceil_div, one_token
from domain.errors import InvalidConfiguration

PolicyVersion = Annotated[int, Field(strict=True, ge=1, lt=2**31)]
_Seconds = Annotated[int, Field(strict=True, ge=1, le=366 * 86_400)]
_Bps = Annotated[int, Field(strict=True, ge=0, lt=BASIS_POINTS)]
_DAY: Final = timedelta(days=1)
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


def wrong(field: str, value: object, limit: object) -> InvalidConfiguration:
    """The error of a document that cannot be used as it is."""
    return InvalidConfiguration(
        f"the deal policy's {field} is not usable",
        field=field,
        value=value,
        limit=limit,
        next_action="correct the deal policy, then run `deal policy lint`",
    )


def digest_of_content(content: str) -> str:
    """SHA-256 (hexadecimal) of a document's content."""
    return hashlib.sha256(content.encode()).hexdigest()


def canonical(document: BaseModel) -> str:
    """A document as JSON in one way only: keys sorted, nothing that is not set."""
    fields = document.model_dump(mode="json", exclude_none=True)
    return json.dumps(fields, sort_keys=True, separators=(",", ":"))
