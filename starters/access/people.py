"""Reading who there is: people, services, their keys and groups."""

from datetime import datetime
from typing import Annotated, Any, Final, LiteralString

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from domain.errors import NotFound
from domain.identity import GroupId, Permission, Principal, PrincipalId, PrincipalKind, Role
from starters.deals.database import Connections, fetch

_SELECT: Final[LiteralString] = (
    "SELECT principal_id, kind, name, subject, roles, banks, max_deal_usd8, groups, stands_in,"
    " disabled_at, version, created_at, updated_at FROM control.standing"
)
_KEY_COLUMNS: Final[LiteralString] = (
    "key_id, principal_id, hash, label, scopes, created_at, expires_at, revoked_at,"
    " last_used_at, expires_at <= clock_timestamp() AS expired"
)
_KEY: Final[LiteralString] = "SELECT " + _KEY_COLUMNS + " FROM control.api_keys"  # noqa: S608 - constants
# Asked at every request of the API, so all of it at once. A use is noted to the minute.
_HELD: Final[LiteralString] = (
    "SELECT " + _KEY_COLUMNS + ", last_used_at IS NULL"  # noqa: S608 - likewise
    " OR last_used_at < clock_timestamp() - interval '1 minute' AS unnoted,"
    " (SELECT to_jsonb(holder) FROM control.standing AS holder"
    " WHERE holder.principal_id = key.principal_id) AS holder FROM control.api_keys AS key"
)
_GROUPS: Final[LiteralString] = (
    "SELECT group_id, name, created_at, ARRAY(SELECT principal_id FROM control.memberships AS m"
    " WHERE m.group_id = g.group_id ORDER BY principal_id) AS members"
    " FROM control.groups AS g"
)
_DELEGATIONS: Final[LiteralString] = (
    "SELECT delegation_id, approver, group_id, starts_at, ends_at, ended_at, why, created_at"
    " FROM control.delegations"
)
_CHANGED: Final[LiteralString] = (
    "SELECT subject FROM audit.events WHERE command_id = %s AND actor = %s AND action = %s"
    " ORDER BY sequence LIMIT 1"
)

Whole = Annotated[int, BeforeValidator(int)]
"""An amount, which the database gives as a decimal."""


class _Row(BaseModel):
    model_config = ConfigDict(frozen=True)


class Person(_Row):
    """A person or service, with what is known beside what they may do."""

    principal_id: PrincipalId
    kind: PrincipalKind
    name: str
    subject: str | None
    roles: list[Role]
    banks: list[str]
    max_deal_usd8: Whole
    groups: list[GroupId]
    stands_in: list[dict[str, Any]]
    disabled_at: datetime | None
    version: int
    created_at: datetime
    updated_at: datetime

    @property
    def principal(self) -> Principal:
        """What counts when something is done."""
        fields = set(Principal.model_fields)
        return Principal.model_validate(self.model_dump(include=fields))


class KeyRecord(_Row):
    """An API key without its secret."""

    key_id: str
    principal_id: PrincipalId
    hash: Annotated[str, Field(exclude=True, repr=False)]
    label: str
    scopes: list[Permission] | None
    created_at: datetime
    expires_at: datetime
    revoked_at: datetime | None
    last_used_at: datetime | None
    expired: bool


class HeldKey(KeyRecord):
    """An API key with who has it; `unnoted` if its use is still to be written down."""

    unnoted: bool
    holder: Annotated[Person, Field(exclude=True)]


class GroupRecord(_Row):
    """A group and who is in it."""

    group_id: GroupId
    name: str
    created_at: datetime
    members: list[PrincipalId]


class DelegationRecord(_Row):
    """For whom a group stands in, and how long."""

    delegation_id: str
    approver: PrincipalId
    group_id: GroupId
    starts_at: datetime
    ends_at: datetime
    ended_at: datetime | None
    why: str
    created_at: datetime


