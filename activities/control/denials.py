"""What the database refuses, as denials: the constraint's name is the code."""

from typing import Final

import psycopg

from domain.denials import Denial
from domain.errors import DealError, NotAllowed, PolicyDenied
from domain.policy_decision import usd

_VELOCITY: Final = frozenset(
    {
        Denial.VELOCITY_USER_DEALS,
        Denial.VELOCITY_USER_USD,
        Denial.VELOCITY_BANK_DEALS,
        Denial.VELOCITY_BANK_USD,
    }
)
_IN_USD: Final = frozenset({Denial.VELOCITY_USER_USD, Denial.VELOCITY_BANK_USD})


def denied(error: psycopg.IntegrityError, value_usd8: int, who: str) -> DealError:
    """The denial that a refusal stands for; `NotAllowed` for one that no denial speaks of."""
    name = error.diag.constraint_name or ""
    if name == "senior_trader":
        name = Denial.SENIOR_TRADER
    if name not in set(Denial):
        return NotAllowed(
            "the database refuses it",
            field=name or "database",
            actual=error.diag.message_primary,
            next_action="look at the deal with `deal show`",
        )
    denial = Denial(name)
    if denial in _VELOCITY:
        return _too_fast(denial, error.diag, value_usd8)
    return PolicyDenied.because(
        denial,
        field=_FIELDS.get(denial, "approval"),
        value=who,
        limit=_LIMITS.get(denial, _told)(error.diag),
        actual=who,
    )


def _too_fast(denial: Denial, diag: psycopg.errors.Diagnostic, value_usd8: int) -> PolicyDenied:
    before, limit = int(diag.message_detail or 0), int(diag.message_hint or 0)
    within = f"within {int(diag.column_name or 0):,} s"
    in_usd = denial in _IN_USD
    actual = before + (value_usd8 if in_usd else 1)
    return PolicyDenied.because(
        denial,
        field="velocity",
        value=within,
        limit=f"{usd(limit) if in_usd else limit} {within}",
        actual=f"{usd(actual) if in_usd else actual}",
        headroom=f"{usd(limit - before) if in_usd else limit - before}",
    )


def _told(diag: psycopg.errors.Diagnostic) -> str | None:
    return diag.message_primary


_FIELDS: Final = {Denial.NO_COMMAND: "command_id", Denial.PRINCIPAL_DISABLED: "initiator"}
_LIMITS: Final = {
    Denial.APPROVAL_OTHER: lambda diag: diag.message_detail,
    Denial.APPROVAL_EXPIRED: lambda diag: diag.message_hint,
}
