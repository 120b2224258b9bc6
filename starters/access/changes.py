"""Looking after people, keys, groups and delegations; each change in the name of its caller.

The database refuses what nobody may do: change what one may do oneself, leave no admin, undo a
revocation. Here that becomes the domain's errors.
"""

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, LiteralString
from uuid import uuid4

import psycopg
from psycopg import AsyncConnection
from pydantic import ValidationError

from domain.deals import invalid_input_from
from domain.errors import Conflict, InvalidInput, NotAllowed, Outdated
from domain.identity import (
    Caller,
    GroupId,
    Permission,
    Principal,
    PrincipalId,
    PrincipalKind,
    Role,
    Via,
)
from starters.access.keys import ApiKey
from starters.access.people import (
    DelegationRecord,
    GroupRecord,
    KeyRecord,
    PeopleReader,
    Person,
    no_such_delegation,
    no_such_principal,
)
from starters.control.database import ControlDatabase

LONGEST_KEY: Final = timedelta(days=366)
_FIRST_KEY: Final = timedelta(hours=24)
"""Of the first admin: long enough to give people their subjects at the identity provider."""

_ADD: Final[LiteralString] = (
    "INSERT INTO control.principals"
    " (principal_id, kind, name, subject, roles, banks, max_deal_usd8)"
    " VALUES (%(principal_id)s, %(kind)s, %(name)s, %(subject)s, %(roles)s, %(banks)s,"
    " %(max_deal_usd8)s)"
)
_SET: Final[LiteralString] = (
    "UPDATE control.principals SET name = coalesce(%(name)s, name),"
    " subject = coalesce(%(subject)s, subject), roles = coalesce(%(roles)s, roles),"
    " banks = coalesce(%(banks)s, banks),"
    " max_deal_usd8 = coalesce(%(max_deal_usd8)s, max_deal_usd8)"
    " WHERE principal_id = %(principal_id)s"
    " AND (%(version)s::integer IS NULL OR version = %(version)s)"
)
_DISABLE: Final[LiteralString] = (
    "UPDATE control.principals SET"
    " disabled_at = CASE WHEN NOT %(enable)s THEN clock_timestamp() END"
    " WHERE principal_id = %(principal_id)s AND (disabled_at IS NOT NULL) = %(enable)s"
    " AND (%(version)s::integer IS NULL OR version = %(version)s)"
)
_ADD_KEY: Final[LiteralString] = (
    "INSERT INTO control.api_keys (key_id, principal_id, hash, label, scopes, expires_at)"
    " VALUES (%s, %s, %s, %s, %s, %s)"
)
_REVOKE: Final[LiteralString] = (
    "UPDATE control.api_keys SET revoked_at = clock_timestamp()"
    " WHERE key_id = %s AND revoked_at IS NULL"
)
_ADD_GROUP: Final[LiteralString] = (
    "INSERT INTO control.groups (group_id, name) VALUES (%(group)s, %(name)s)"
)
_JOIN: Final[LiteralString] = (
    "INSERT INTO control.memberships (group_id, principal_id)"
    " VALUES (%(group)s, %(principal)s) ON CONFLICT DO NOTHING"
)
_LEAVE: Final[LiteralString] = (
    "DELETE FROM control.memberships WHERE group_id = %(group)s AND principal_id = %(principal)s"
)
_END: Final[LiteralString] = (
    "UPDATE control.delegations SET ended_at = clock_timestamp()"
    " WHERE delegation_id = %s AND ended_at IS NULL AND (NOT %s OR approver = %s)"
)
_HAS_ADMIN: Final[LiteralString] = (
    "SELECT 1 FROM control.principals AS p WHERE 'admin' = ANY (p.roles) AND p.disabled_at IS NULL"
    " AND (p.subject IS NOT NULL OR EXISTS (SELECT FROM control.api_keys AS k"
    " WHERE k.principal_id = p.principal_id AND k.revoked_at IS NULL"
    " AND k.expires_at > clock_timestamp()))"
)


@dataclass(frozen=True)
class Wanted:
    """What somebody is to be; what is None stays as it is, or is nothing at first."""

    name: str | None = None
    subject: str | None = None
    roles: tuple[Role, ...] | None = None
    banks: tuple[str, ...] | None = None
    max_deal_usd8: int | None = None

    def parameters(self, principal_id: str) -> dict[str, Any]:
        """As the statements take it."""
        if self.banks is not None or self.roles is not None:
            asked = {"banks": self.banks or (), "roles": self.roles or ()}
            try:
                Principal.model_validate({"principal_id": principal_id} | asked)
            except ValidationError as error:
                raise invalid_input_from(error) from None
        return {
            "principal_id": principal_id,
            "name": self.name,
            "subject": self.subject,
            "roles": None if self.roles is None else sorted(set(self.roles)),
            "banks": None if self.banks is None else sorted(set(self.banks)),
            "max_deal_usd8": self.max_deal_usd8,
        }