class PeopleReader:
    """The tables of people, as the role ``deal_reader``. Every method raises `Unavailable`."""

    def __init__(self, connections: Connections) -> None:
        """Take a connection for each read."""
        self._connections = connections

    async def find(self, principal_id: str) -> Person | None:
        """Return one person or service."""
        return await self._one(_SELECT + " WHERE principal_id = %s", principal_id)

    async def get(self, principal_id: str) -> Person:
        """Return one person or service; raises `NotFound`."""
        found = await self.find(principal_id)
        if found is None:
            raise no_such_principal(principal_id)
        return found

    async def with_subject(self, subject: str) -> Person | None:
        """Return whom the identity provider means."""
        return await self._one(_SELECT + " WHERE subject = %s", subject)

    async def everybody(self) -> list[Person]:
        """Return everybody, by name."""
        rows = await fetch(self._connections, _SELECT + " ORDER BY principal_id", ())
        return [Person.model_validate(row) for row in rows]

    async def held(self, key_id: str) -> HeldKey | None:
        """Return one key with who has it."""
        rows = await fetch(self._connections, _HELD + " WHERE key_id = %s", (key_id,))
        return HeldKey.model_validate(rows[0]) if rows else None

    async def key_of(self, key_id: str) -> KeyRecord:
        """Return one key; raises `NotFound`."""
        rows = await fetch(self._connections, _KEY + " WHERE key_id = %s", (key_id,))
        if not rows:
            raise no_such_key(key_id)
        return KeyRecord.model_validate(rows[0])

    async def keys(self, principal_id: str | None = None) -> list[KeyRecord]:
        """Return the keys of one, or of all, the newest first."""
        where = " WHERE %s::text IS NULL OR principal_id = %s ORDER BY created_at DESC, key_id"
        rows = await fetch(self._connections, _KEY + where, (principal_id, principal_id))
        return [KeyRecord.model_validate(row) for row in rows]

    async def groups(self) -> list[GroupRecord]:
        """Return the groups, by name."""
        rows = await fetch(self._connections, _GROUPS + " ORDER BY group_id", ())
        return [GroupRecord.model_validate(row) for row in rows]

    async def delegations(self) -> list[DelegationRecord]:
        """Return what approvers have passed on, the newest first."""
        newest_first = " ORDER BY created_at DESC, delegation_id"
        rows = await fetch(self._connections, _DELEGATIONS + newest_first, ())
        return [DelegationRecord.model_validate(row) for row in rows]

    async def group(self, group_id: str) -> GroupRecord:
        """Return one group; raises `NotFound`."""
        rows = await fetch(self._connections, _GROUPS + " WHERE group_id = %s", (group_id,))
        if not rows:
            raise no_such_group(group_id)
        return GroupRecord.model_validate(rows[0])

    async def delegation(self, delegation_id: str) -> DelegationRecord:
        """Return one delegation; raises `NotFound`."""
        one = " WHERE delegation_id = %s"
        rows = await fetch(self._connections, _DELEGATIONS + one, (delegation_id,))
        if not rows:
            raise no_such_delegation(delegation_id)
        return DelegationRecord.model_validate(rows[0])

    async def changed_by(self, command_id: str, who: str, action: str) -> str | None:
        """Return what this person's command has changed already, as the audit trail names it."""
        rows = await fetch(self._connections, _CHANGED, (command_id, who, action))
        return str(rows[0]["subject"]) if rows else None

    async def note_use(self, key_id: str) -> None:
        """Write down that a key was used, to the minute."""
        await fetch(self._connections, "SELECT control.note_use(%s)", (key_id,))

    async def _one(self, query: str, value: str) -> Person | None:
        rows = await fetch(self._connections, query, (value,))
        return Person.model_validate(rows[0]) if rows else None


def no_such_principal(principal_id: str) -> NotFound:
    """There is nobody of that name."""
    return NotFound(
        f"there is nobody called {principal_id}",
        field="principal",
        value=principal_id,
        next_action="compare the name with `deal users list`",
    )


def no_such_group(group_id: str) -> NotFound:
    """There is no group of that name."""
    return NotFound(
        f"there is no group {group_id}",
        field="group",
        value=group_id,
        next_action="compare the name with `deal groups list`",
    )


def no_such_delegation(delegation_id: str) -> NotFound:
    """There is no such delegation, or it has ended."""
    return NotFound(
        "there is no such delegation that goes on",
        field="delegation",
        value=delegation_id,
        next_action="compare the id with `deal delegate list`",
    )


def no_such_key(key_id: str) -> NotFound:
    """There is no API key of that id."""
    return NotFound(
        f"there is no key {key_id}",
        field="key",
        value=key_id,
        next_action="compare the id with `deal users key list`",
    )
