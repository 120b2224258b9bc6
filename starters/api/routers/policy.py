"""The deal policy and its limits: looked at by anybody, changed by two people."""

from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path
from pydantic import Field
from starlette.responses import Response

from domain import limits
from domain.errors import InvalidConfiguration, InvalidInput, NotFound, PolicyDenied
from domain.identity import Permission
from domain.policy import DealPolicy
from starters.api import examples
from starters.api.asking import Asking, Why, With
from starters.api.describing import ETAG, endpoint
from starters.api.documents import Document, answer
from starters.api.entry import Entry
from starters.api.etags import IfMatch, quoted, stale, unquoted
from starters.api.limiting import Rate
from starters.control.policies import PolicyRecord

router = APIRouter(route_class=Entry, tags=["policy"])

VersionPath = Annotated[int, Path(ge=1, lt=2**31, description="The policy's version.")]


class PolicyDocument(PolicyRecord):
    """One version, and the ETag to base a change on it."""

    etag: str = ""


class PoliciesDocument(Document):
    """All versions, newest first."""

    policies: list[PolicyDocument]


class LimitsDocument(Document):
    """What no deal may exceed: by the code, and by the policy in force. Ratios in basis points."""

    policy_version: int
    max_ltv_bps: int
    max_exposure_bps: int
    max_slippage_bps: int
    max_cycles: int
    max_working_liquidity_wei: str
    approvals: Annotated[dict[str, Any], Field(description="How many people from what size.")]
    velocity: Annotated[list[dict[str, Any]], Field(description="How much in an hour and a day.")]
    as_of: datetime


class Proposal(Why):
    """A new version of the policy, and why."""

    policy: Annotated[dict[str, Any], Field(description="The whole document.")]


class LimitsChange(Why):
    """Other limits; what is left out stays."""

    approvals: dict[str, Any] | None = None
    velocity: list[dict[str, Any]] | None = None


@endpoint(
    router,
    "GET",
    "/policy",
    Permission.POLICY_READ,
    Rate.READ,
    answer=PolicyDocument,
    example=examples.POLICY,
    failures=(PolicyDenied,),
    headers=ETAG,
)
async def show_policy(caller: Asking, services: With) -> Response:
    """Show the policy in force, under an ETag to base a change on."""
    return _told(await services.policies.active(caller))


@endpoint(
    router,
    "GET",
    "/policies",
    Permission.POLICY_READ,
    Rate.READ,
    answer=PoliciesDocument,
    example={"policies": [examples.POLICY]},
)
async def list_policies(caller: Asking, services: With) -> Response:
    """List all versions, newest first, with who proposed and decided each."""
    found = await services.policies.versions(caller)
    return answer(PoliciesDocument(policies=[_document(each) for each in found]))


@endpoint(
    router,
    "GET",
    "/policies/{version}",
    Permission.POLICY_READ,
    Rate.READ,
    answer=PolicyDocument,
    example=examples.POLICY,
    failures=(NotFound,),
    headers=ETAG,
)
async def show_policy_version(caller: Asking, services: With, version: VersionPath) -> Response:
    """Show one version."""
    return _told(await services.policies.find(caller, version))


@endpoint(
    router,
    "POST",
    "/policies",
    Permission.POLICY_PROPOSE,
    Rate.CHANGE,
    answer=PolicyDocument,
    example=examples.POLICY | {"state": "PROPOSED"},
    status=201,
    body_example={"reason": "tighter limits", "policy": examples.POLICY["policy"]},
    if_match=True,
    failures=(PolicyDenied,),
    headers=ETAG,
)
async def propose_policy(
    caller: Asking, services: With, proposal: Proposal, if_match: IfMatch = ""
) -> Response:
    """Propose a version in place of the one in force, whose ETag is `If-Match`."""
    try:
        policy = DealPolicy.parse(proposal.policy)
        made = await services.policies.propose(
            caller, policy, based_on=unquoted(if_match), why=proposal.reason
        )
    except InvalidConfiguration as error:
        raise _invalid(error) from None
    return _told(made, 201)


