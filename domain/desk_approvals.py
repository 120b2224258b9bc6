"""Approvals of the desk: how many a deal needs, of what exactly, who has given them or will not.

They come before those of a Safe's owners (`domain.approvals`), where a deal needs both.
"""

import hashlib
from typing import Annotated

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from domain.amounts import Usd8
from domain.deals import DealStatus
from domain.denials import Denial
from domain.errors import ApprovalNeeded, PolicyDenied, Problem
from domain.identifiers import DealId
from domain.identity import GroupId, PrincipalId
from domain.policy import PolicyVersion

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True)


class Given(_Model):
    """What one person has said; `on_behalf_of` if he stood in for an approver."""

    approver: PrincipalId
    on_behalf_of: PrincipalId | None = None
    at: AwareDatetime
    why: str


class DeskApproval(_Model):
    """A deal's approval by the desk, as people and programs see it."""

    needed: Annotated[int, Field(ge=1)]
    """How many people have to approve it."""
    group: GroupId | None = None
    """The group that they have to be in, if the policy asks for one."""
    initiator: PrincipalId
    """He never approves it."""
    value_usd8: Usd8
    request_digest: Digest
    policy_version: PolicyVersion
    prediction_digest: Digest
    binding_digest: Digest
    """What is approved: over the three before."""
    expires_at: AwareDatetime
    given: tuple[Given, ...] = ()
    rejected: Given | None = None

    @property
    def missing(self) -> int:
        """How many people there still have to be."""
        return max(0, self.needed - len(self.given))


def binding_digest(request_digest: str, policy_version: int, prediction_digest: str) -> str:
    """What approvals of a deal are for: SHA-256 (hexadecimal) over the three, a line each.

    Whoever approves can reckon it himself from what he is shown.
    """
    lines = (request_digest, str(policy_version), prediction_digest)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def check_binding(approval: DeskApproval, binding: str) -> None:
    """Raise `PolicyDenied` unless it is this that the deal waits for."""
    if binding != approval.binding_digest:
        raise PolicyDenied.because(
            Denial.APPROVAL_OTHER,
            field="binding_digest",
            value=binding,
            limit=approval.binding_digest,
            actual=binding,
        )


def not_awaited(status: DealStatus) -> PolicyDenied:
    """The error of an approval that nobody has asked for."""
    return PolicyDenied.because(
        Denial.APPROVAL_NOT_AWAITED,
        field="status",
        value=status,
        limit=DealStatus.AWAITING_APPROVAL,
        actual=status,
    )


def rejected(given: Given) -> Problem:
    """The problem of a deal that an approver does not want."""
    name = f" for {given.on_behalf_of}" if given.on_behalf_of else ""
    return PolicyDenied.because(
        Denial.APPROVAL_REJECTED,
        f"{given.approver} rejects it{name}: {given.why}",
        field="approval",
        value=given.approver,
        limit="nobody who rejects it",
        actual=given.approver,
    ).problem


def expired(deal_id: DealId, approval: DeskApproval) -> Problem:
    """The problem of a deal that was not approved in time."""
    return PolicyDenied.because(
        Denial.APPROVAL_EXPIRED,
        f"deal {deal_id} was not approved in time",
        field="approval",
        value=deal_id,
        limit=approval.expires_at.isoformat(timespec="seconds"),
        actual=f"{len(approval.given)} of {approval.needed} approvals",
    ).problem


def waits_for(deal_id: DealId, approval: DeskApproval) -> ApprovalNeeded:
    """The answer to who started a deal that needs approvals."""
    return ApprovalNeeded(
        f"deal {deal_id} waits for {approval.missing} of {approval.needed} approvals",
        field="status",
        value=DealStatus.AWAITING_APPROVAL,
        limit=f"by {approval.expires_at.isoformat(timespec='seconds')}",
        actual=f"{len(approval.given)} given",
        next_action="have approvers look at it (`deal approvals`) and approve it (`deal approve`)",
    )
