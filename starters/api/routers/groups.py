"""Groups: the people whom an approver may have stand in for him."""

from typing import Annotated

from fastapi import APIRouter, Path
from pydantic import Field
from starlette.responses import Response

from domain.errors import NotAllowed, NotFound
from domain.identity import GroupId, Permission, PrincipalId
from starters.access.people import GroupRecord
from starters.api import examples_people as shown
from starters.api.asking import NAME, Asking, CommandIdOf, Why, With
from starters.api.describing import endpoint
from starters.api.documents import Document, answer
from starters.api.entry import Entry
from starters.api.limiting import Rate

router = APIRouter(route_class=Entry, tags=["groups"])

GroupPath = Annotated[
    str, Path(pattern=NAME, description="The group's name.", examples=["deputies"])
]


class GroupsDocument(Document):
    """Groups, by name."""

    groups: list[GroupRecord]


class GroupBody(Why):
    """A new group; a name is given once and for ever."""

    group_id: Annotated[str, Field(pattern=NAME)]
    name: Annotated[str, Field(max_length=200, pattern=r"^[^\x00]*$")] = ""


class MemberBody(Why):
    """Whom, and why."""

    principal: Annotated[str, Field(pattern=NAME)]


@endpoint(
    router,
    "GET",
    "/groups",
    Permission.USERS_READ,
    Rate.READ,
    answer=GroupsDocument,
    example={"groups": [shown.GROUP]},
)
async def list_groups(caller: Asking, services: With) -> Response:
    """List the groups and who is in them."""
    return answer(GroupsDocument(groups=await services.directory.groups(caller)))


@endpoint(
    router,
    "POST",
    "/groups",
    Permission.USERS_WRITE,
    Rate.CHANGE,
    answer=GroupRecord,
    example=shown.GROUP | {"members": []},
    status=201,
    body_example={"group_id": "deputies", "name": "While they are away", "reason": "holidays"},
)
async def create_group(
    caller: Asking, services: With, command_id: CommandIdOf, body: GroupBody
) -> Response:
    """Add a group with nobody in it."""
    made = await services.users.create_group(
        caller, GroupId(body.group_id), body.name, body.reason, command_id
    )
    return answer(made, 201)


@endpoint(
    router,
    "POST",
    "/groups/{group_id}/add",
    Permission.USERS_WRITE,
    Rate.CHANGE,
    answer=GroupRecord,
    example=shown.GROUP,
    body_example={"principal": "vera", "reason": "holidays"},
    failures=(NotFound, NotAllowed),
)
async def add_to_group(
    caller: Asking, services: With, command_id: CommandIdOf, group_id: GroupPath, body: MemberBody
) -> Response:
    """Put somebody else into a group; nobody puts himself."""
    found = await services.users.join(
        caller, GroupId(group_id), PrincipalId(body.principal), body.reason, command_id
    )
    return answer(found)


@endpoint(
    router,
    "POST",
    "/groups/{group_id}/remove",
    Permission.USERS_WRITE,
    Rate.SAFETY,
    answer=GroupRecord,
    example=shown.GROUP | {"members": []},
    body_example={"principal": "vera", "reason": "is back"},
    failures=(NotFound, NotAllowed),
)
async def remove_from_group(
    caller: Asking, services: With, command_id: CommandIdOf, group_id: GroupPath, body: MemberBody
) -> Response:
    """Take somebody out of a group; it counts at once."""
    found = await services.users.leave(
        caller, GroupId(group_id), PrincipalId(body.principal), body.reason, command_id
    )
    return answer(found)
