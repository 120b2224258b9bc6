"""People and services, and the API keys of services: who there is, and what they may do."""

from datetime import datetime, timedelta
from typing import Annotated, Any, Final, Self

from fastapi import APIRouter, Path, Query
from pydantic import Field
from starlette.responses import Response

from domain.errors import NotAllowed, NotFound, Outdated
from domain.identity import Permission, PrincipalId, PrincipalKind, Role
from starters.access.changes import LONGEST_KEY, Wanted
from starters.access.people import KeyRecord, Person
from starters.api import examples_people as shown
from starters.api.asking import NAME, Asking, CommandIdOf, Why, With
from starters.api.describing import ETAG, endpoint
from starters.api.documents import Document, Once, answer
from starters.api.entry import Entry
from starters.api.etags import IfMatch, quoted, stale, unquoted
from starters.api.limiting import Rate

router = APIRouter(route_class=Entry, tags=["users"])

_BANK: Final = r"^(\*|[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)$"
_SHOWN: Final = "this is the only time that the key is shown"
_NOT_AGAIN: Final = (
    "the key was made and is not shown again; if it was lost, revoke it and make another one"
)

UserPath = Annotated[
    str, Path(pattern=NAME, description="The person's or service's name.", examples=["ann"])
]
KeyPath = Annotated[
    str,
    Path(pattern=r"^[a-z0-9]{12}$", description="The key's id.", examples=["k23456789012"]),
]
_Name = Annotated[str, Field(max_length=200, pattern=r"^[^\x00]*$")]
_Subject = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00]*$")]
_Roles = Annotated[list[Role], Field(max_length=len(Role))]
_Banks = Annotated[
    list[Annotated[str, Field(pattern=_BANK)]],
    Field(max_length=1_000, description="`*` alone: every bank, those of tomorrow as well."),
]
_Usd8 = Annotated[
    str,
    Field(pattern=r"^[0-9]{1,30}$", description="The largest deal that he may start, in 1e-8 USD."),
]


class UserDocument(Document):
    """A person or service. `version` is what the ETag names."""

    principal_id: str
    kind: PrincipalKind
    name: str
    subject: Annotated[str | None, Field(description="Whom the identity provider means.")]
    roles: list[Role]
    banks: list[str]
    max_deal_usd8: str
    groups: list[str]
    stands_in: Annotated[list[dict[str, Any]], Field(description="For which approvers, now.")]
    disabled_at: datetime | None
    version: int
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, person: Person) -> Self:
        """Tell of somebody; amounts are text."""
        told = person.model_dump() | {"max_deal_usd8": str(person.max_deal_usd8)}
        return cls.model_validate(told)


class UsersDocument(Document):
    """Everybody, by name."""

    users: list[UserDocument]


class ApiKeyDocument(Document):
    """An API key without its secret."""

    key_id: str
    principal_id: str
    label: str
    scopes: Annotated[list[Permission] | None, Field(description="null: all of its owner's.")]
    created_at: datetime
    expires_at: datetime
    revoked_at: datetime | None
    last_used_at: datetime | None
    expired: bool

    @classmethod
    def of(cls, record: KeyRecord) -> Self:
        """Tell of a key what may be told."""
        return cls.model_validate(record.model_dump())


class UserDetailDocument(UserDocument):
    """A person or service, with all keys there ever were, the newest first."""

    keys: list[ApiKeyDocument]


class ApiKeysDocument(Document):
    """API keys, the newest first."""

    keys: list[ApiKeyDocument]


class MadeKeyDocument(Document):
    """A new key. `key` is null to whoever repeats the request: it is kept nowhere."""

    api_key: ApiKeyDocument
    key: Annotated[str | None, Field(description="The whole key, told this one time.")]
    note: str


class SetBody(Why):
    """What somebody is to be; what is left out, or null, stays."""

    name: _Name | None = None
    subject: _Subject | None = None
    roles: _Roles | None = None
    banks: _Banks | None = None
    max_deal_usd8: _Usd8 | None = None

    def wanted(self) -> Wanted:
        """As the application takes it."""
        limit = self.max_deal_usd8
        return Wanted(
            name=self.name,
            subject=self.subject,
            roles=None if self.roles is None else tuple(self.roles),
            banks=None if self.banks is None else tuple(self.banks),
            max_deal_usd8=None if limit is None else int(limit),
        )


