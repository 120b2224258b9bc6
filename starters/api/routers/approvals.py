"""Approvals: what waits for them, what exactly is asked for, and saying it."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from domain.desk_approvals import Digest
from domain.errors import InvalidInput, NotAllowed, NotFound, PolicyDenied
from domain.identifiers import Address, DealId
from domain.identity import Caller, Permission
from domain.safe import Signature
from starters.api import examples
from starters.api.asking import (
    DEFAULT,
    Asking,
    BankQuery,
    ChainQuery,
    CommandIdOf,
    CursorQuery,
    DealPath,
    LimitQuery,
    Why,
    With,
)
from starters.api.describing import endpoint
from starters.api.documents import NextCursor, Records, answer
from starters.api.entry import Entry
from starters.api.limiting import Rate
from starters.api.services import Services
from starters.control.approvals import Approvals, AskedOfDesk, AskedOfOwners
from starters.deals.reading import Cursor, DealFilter
from workflows.deal.messages import OwnerMessage, RejectionMessage

router = APIRouter(route_class=Entry, tags=["approvals"])

_BINDING = (
    "The `binding_digest` that was read: over the request, the policy's version and the dry run."
)


class ApprovalsDocument(Records):
    """Deals that wait for approvals, newest first."""

    approvals: list[Approvals]
    next_cursor: NextCursor


class ApproveBody(Why):
    """Why, and of what exactly."""

    binding_digest: Annotated[Digest, Field(description=_BINDING)]


class RejectBody(Why):
    """Why, and if wanted of what exactly."""

    binding_digest: Annotated[
        Digest | None, Field(description=f"{_BINDING} Left out: whatever is asked for now.")
    ] = None


class OwnerSignatureBody(BaseModel):
    """A signature that was made on the owner's own machine; no key is ever sent."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    owner: Annotated[Address, Field(description="The owner of the Safe who has signed.")]
    signature: Annotated[
        Signature, Field(description="r, s and v: 65 bytes in lower-case hexadecimal.")
    ]
    transaction_hash: Annotated[
        str,
        Field(pattern=r"^0x[0-9a-f]{64}$", description="The proposal's `transaction_hash`."),
    ]


class OwnerRejectionBody(Why, OwnerSignatureBody):
    """The same over the proposal's rejection hash, and why."""


@endpoint(
    router,
    "GET",
    "/approvals",
    Permission.DEALS_READ,
    Rate.READ,
    answer=ApprovalsDocument,
    example={
        "source": "records",
        "as_of": examples.APPROVALS["as_of"],
        "approvals": [examples.APPROVALS],
        "next_cursor": None,
    },
)
async def list_approvals(  # noqa: PLR0913 - the filters
    *,
    caller: Asking,
    services: With,
    bank: BankQuery = None,
    chain_id: ChainQuery = None,
    limit: LimitQuery = DEFAULT,
    cursor: CursorQuery = None,
) -> Response:
    """List the deals that wait for approvals, newest first; of the caller's banks only."""
    chosen = DealFilter(
        bank=bank,
        chain_id=chain_id,
        limit=limit,
        before=Cursor.parse(cursor) if cursor else None,
    )
    page = await services.desk.waiting(caller, chosen)
    return answer(
        ApprovalsDocument.model_construct(
            source="records",
            as_of=datetime.now(UTC),
            approvals=list(page.approvals),
            next_cursor=None if page.next_cursor is None else str(page.next_cursor),
        )
    )


@endpoint(
    router,
    "GET",
    "/deals/{deal_id}/approvals",
    Permission.DEALS_READ,
    Rate.READ,
    answer=Approvals,
    example=examples.APPROVALS,
    failures=(NotFound,),
)
async def show_approvals(caller: Asking, services: With, deal_id: DealPath) -> Response:
    """Show what the desk and the owners of the Safe are asked for, and who has said what.

    The deal itself answers, or the records if it is away. null: nobody of that kind is asked.
    """
    return answer(await services.desk.approvals(caller, DealId(deal_id)))