@dataclass(frozen=True)
class MadeKey:
    """A new API key: its record, and the key itself the one time that anybody sees it.

    `key` is None for whoever repeats the request: it was shown then, and is kept nowhere.
    """

    record: KeyRecord
    key: ApiKey | None


def _require_banks(caller: Caller, banks: Iterable[str]) -> None:
    """Raise `Forbidden` unless the caller looks after people, and of all these banks.

    An admin of one bank could otherwise make himself a helper at another.
    """
    caller.require(Permission.USERS_WRITE)
    for bank in banks:
        caller.require(Permission.USERS_WRITE, bank)


class Users:
    """The tables of people, as an admin changes them. Every method raises `Forbidden`.

    What has a `command_id` is done once: whoever repeats it is answered how things stand.
    """

    def __init__(self, people: PeopleReader, control: ControlDatabase) -> None:
        """Read by the one, change by the other."""
        self._people = people
        self._control = control

    async def create(  # noqa: PLR0913 - what somebody is made of
        self,
        caller: Caller,
        principal_id: PrincipalId,
        kind: PrincipalKind,
        wanted: Wanted,
        why: str,
        *,
        command_id: str | None = None,
    ) -> Person:
        """Add somebody. Raises `Conflict` if the name or the subject was ever given before."""
        _require_banks(caller, wanted.banks or ())
        fields = wanted.parameters(principal_id) | {"kind": kind}
        for field, nothing in (("name", ""), ("roles", []), ("banks", []), ("max_deal_usd8", 0)):
            fields[field] = nothing if fields[field] is None else fields[field]
        await self._once(caller, why, "user.create", command_id, _ADD, fields)
        return await self._people.get(principal_id)

    async def set(  # noqa: PLR0913 - what a change is made of
        self,
        caller: Caller,
        principal_id: PrincipalId,
        wanted: Wanted,
        why: str,
        *,
        version: int | None = None,
        command_id: str | None = None,
    ) -> Person:
        """Change what somebody may do, if a version is given only that one.

        Raises `NotFound`, `NotAllowed` for oneself, and `Outdated`.
        """
        _require_banks(caller, wanted.banks or ())
        await self._of_callers_banks(caller, principal_id)
        fields = wanted.parameters(principal_id) | {"version": version}
        if await self._done(caller, "user.set", command_id) is None:
            async with self._change(caller, why, "user.set", command_id) as connection:
                changed = await connection.execute(_SET, fields)
                _ensure_newest(changed.rowcount, principal_id, version)
        return await self._people.get(principal_id)

    async def disable(  # noqa: PLR0913 - likewise
        self,
        caller: Caller,
        principal_id: PrincipalId,
        why: str,
        *,
        enable: bool = False,
        version: int | None = None,
        command_id: str | None = None,
    ) -> Person:
        """Let somebody in no more, at once; or again, if a version is given as that one only.

        Raises `NotFound`, `NotAllowed` and `Outdated`.
        """
        before = await self._of_callers_banks(caller, principal_id)
        action = "user.enable" if enable else "user.disable"
        if await self._done(caller, action, command_id) is None:
            _ensure_newest(version in {None, before.version}, principal_id, version)
            async with self._change(caller, why, action, command_id) as connection:
                named = {"principal_id": principal_id, "enable": enable, "version": version}
                changed = await connection.execute(_DISABLE, named)
                is_so = (before.disabled_at is None) is enable
                _ensure_newest(changed.rowcount or is_so, principal_id, version)
        return await self._people.get(principal_id)

    async def create_key(  # noqa: PLR0913 - what a key is made of
        self,
        caller: Caller,
        principal_id: PrincipalId,
        *,
        lasts: timedelta,
        scopes: Iterable[Permission] | None,
        label: str,
        why: str,
        people_have_keys: bool,
        command_id: str | None = None,
    ) -> MadeKey:
        """Draw a key. This is the only time that anybody sees it.

        People come by the identity provider where there is one: a key of theirs would go on
        opening when the provider has closed. Raises `NotAllowed`, `NotFound` and `InvalidInput`.
        """
        person = await self._of_callers_banks(caller, principal_id)
        if person.kind is PrincipalKind.HUMAN and not people_have_keys:
            raise NotAllowed(
                f"{principal_id} comes by the identity provider, and gets no key",
                field="principal",
                value=principal_id,
                limit="keys are for services where DEAL_OIDC_ISSUER is set",
                next_action="make a service, or set the subject of this person (`deal users set`)",
            )
        if not timedelta(0) < lasts <= LONGEST_KEY:
            raise InvalidInput(
                "a key cannot last that long",
                field="days",
                value=lasts.days,
                limit=f"1 to {LONGEST_KEY.days} days",
                next_action="choose fewer days",
            )
        made = await self._done(caller, "key.create", command_id)
        if made is not None:
            return MadeKey(await self._people.key_of(made), None)
        key = ApiKey.generate()
        listed = None if scopes is None else sorted(set(scopes))
        ends = datetime.now(UTC) + lasts
        async with self._change(caller, why, "key.create", command_id) as connection:
            await connection.execute(
                _ADD_KEY, (key.key_id, principal_id, key.hash, label, listed, ends)
            )
        return MadeKey(await self._people.key_of(key.key_id), key)

    async def revoke_key(
        self, caller: Caller, key_id: str, why: str, *, command_id: str | None = None
    ) -> KeyRecord:
        """Let a key open nothing any more, at once and for good. Raises `NotFound`."""
        caller.require(Permission.USERS_WRITE)
        record = await self._people.key_of(key_id)
        await self._of_callers_banks(caller, record.principal_id)
        async with self._change(caller, why, "key.revoke", command_id) as connection:
            await connection.execute(_REVOKE, (key_id,))
        return await self._people.key_of(key_id)

    async def bootstrap(self, principal_id: PrincipalId, why: str) -> ApiKey:
        """Add the first admin, with a key for a day; only while no admin can come in.

        Raises `NotAllowed` if there is one, and `Conflict` if the name was given before.
        """
        key = ApiKey.generate()
        nobody = Principal(principal_id=PrincipalId("bootstrap"), kind=PrincipalKind.SERVICE)
        caller = Caller(principal=nobody, via=Via.CLI)
        wanted = Wanted(roles=(Role.ADMIN,), banks=("*",))
        fields = wanted.parameters(principal_id) | {"name": "", "max_deal_usd8": 0}
        async with self._change(caller, why, "user.bootstrap") as connection:
            await connection.execute("LOCK TABLE control.principals IN SHARE ROW EXCLUSIVE MODE")
            found = await connection.execute(_HAS_ADMIN)
            if await found.fetchone() is not None:
                raise NotAllowed(
                    "there is an admin already",
                    field="principal",
                    value=principal_id,
                    limit="only while no admin can come in",
                    next_action="have the admin do it (`deal users create`)",
                )
            await connection.execute(_ADD, fields | {"kind": PrincipalKind.HUMAN})
            ends = datetime.now(UTC) + _FIRST_KEY
            await connection.execute(
                _ADD_KEY, (key.key_id, principal_id, key.hash, "bootstrap", None, ends)
            )
        return key

    async def create_group(
        self,
        caller: Caller,
        group_id: GroupId,
        name: str,
        why: str,
        command_id: str | None = None,
    ) -> GroupRecord:
        """Add a group with nobody in it. Raises `Conflict`."""
        caller.require(Permission.USERS_WRITE)
        made = {"group": group_id, "name": name}
        await self._once(caller, why, "group.create", command_id, _ADD_GROUP, made)
        return await self._people.group(group_id)

    async def join(
        self,
        caller: Caller,
        group_id: GroupId,
        principal_id: PrincipalId,
        why: str,
        command_id: str | None = None,
    ) -> GroupRecord:
        """Put somebody else into a group. Raises `NotFound` and `NotAllowed`."""
        return await self._member(
            caller, "group.join", _JOIN, group_id, principal_id, why, command_id
        )

    async def leave(
        self,
        caller: Caller,
        group_id: GroupId,
        principal_id: PrincipalId,
        why: str,
        command_id: str | None = None,
    ) -> GroupRecord:
        """Take somebody out of a group. Raises `NotFound`."""
        return await self._member(
            caller, "group.leave", _LEAVE, group_id, principal_id, why, command_id
        )

    async def _member(  # noqa: PLR0913, PLR0917 - what a change of a group is made of
        self,
        caller: Caller,
        action: str,
        statement: LiteralString,
        group_id: GroupId,
        principal_id: PrincipalId,
        why: str,
        command_id: str | None,
    ) -> GroupRecord:
        await self._of_callers_banks(caller, principal_id)
        await self._people.group(group_id)
        named = {"group": group_id, "principal": principal_id}
        await self._once(caller, why, action, command_id, statement, named)
        return await self._people.group(group_id)

    async def delegate(  # noqa: PLR0913, PLR0917 - what a delegation is made of
        self,
        caller: Caller,
        group_id: GroupId,
        starts: datetime,
        ends: datetime,
        why: str,
        command_id: str | None = None,
    ) -> DelegationRecord:
        """Have a group stand in for the caller, who approves himself.

        Raises `NotAllowed`, `NotFound` and `InvalidInput`.
        """
        caller.require(Permission.DEALS_APPROVE)
        await self._people.group(group_id)
        begun = await self._done(caller, "delegation.begin", command_id)
        if begun is None:
            begun = str(uuid4())
            async with self._change(caller, why, "delegation.begin", command_id) as connection:
                await connection.execute(
                    "INSERT INTO control.delegations"
                    " (delegation_id, approver, group_id, starts_at, ends_at, why)"
                    " VALUES (%s, %s, %s, %s, %s, %s)",
                    (begun, caller.who, group_id, starts, ends, why),
                )
        return await self._people.delegation(begun)

    async def end_delegation(
        self, caller: Caller, delegation_id: str, why: str, command_id: str | None = None
    ) -> DelegationRecord:
        """End a delegation early: one's own, or any as an admin. Raises `NotFound`."""
        own = not caller.may(Permission.USERS_WRITE)
        if own:
            caller.require(Permission.DEALS_APPROVE)
        if await self._done(caller, "delegation.end", command_id) is None:
            async with self._change(caller, why, "delegation.end", command_id) as connection:
                ended = await connection.execute(_END, (delegation_id, own, caller.who))
                if ended.rowcount == 0:
                    raise no_such_delegation(delegation_id)
        return await self._people.delegation(delegation_id)

    async def _of_callers_banks(self, caller: Caller, principal_id: PrincipalId) -> Person:
        """Return somebody whom the caller may change: of no bank that is not his.

        Raises `Forbidden`, and `NotFound`.
        """
        caller.require(Permission.USERS_WRITE)
        person = await self._people.get(principal_id)
        _require_banks(caller, person.banks)
        return person

    async def _done(self, caller: Caller, action: str, command_id: str | None) -> str | None:
        """What this command has changed already, though its answer may have been lost."""
        if command_id is None:
            return None
        return await self._people.changed_by(command_id, caller.who, action)

    async def _once(  # noqa: PLR0913, PLR0917 - the parts of a change
        self,
        caller: Caller,
        why: str,
        action: str,
        command_id: str | None,
        statement: LiteralString,
        values: Mapping[str, Any],
    ) -> None:
        """Make a change by one statement, unless this command has made it."""
        if await self._done(caller, action, command_id) is None:
            async with self._change(caller, why, action, command_id) as connection:
                await connection.execute(statement, values)

    @asynccontextmanager
    async def _change(
        self, caller: Caller, why: str, action: str, command_id: str | None = None
    ) -> AsyncIterator[AsyncConnection[Any]]:
        try:
            async with self._control.change(caller, why, command_id, action=action) as connection:
                yield connection
        except psycopg.errors.UniqueViolation as error:
            raise Conflict(
                "the name, or the subject, is somebody's already",
                field=error.diag.constraint_name,
                actual=error.diag.message_detail,
                next_action="choose another one; a name is never given twice",
            ) from error
        except psycopg.errors.ForeignKeyViolation as error:
            raise no_such_principal(error.diag.message_detail or "") from error
        except psycopg.errors.CheckViolation as error:
            raise InvalidInput(
                f"this cannot be: {(error.diag.constraint_name or '').replace('_', ' ')}",
                field=error.diag.constraint_name,
                limit=_LIMITS.get(error.diag.constraint_name or ""),
                next_action="correct it and try again",
            ) from error
        except psycopg.errors.IntegrityError as error:
            raise NotAllowed(
                error.diag.message_primary or "this is not allowed",
                field=error.diag.constraint_name,
                limit=_LIMITS.get(error.diag.constraint_name or ""),
                next_action="have somebody else do it who may",
            ) from error


def _ensure_newest(is_it: object, principal_id: str, version: int | None) -> None:
    """Raise `Outdated` unless what is changed is what was looked at."""
    if not is_it:
        raise Outdated(
            f"{principal_id} was changed since this was read",
            field="version",
            value=version,
            limit="the newest version",
            next_action="read it again, and decide anew",
        )


_LIMITS: Final = {
    "not_oneself": "another admin changes it",
    "last_admin": "at least one admin who is enabled",
    "own_part": "an approver, for himself",
    "second_persons_are_people": "services are never approver, risk_manager or admin",
    "services_have_keys": "only people have a subject at the identity provider",
    "a_period": "an end after the begin, at most 92 days later",
}