class CreateBody(SetBody):
    """Somebody new; without roles he may nothing, without banks he sees nothing."""

    principal_id: Annotated[str, Field(pattern=NAME)]
    kind: PrincipalKind = PrincipalKind.HUMAN


class KeyBody(Why):
    """A key for some permissions, or for all of its owner's, for some days."""

    days: Annotated[int, Field(strict=True, ge=1, le=LONGEST_KEY.days)] = 90
    scopes: Annotated[list[Permission], Field(max_length=len(Permission))] | None = None
    label: _Name = ""


@endpoint(
    router,
    "GET",
    "/users",
    Permission.USERS_READ,
    Rate.READ,
    answer=UsersDocument,
    example={"users": [shown.PERSON]},
)
async def list_users(caller: Asking, services: With) -> Response:
    """List people and services: roles, banks, largest deal, groups, for whom they stand in."""
    found = await services.directory.everybody(caller)
    return answer(UsersDocument(users=[UserDocument.of(each) for each in found]))


@endpoint(
    router,
    "GET",
    "/users/{principal_id}",
    Permission.USERS_READ,
    Rate.READ,
    answer=UserDetailDocument,
    example=shown.PERSON | {"keys": []},
    failures=(NotFound,),
    headers=ETAG,
)
async def show_user(caller: Asking, services: With, principal_id: UserPath) -> Response:
    """Show somebody and their keys, under an ETag to base a change on."""
    person, keys = await services.directory.find(caller, principal_id)
    told = UserDocument.of(person).model_dump()
    told["keys"] = [ApiKeyDocument.of(key) for key in keys]
    return answer(UserDetailDocument.model_validate(told), headers=_etag(person))


@endpoint(
    router,
    "POST",
    "/users",
    Permission.USERS_WRITE,
    Rate.CHANGE,
    answer=UserDocument,
    example=shown.PERSON | {"version": 1},
    status=201,
    body_example=shown.CREATE_USER,
    failures=(NotAllowed,),
    headers=ETAG,
)
async def create_user(
    caller: Asking, services: With, command_id: CommandIdOf, body: CreateBody
) -> Response:
    """Add a person or service; a name is given once and for ever."""
    person = await services.users.create(
        caller,
        PrincipalId(body.principal_id),
        body.kind,
        body.wanted(),
        body.reason,
        command_id=command_id,
    )
    return _told(person, 201)


@endpoint(
    router,
    "PATCH",
    "/users/{principal_id}",
    Permission.USERS_WRITE,
    Rate.CHANGE,
    answer=UserDocument,
    example=shown.PERSON,
    body_example=shown.SET_USER,
    if_match=True,
    failures=(NotFound, NotAllowed, Outdated),
    headers=ETAG,
)
async def set_user(  # noqa: PLR0913, PLR0917 - as FastAPI has it
    caller: Asking,
    services: With,
    command_id: CommandIdOf,
    principal_id: UserPath,
    body: SetBody,
    if_match: IfMatch = "",
) -> Response:
    """Change what somebody else may do, as it was read under `If-Match`; it counts at once."""
    person = await services.users.set(
        caller,
        PrincipalId(principal_id),
        body.wanted(),
        body.reason,
        version=_version(if_match),
        command_id=command_id,
    )
    return _told(person)


@endpoint(
    router,
    "POST",
    "/users/{principal_id}/disable",
    Permission.USERS_WRITE,
    Rate.SAFETY,
    answer=UserDocument,
    example=shown.PERSON | {"disabled_at": "2026-11-28T12:00:00Z"},
    body_example={"reason": "left"},
    failures=(NotFound, NotAllowed),
    headers=ETAG,
)
async def disable_user(
    caller: Asking, services: With, command_id: CommandIdOf, principal_id: UserPath, why: Why
) -> Response:
    """Let somebody in no more, whatever the credential, from the next request on.

    It takes no `If-Match`: whatever was changed meanwhile, nobody is to be let in.
    """
    person = await services.users.disable(
        caller, PrincipalId(principal_id), why.reason, command_id=command_id
    )
    return _told(person)