@endpoint(
    router,
    "POST",
    "/policies/{version}/approve",
    Permission.POLICY_APPROVE,
    Rate.CHANGE,
    answer=PolicyDocument,
    example=examples.POLICY,
    body_example=examples.REASON,
    if_match=True,
    failures=(NotFound, PolicyDenied),
    headers=ETAG,
)
async def approve_policy(
    caller: Asking, services: With, version: VersionPath, why: Why, if_match: IfMatch = ""
) -> Response:
    """Put a proposed version in force; by somebody else than who proposed it."""
    seen, _, digest = unquoted(if_match).partition("-")
    if seen != str(version):
        raise stale(if_match)
    return _told(await services.policies.approve(caller, version, digest=digest, why=why.reason))


@endpoint(
    router,
    "POST",
    "/policies/{version}/reject",
    Permission.POLICY_APPROVE,
    Rate.CHANGE,
    answer=PolicyDocument,
    example=examples.POLICY | {"state": "REJECTED"},
    body_example=examples.REASON,
    failures=(NotFound,),
    headers=ETAG,
)
async def reject_policy(caller: Asking, services: With, version: VersionPath, why: Why) -> Response:
    """Reject a proposed version, or withdraw one's own."""
    return _told(await services.policies.reject(caller, version, why=why.reason))


@endpoint(
    router,
    "GET",
    "/limits",
    Permission.POLICY_READ,
    Rate.READ,
    answer=LimitsDocument,
    example=examples.LIMITS,
    failures=(PolicyDenied,),
    headers=ETAG,
)
async def show_limits(caller: Asking, services: With) -> Response:
    """Show the limits: those of the code, and those of the policy in force, under its ETag."""
    record = await services.policies.active(caller)
    return answer(_limits(record), headers={"ETag": quoted(record.tag)})


@endpoint(
    router,
    "PUT",
    "/limits",
    Permission.POLICY_PROPOSE,
    Rate.CHANGE,
    answer=PolicyDocument,
    example=examples.POLICY | {"state": "PROPOSED"},
    status=202,
    body_example={
        "reason": "month end",
        "approvals": examples.LIMITS["approvals"],
        "velocity": examples.LIMITS["velocity"],
    },
    if_match=True,
    failures=(PolicyDenied,),
    headers=ETAG,
)
async def change_limits(
    caller: Asking, services: With, change: LimitsChange, if_match: IfMatch = ""
) -> Response:
    """Propose the policy in force with other limits; a second person puts it in force."""
    record = await services.policies.active(caller)
    if record.tag != unquoted(if_match):
        raise stale(if_match)
    versions = await services.policies.versions(caller)
    fields = record.policy.model_dump(mode="json", exclude_none=True)
    fields |= change.model_dump(exclude={"reason"}, exclude_none=True)
    fields["version"] = versions[0].version + 1
    try:
        policy = DealPolicy.parse(fields)
        made = await services.policies.propose(
            caller, policy, based_on=record.tag, why=change.reason
        )
    except InvalidConfiguration as error:
        raise _invalid(error) from None
    return _told(made, 202)


def _document(record: PolicyRecord) -> PolicyDocument:
    return PolicyDocument.model_construct(**dict(record), etag=quoted(record.tag))


def _told(record: PolicyRecord, status: int = 200) -> Response:
    return answer(_document(record), status, headers={"ETag": quoted(record.tag)})


def _invalid(error: InvalidConfiguration) -> InvalidInput:
    """What is wrong with what was sent is the sender's to mend, not the server's."""
    problem = error.problem.model_copy(update={"code": InvalidInput.code})
    return InvalidInput.from_problem(problem)


def _limits(record: PolicyRecord) -> LimitsDocument:
    told = record.policy.model_dump(mode="json", exclude_none=True)
    return LimitsDocument(
        policy_version=record.version,
        max_ltv_bps=limits.MAX_LTV_BPS,
        max_exposure_bps=limits.MAX_EXPOSURE_BPS,
        max_slippage_bps=limits.MAX_SLIPPAGE_BPS,
        max_cycles=limits.MAX_CYCLES,
        max_working_liquidity_wei=str(limits.MAX_WORKING_LIQUIDITY_WEI),
        approvals=told["approvals"],
        velocity=told["velocity"],
        as_of=datetime.now(UTC),
    )