@endpoint(
    router,
    "POST",
    "/deals/{deal_id}/approve",
    Permission.DEALS_APPROVE,
    Rate.LAUNCH,
    answer=AskedOfDesk,
    example=examples.ASKED_OF_DESK,
    body_example=examples.REASON | {"binding_digest": examples.BINDING},
    failures=(NotFound, PolicyDenied, NotAllowed),
)
async def approve_deal(
    caller: Asking, services: With, command_id: CommandIdOf, deal_id: DealPath, body: ApproveBody
) -> Response:
    """Approve a deal for the desk: exactly what the digest stands for.

    If the deal waits for anything else, `approval_of_something_else` says what: look at it anew.
    """
    return await _decided(services, caller, deal_id, command_id, body, reject=False)


@endpoint(
    router,
    "POST",
    "/deals/{deal_id}/reject",
    Permission.DEALS_APPROVE,
    Rate.SAFETY,
    answer=AskedOfDesk,
    example=examples.ASKED_OF_DESK
    | {
        "given": [],
        "missing": 1,
        "rejected": examples.ASKED_OF_DESK["given"][0] | {"why": "too large today"},
    },
    body_example={"reason": "too large today"},
    failures=(NotFound, PolicyDenied, NotAllowed),
)
async def reject_deal(
    caller: Asking, services: With, command_id: CommandIdOf, deal_id: DealPath, body: RejectBody
) -> Response:
    """Reject a deal for the desk: it ends, and nothing is moved."""
    return await _decided(services, caller, deal_id, command_id, body, reject=True)


@endpoint(
    router,
    "POST",
    "/deals/{deal_id}/owner-signatures",
    Permission.DEALS_APPROVE,
    Rate.LAUNCH,
    answer=AskedOfOwners,
    example=examples.ASKED_OF_OWNERS,
    body_example=examples.OWNER_SIGNATURE,
    failures=(NotFound, NotAllowed, InvalidInput, PolicyDenied),
)
async def submit_owner_signature(
    caller: Asking,
    services: With,
    command_id: CommandIdOf,
    deal_id: DealPath,
    body: OwnerSignatureBody,
) -> Response:
    """Hand over an owner's EIP-712 signature of the Safe transaction that is proposed."""
    message = OwnerMessage(**body.model_dump(), who=caller.who)
    return await _heard(services, caller, deal_id, command_id, message)


@endpoint(
    router,
    "POST",
    "/deals/{deal_id}/owner-rejections",
    Permission.DEALS_APPROVE,
    Rate.SAFETY,
    answer=AskedOfOwners,
    example=examples.ASKED_OF_OWNERS,
    body_example=examples.OWNER_SIGNATURE | {"reason": "not this bank"},
    failures=(NotFound, NotAllowed, InvalidInput, PolicyDenied),
)
async def submit_owner_rejection(
    caller: Asking,
    services: With,
    command_id: CommandIdOf,
    deal_id: DealPath,
    body: OwnerRejectionBody,
) -> Response:
    """Hand over that an owner does not want it: the deal ends, and nothing is moved.

    He signs the EIP-712 struct `Rejection(bytes32 safeTxHash)` in the domain named "Deal
    orchestrator" of the Safe and its chain.
    """
    signed = body.model_dump(exclude={"reason"})
    message = RejectionMessage(**signed, who=caller.who, why=body.reason)
    return await _heard(services, caller, deal_id, command_id, message)


async def _decided(  # noqa: PLR0913 - what a decision is made of
    services: Services,
    caller: Caller,
    deal_id: str,
    command_id: str,
    body: ApproveBody | RejectBody,
    *,
    reject: bool,
) -> Response:
    said = await services.desk.decide(
        caller,
        DealId(deal_id),
        reject=reject,
        binding_digest=body.binding_digest,
        why=body.reason,
        command_id=command_id,
    )
    return answer(AskedOfDesk.of(said))


async def _heard(
    services: Services, caller: Caller, deal_id: str, command_id: str, message: OwnerMessage
) -> Response:
    said = await services.desk.hear_owner(caller, DealId(deal_id), message, command_id=command_id)
    return answer(AskedOfOwners.of(DealId(deal_id), said))
