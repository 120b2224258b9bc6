"""Admitting deals by the policy, in Postgres as the role ``deal_records``.

Two statements: what is known of the command, its giver and the policy; then the admission, which
the database writes only if all of it still holds, together with the count of the bank's deals.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import dict_row
from temporalio import activity

from activities.control.denials import denied
from activities.control.interface import (
    AdmitDeal,
    Admitted,
    AskApprovals,
    ControlActivities,
    FindPolicy,
    FoundPolicy,
    RecordApproval,
)
from activities.control.standing import principal_from
from activities.database import Pool, connected
from domain.approvals import Funding
from domain.denials import Denial
from domain.desk_approvals import DeskApproval, Given
from domain.errors import PolicyDenied
from domain.identifiers import DealId
from domain.policy import DealPolicy
from domain.policy_decision import Facts, evaluate

# A deal that was admitted keeps its version, whatever is in force by now.
_LOOK: Final = """
SELECT command.kind, command.deal_id, command.request_digest, command.principal_id,
    person.disabled_at IS NULL AS enabled, person.kind AS person_kind, person.roles, person.banks,
    person.max_deal_usd8::text, person.groups,
    admitted.rule AS admitted_by, policy.version, policy.content
FROM control.commands AS command
JOIN control.standing AS person USING (principal_id)
LEFT JOIN control.admissions AS admitted ON admitted.deal_id = %(deal)s
LEFT JOIN control.policies AS policy ON CASE
    WHEN admitted.policy_version IS NULL THEN policy.state = 'ACTIVE'
    ELSE policy.version = admitted.policy_version END
WHERE command.command_id = %(command)s
"""
# The second function is called with what the first one has answered, so always after it.
_ADMIT: Final = """
SELECT admitted.initiator, admitted.rule, admitted.policy_version, admitted.approvals_needed,
    counted.value_usd8, counted.together_usd8, counted.limit_usd8, counted.owners_decide
FROM control.admit(
    %(deal)s, %(command)s, %(digest)s, %(version)s, %(rule)s, %(value)s) AS admitted,
    LATERAL deals.reserve(
        admitted.deal_id, admitted.bank, %(value)s, %(limit)s, %(seconds)s) AS counted