@endpoint(
    router,
    "POST",
    "/users/{principal_id}/enable",
    Permission.USERS_WRITE,
    Rate.CHANGE,
    answer=UserDocument,
    example=shown.PERSON,
    body_example={"reason": "is back"},
    if_match=True,
    failures=(NotFound, NotAllowed, Outdated),
    headers=ETAG,
)
async def enable_user(  # noqa: PLR0913, PLR0917 - as FastAPI has it
    caller: Asking,
    services: With,
    command_id: CommandIdOf,
    principal_id: UserPath,
    why: Why,
    if_match: IfMatch = "",
) -> Response:
    """Let somebody in again, with what he may do as it was read under `If-Match`."""
    person = await services.users.disable(
        caller,
        PrincipalId(principal_id),
        why.reason,
        enable=True,
        version=_version(if_match),
        command_id=command_id,
    )
    return _told(person)


@endpoint(
    router,
    "GET",
    "/api-keys",
    Permission.USERS_READ,
    Rate.READ,
    answer=ApiKeysDocument,
    example={"keys": [shown.API_KEY]},
)
async def list_api_keys(
    caller: Asking,
    services: With,
    principal: Annotated[
        str | None, Query(pattern=NAME, description="Only this one's.", examples=["ann"])
    ] = None,
) -> Response:
    """List API keys without their secrets: for what, until when, when last used."""
    found = await services.directory.keys(caller, principal)
    return answer(ApiKeysDocument(keys=[ApiKeyDocument.of(each) for each in found]))


@endpoint(
    router,
    "POST",
    "/users/{principal_id}/api-keys",
    Permission.USERS_WRITE,
    Rate.CHANGE,
    answer=MadeKeyDocument,
    example=shown.MADE_KEY,
    status=201,
    body_example=shown.CREATE_KEY,
    failures=(NotFound, NotAllowed),
)
async def create_api_key(
    caller: Asking, services: With, command_id: CommandIdOf, principal_id: UserPath, body: KeyBody
) -> Response:
    """Draw a key, and tell it this one time: it is kept nowhere, encrypted or not.

    The same request again is answered with the key's record and `key` null. A key whose answer
    was lost opens nothing for anybody: revoke it, and make another one.
    """
    made = await services.users.create_key(
        caller,
        PrincipalId(principal_id),
        lasts=timedelta(days=body.days),
        scopes=body.scopes,
        label=body.label,
        why=body.reason,
        people_have_keys=services.settings.oidc() is None,
        command_id=command_id,
    )
    again = MadeKeyDocument(api_key=ApiKeyDocument.of(made.record), key=None, note=_NOT_AGAIN)
    if made.key is None:
        return answer(again, 201)
    told = again.model_copy(update={"key": made.key.text, "note": _SHOWN})
    return Once(told, again, 201)


@endpoint(
    router,
    "POST",
    "/api-keys/{key_id}/revoke",
    Permission.USERS_WRITE,
    Rate.SAFETY,
    answer=ApiKeyDocument,
    example=shown.API_KEY | {"revoked_at": "2026-11-28T12:00:00Z"},
    body_example={"reason": "leaked"},
    failures=(NotFound, NotAllowed),
)
async def revoke_api_key(
    caller: Asking, services: With, command_id: CommandIdOf, key_id: KeyPath, why: Why
) -> Response:
    """Let a key open nothing any more, from the next request on and for good."""
    record = await services.users.revoke_key(caller, key_id, why.reason, command_id=command_id)
    return answer(ApiKeyDocument.of(record))


def _told(person: Person, status: int = 200) -> Response:
    return answer(UserDocument.of(person), status, headers=_etag(person))


def _etag(person: Person) -> dict[str, str]:
    return {"ETag": quoted(person.version)}


def _version(if_match: str) -> int:
    """The version that an ETag names; raises `PreconditionFailed` if it names none."""
    text = unquoted(if_match)
    if text.isascii() and text.isdecimal() and len(text) < 10:  # noqa: PLR2004 - digits of an int
        return int(text)
    raise stale(if_match)
