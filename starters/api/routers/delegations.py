"""Delegations: an approver has a group approve in his place, for a time."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Path
from pydantic import Field
from starlette.responses import Response

from domain.errors import NotAllowed, NotFound
from domain.identity import GroupId, Permission
from starters.access.people import DelegationRecord
from starters.api import examples_people as shown
from starters.api.asking import NAME, Asking, CommandIdOf, Why, With
from starters.api.describing import endpoint
from starters.api.documents import Document, answer
from starters.api.entry import Entry
from starters.api.limiting import Rate

router = APIRouter(route_class=Entry, tags=["delegations"])

DelegationPath = Annotated[
    str,
    Path(
        pattern=r"^[0-9a-f-]{36}$",
        description="The delegation's id.",
        examples=[shown.DELEGATION["delegation_id"]],
    ),
]


class DelegationsDocument(Document):
    """Delegations, the newest first."""

    delegations: list[DelegationRecord]


class DelegationBody(Why):
    """To which group, for how many days from now on, and why."""

    group_id: Annotated[str, Field(pattern=NAME)]
    days: Annotated[int, Field(strict=True, ge=1, le=92)] = 14


@endpoint(
    router,
    "GET",
    "/delegations",
    Permission.USERS_READ,
    Rate.READ,
    alternative=Permission.DEALS_APPROVE,
    answer=DelegationsDocument,
    example={"delegations": [shown.DELEGATION]},
)
async def list_delegations(caller: Asking, services: With) -> Response:
    """List who stands in for whom, and until when."""
    found = await services.directory.delegations(caller)
    return answer(DelegationsDocument(delegations=found))


@endpoint(
    router,
    "POST",
    "/delegations",
    Permission.DEALS_APPROVE,
    Rate.CHANGE,
    answer=DelegationRecord,
    example=shown.DELEGATION,
    status=201,
    body_example={"group_id": "deputies", "days": 14, "reason": "holidays"},
    failures=(NotFound, NotAllowed),
)
async def begin_delegation(
    caller: Asking, services: With, command_id: CommandIdOf, body: DelegationBody
) -> Response:
    """Have a group approve in your place, for the banks that they have as well.

    Only an approver passes on his own part, and not what he has by another's.
    """
    begin = datetime.now(UTC)
    end = begin + timedelta(days=body.days)
    made = await services.users.delegate(
        caller, GroupId(body.group_id), begin, end, body.reason, command_id
    )
    return answer(made, 201)


@endpoint(
    router,
    "POST",
    "/delegations/{delegation_id}/end",
    Permission.DEALS_APPROVE,
    Rate.SAFETY,
    alternative=Permission.USERS_WRITE,
    answer=DelegationRecord,
    example=shown.DELEGATION | {"ended_at": "2026-11-29T12:00:00Z"},
    body_example={"reason": "is back"},
    failures=(NotFound, NotAllowed),
)
async def end_delegation(
    caller: Asking, services: With, command_id: CommandIdOf, delegation_id: DelegationPath, why: Why
) -> Response:
    """End a delegation early: one's own, or any as an admin."""
    ended = await services.users.end_delegation(caller, delegation_id, why.reason, command_id)
    return answer(ended)