"""
_PINNED: Final = """
SELECT policy.version, policy.content FROM control.admissions AS admitted
JOIN control.policies AS policy ON policy.version = admitted.policy_version
WHERE admitted.deal_id = %s
"""
_ASK: Final = "SELECT deal_id FROM control.ask_approvals(%s, %s)"
_GIVE: Final = "SELECT deal_id FROM control.give_approval(%s, %s)"
_APPROVAL: Final = """
SELECT admitted.*, coalesce((
    SELECT jsonb_agg(to_jsonb(given) ORDER BY given.at, given.approver)
    FROM control.approvals AS given WHERE given.deal_id = admitted.deal_id
), '[]'::jsonb) AS said
FROM control.admissions AS admitted WHERE admitted.deal_id = %s
"""

_WITHOUT: Final = "deals cannot be admitted or approved now"

Row = Mapping[str, Any]


class Admissions(ControlActivities):
    """Admits deals and counts their approvals; the database has the last word."""

    def __init__(self, pool: Pool) -> None:
        """Use the connections of an open pool; the caller closes it."""
        self._pool = pool
        self._policies: dict[int, DealPolicy] = {}

    @activity.defn
    async def admit_deal(self, order: AdmitDeal) -> Admitted:
        """See `ControlActivities.admit_deal`."""
        request = order.request
        async with connected(self._pool, _WITHOUT) as connection:
            given = {"deal": request.deal_id, "command": order.command_id}
            known = await _one(connection, _LOOK, given)
            _check_command(order, known)
            policy = self._policy(known)
            rule = known["admitted_by"] or evaluate(policy, _facts(order, known)).rule
            parameters = given | {
                "digest": request.digest(),
                "version": policy.version,
                "rule": rule,
                "value": order.value_usd8,
                "limit": order.limit_usd8,
                "seconds": order.window_seconds,
            }
            try:
                row = await _one(connection, _ADMIT, parameters)
            except psycopg.IntegrityError as error:
                raise denied(error, order.value_usd8, known["principal_id"]) from error
        return Admitted(
            initiator=row["initiator"],
            rule=row["rule"],
            policy=policy.pinned(),
            approvals_needed=row["approvals_needed"],
            funding=Funding(
                value_usd8=int(row["value_usd8"]),
                together_usd8=int(row["together_usd8"]),
                limit_usd8=int(row["limit_usd8"]),
                owners_decide=row["owners_decide"],
            ),
        )

    @activity.defn
    async def find_policy(self, order: FindPolicy) -> FoundPolicy:
        """See `ControlActivities.find_policy`."""
        async with connected(self._pool, _WITHOUT) as connection:
            row = await _one(connection, _PINNED, (order.deal_id,))
        return FoundPolicy(policy=self._policy(row).pinned() if row else None)

    @activity.defn
    async def ask_approvals(self, order: AskApprovals) -> DeskApproval:
        """See `ControlActivities.ask_approvals`."""
        async with connected(self._pool, _WITHOUT) as connection:
            await connection.execute(_ASK, (order.deal_id, order.prediction_digest))
            return await _approval(connection, order.deal_id)

    @activity.defn
    async def record_approval(self, order: RecordApproval) -> DeskApproval:
        """See `ControlActivities.record_approval`."""
        async with connected(self._pool, _WITHOUT) as connection:
            try:
                await connection.execute(_GIVE, (order.deal_id, order.command_id))
            except psycopg.IntegrityError as error:
                raise denied(error, 0, order.command_id) from error
            return await _approval(connection, order.deal_id)

    def _policy(self, known: Row) -> DealPolicy:
        """The policy of a version, read once; versions never change."""
        version = known["version"]
        if version is None:
            raise PolicyDenied.because(
                Denial.NO_POLICY, field="policy", limit="one active version", actual="none"
            )
        if version not in self._policies:
            self._policies[version] = DealPolicy.model_validate_json(known["content"])
        return self._policies[version]


def _check_command(order: AdmitDeal, known: Row) -> None:
    """Raise `PolicyDenied` unless an enabled person has given the command for just this deal."""
    request = order.request
    if not known:
        raise PolicyDenied.because(
            Denial.NO_COMMAND,
            field="command_id",
            value=order.command_id,
            limit="a recorded command",
            actual=order.command_id or "none",
        )
    asked = ("deal.start", request.deal_id, request.digest())
    recorded = (known["kind"], known["deal_id"], known["request_digest"])
    if asked != recorded:
        raise PolicyDenied.because(
            Denial.COMMAND_MISMATCH,
            field="command_id",
            value=order.command_id,
            limit=" ".join(str(part) for part in recorded),
            actual=" ".join(asked),
        )
    if not known["enabled"]:
        raise PolicyDenied.because(
            Denial.PRINCIPAL_DISABLED,
            field="initiator",
            value=known["principal_id"],
            limit="an enabled principal",
            actual="disabled",
        )


def _facts(order: AdmitDeal, known: Row) -> Facts:
    request = order.request
    return Facts(
        principal=principal_from(known),
        bank=request.bank,
        chain_id=request.chain_id,
        module=request.module,
        value_usd8=order.value_usd8,
        at=datetime.now(UTC),
    )


async def _approval(connection: AsyncConnection[Any], deal_id: DealId) -> DeskApproval:
    row = await _one(connection, _APPROVAL, (deal_id,))
    said = [(each["decision"], Given.model_validate(each)) for each in row["said"]]
    return DeskApproval(
        needed=row["approvals_needed"],
        group=row["approver_group"],
        initiator=row["initiator"],
        value_usd8=int(row["value_usd8"]),
        request_digest=row["request_digest"],
        policy_version=row["policy_version"],
        prediction_digest=row["prediction_digest"],
        binding_digest=row["binding_digest"],
        expires_at=row["expires_at"],
        given=tuple(given for decision, given in said if decision == "approved"),
        rejected=next((given for decision, given in said if decision == "rejected"), None),
    )


async def _one(connection: AsyncConnection[Any], query: str, parameters: Any) -> Row:  # noqa: ANN401 - both styles
    """The one row of an answer; nothing if there is none."""
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(query.encode(), parameters)
        return await cursor.fetchone() or {}
