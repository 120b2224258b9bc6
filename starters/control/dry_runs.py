"""Dry runs for callers: what a deal would do, and how its launch would be decided now.

The decision is made by what decides at an admission: the same halts, the policy in force, whoever
asks as he counts now, and the database's own count of what was admitted before. Nothing is written.
"""

from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, Literal

import psycopg
from psycopg.types.json import Jsonb
from pydantic import BaseModel, ConfigDict
from temporalio.client import Client

from activities.control.denials import denied
from activities.control.standing import principal_from
from activities.dryrun.interface import DryRunResult
from activities.halts.standing import halt_from
from activities.protocols.interface import MarketReading
from domain.approvals import funding_usd8
from domain.deals import DealRequest
from domain.denials import Denial
from domain.errors import DealError, PolicyDenied, Unavailable
from domain.halts import halted
from domain.identity import Caller, Permission, PrincipalId
from domain.outlooks import Outlook
from domain.policy import DealPolicy
from domain.policy_decision import Facts, deciding_rule, evaluate
from domain.predictions import Prediction
from domain.sizing import Sizing
from starters.deals.database import Connections, fetch
from starters.deals.dry_runs import dry_run

_HALT: Final = (
    "SELECT scope, state, who, why, since, set_by, version"
    " FROM control.halt_of(%(bank)s, %(chain)s, %(module)s)"
)
_KNOWN: Final = """
SELECT person.principal_id, person.kind AS person_kind, person.roles, person.banks,
    person.max_deal_usd8::text, person.groups, policy.version, policy.content
FROM control.standing AS person LEFT JOIN control.policies AS policy ON policy.state = 'ACTIVE'
WHERE person.principal_id = %(who)s AND person.disabled_at IS NULL
"""
# As `deals.reserve` counts it.
_BEFORE: Final = """
SELECT coalesce(sum(value_usd8), 0) AS before_usd8 FROM deals.reservations
WHERE bank = %(bank)s AND released_at IS NULL AND deal_id <> %(deal)s
    AND reserved_at > clock_timestamp() - make_interval(secs => %(seconds)s)
"""
_VELOCITY: Final = """
SELECT control.check_velocity(
    jsonb_populate_record(NULL::control.admissions, %(asked)s), policy.content::jsonb)
FROM control.policies AS policy WHERE policy.version = %(version)s
"""


class DryRunReport(BaseModel):
    """What a request would do as a deal, at which sizes, and how it would be decided."""

    model_config = ConfigDict(frozen=True)

    dry_run: Literal[True] = True
    request: DealRequest
    sizing: Sizing
    prediction: Prediction
    prediction_digest: str
    outlook: Outlook


class DryRunDesk:
    """Runs requests dry for callers who may start them. Raises the domain's errors only."""

    def __init__(self, clients: Callable[[], Awaitable[Client]], reading: Connections) -> None:
        """Connect to Temporal by this, and read the control database by these connections."""
        self._clients = clients
        self._reading = reading

    async def run(self, caller: Caller, request: DealRequest) -> DryRunReport:
        """Run a request dry that was checked; nothing is recorded, signed or sent.

        Raises `Forbidden`, what the deal's size or chain would refuse it for, `NoPrediction` and
        `Unavailable`. What the policy or a halt would deny it for is in the outlook.
        """
        caller.require(Permission.DEALS_START, request.bank)
        result = await dry_run(await self._clients(), request, caller)
        return DryRunReport(
            request=request,
            sizing=result.sizing,
            prediction=result.prediction,
            prediction_digest=result.prediction.digest(),
            outlook=await self._outlook(caller.who, request, _reading_of(result)),
        )

    async def _outlook(
        self, who: PrincipalId, request: DealRequest, reading: MarketReading
    ) -> Outlook:
        value, multisig = funding_usd8(request, reading.module, reading.market), reading.multisig
        asked = {
            "who": who,
            "deal": request.deal_id,
            "bank": request.bank,
            "chain": request.chain_id,
            "module": request.module,
            "seconds": multisig.window.total_seconds(),
        }
        (counted,) = await fetch(self._reading, _BEFORE, asked)
        known = await fetch(self._reading, _KNOWN, asked)
        together = int(counted["before_usd8"]) + value
        outlook = Outlook(
            allowed=True,
            policy_version=known[0]["version"] if known else None,
            value_usd8=value,
            together_usd8=together,
            owners_decide=together > multisig.threshold_usd8,
        )
        try:
            await self._ensure_active(asked)
            return await self._decided(outlook, request, _known(known, who))
        except DealError as refused:
            if isinstance(refused, Unavailable):
                raise
            return outlook.model_copy(update={"allowed": False, "problem": refused.problem})

    async def _ensure_active(self, asked: Mapping[str, Any]) -> None:
        rows = await fetch(self._reading, _HALT, asked)
        if rows:
            raise halted(halt_from(tuple(rows[0].values())))

    async def _decided(
        self, outlook: Outlook, request: DealRequest, known: Mapping[str, Any]
    ) -> Outlook:
        """What the policy says; a denial is part of it."""
        policy = DealPolicy.model_validate_json(known["content"])
        facts = Facts(
            principal=principal_from(known),
            bank=request.bank,
            chain_id=request.chain_id,
            module=request.module,
            value_usd8=outlook.value_usd8,
            at=datetime.now(UTC),
        )
        rule, tier = deciding_rule(policy, facts), policy.approvals.tier_of(facts.value_usd8)
        outlook = outlook.model_copy(update={"rule": None if rule is None else rule.name})
        try:
            admission = evaluate(policy, facts)
            await self._ensure_not_too_fast(facts, policy.version)
        except PolicyDenied as refused:
            return outlook.model_copy(update={"allowed": False, "problem": refused.problem})
        asked = {
            "approvals_needed": admission.approvals_needed,
            "approver_group": None if tier is None else tier.group,
        }
        return outlook.model_copy(update=asked)

    async def _ensure_not_too_fast(self, facts: Facts, version: int) -> None:
        """Raise `PolicyDenied` if it would be too much of its user's or its bank's."""
        who = facts.principal.principal_id
        asked = {"initiator": who, "bank": facts.bank, "value_usd8": str(facts.value_usd8)}
        given = {"asked": Jsonb(asked), "version": version}
        try:
            await fetch(self._reading, _VELOCITY, given)
        except psycopg.IntegrityError as error:
            raise denied(error, facts.value_usd8, who) from error


def _reading_of(result: DryRunResult) -> MarketReading:
    """The markets that the sizes are from; they are read whenever no sizes are given."""
    if result.reading is None:
        raise AssertionError
    return result.reading


def _known(rows: list[dict[str, Any]], who: PrincipalId) -> Mapping[str, Any]:
    """Whoever asks, and the policy in force; raises `PolicyDenied` without either."""
    if not rows:
        raise PolicyDenied.because(
            Denial.PRINCIPAL_DISABLED,
            field="initiator",
            value=who,
            limit="an enabled principal",
            actual="disabled",
        )
    if rows[0]["version"] is None:
        raise PolicyDenied.because(
            Denial.NO_POLICY, field="policy", limit="one active version", actual="none"
        )
    return rows[0]
