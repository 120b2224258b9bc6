"""What the commands of `deal users`, `groups`, `delegate` and `whoami` do."""

import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, NamedTuple

import typer
from pydantic import BaseModel
from rich.box import SIMPLE_HEAD
from rich.table import Table

from domain.amounts import USD_DECIMALS, Amount
from domain.errors import InvalidConfiguration, InvalidInput
from domain.identity import GroupId, Permission, PrincipalId, PrincipalKind, Role
from starters.access.changes import Users, Wanted
from starters.access.directory import Directory
from starters.access.keys import ApiKey
from starters.access.people import PeopleReader, Person
from starters.cli.formats import usd
from starters.cli.output import Output, print_json, show
from starters.cli.session import caller, load_settings
from starters.control.database import ControlDatabase
from starters.deals.database import single_connection
from starters.local.identities import write_key


class KeyOptions(NamedTuple):
    """The options of `deal users key create`."""

    name: str
    reason: str
    file: Path | None
    scopes: tuple[str, ...] | None
    days: int
    label: str
    show_key: bool


async def whoami(output: Output) -> None:
    """Print the caller."""
    who = await caller()
    _facts(
        {
            "principal": who.who,
            "kind": who.principal.kind,
            "roles": sorted(who.principal.roles),
            "banks": sorted(who.principal.banks),
            "max_deal_usd8": str(who.principal.max_deal_usd8),
            "groups": sorted(who.principal.groups),
            "stands_in_for": [each.approver for each in who.principal.stands_in],
            "credential": who.credential,
            "permissions": [each for each in Permission if who.may(each)],
        },
        output,
    )


async def list_users(output: Output) -> None:
    """Print everybody."""
    who = await caller(Permission.USERS_READ)
    found = await _directory().everybody(who)
    if output is Output.JSON:
        print_json({"users": [_document(person) for person in found]})
        return
    columns = ("name", "kind", "roles", "banks", "up to", "groups", "state")
    show(_table(columns, [_row(person) for person in found]))


async def show_user(name: str, output: Output) -> None:
    """Print one and their keys."""
    who = await caller(Permission.USERS_READ)
    person, keys = await _directory().find(who, PrincipalId(name))
    _facts(_document(person) | {"keys": [_dumped(key) for key in keys]}, output)


async def create(name: str, wanted: Wanted, why: str, output: Output, *, service: bool) -> None:
    """Add somebody, and print them."""
    who = await caller(Permission.USERS_WRITE)
    kind = PrincipalKind.SERVICE if service else PrincipalKind.HUMAN
    person = await _users().create(who, PrincipalId(name), kind, wanted, why)
    _facts(_document(person), output)


async def set_user(name: str, wanted: Wanted, why: str, output: Output) -> None:
    """Change somebody, and print them."""
    who = await caller(Permission.USERS_WRITE)
    _facts(_document(await _users().set(who, PrincipalId(name), wanted, why)), output)


async def disable(name: str, why: str, output: Output, *, enable: bool) -> None:
    """Disable or enable somebody, and print them."""
    who = await caller(Permission.USERS_WRITE)
    person = await _users().disable(who, PrincipalId(name), why, enable=enable)
    _facts(_document(person), output)


async def bootstrap(name: str, why: str, file: Path, output: Output) -> None:
    """Add the first admin as the owner of the database, who could do anything anyway."""
    url = os.environ.get("DEAL_DATABASE_OWNER_URL")
    if not url:
        raise InvalidConfiguration(
            "the database whose first admin it is is not named",
            field="DEAL_DATABASE_OWNER_URL",
            limit="postgresql://owner@host:port/database",
            next_action="set it to a URL of the database's owner",
        )
    _ensure_new(file)
    users = Users(PeopleReader(single_connection(url)), ControlDatabase.at(url))
    key = await users.bootstrap(PrincipalId(name), why)
    _hand_over(key, file, output)


async def create_key(asked: KeyOptions, output: Output) -> None:
    """Draw a key, and write it to a file for its owner alone."""
    if (asked.file is None) != asked.show_key:
        raise InvalidInput(
            "it is not said where the key goes",
            field="key_file",
            limit="--key-file FILE, or --show-key",
            next_action="name a file; it is written with mode 0600",
        )
    who, settings = await caller(Permission.USERS_WRITE), load_settings()
    if asked.file is not None:
        _ensure_new(asked.file)
    made = await _users().create_key(
        who,
        PrincipalId(asked.name),
        lasts=timedelta(days=asked.days),
        scopes=None if asked.scopes is None else [_permission(each) for each in asked.scopes],
        label=asked.label,
        why=asked.reason,
        people_have_keys=settings.oidc() is None,
    )
    if made.key is None:
        raise AssertionError  # without a command id each call draws one
    _hand_over(made.key, asked.file, output)


async def list_keys(name: str | None, output: Output) -> None:
    """Print keys without their secrets."""
    who = await caller(Permission.USERS_READ)
    found = await _directory().keys(who, None if name is None else PrincipalId(name))
    if output is Output.JSON:
        print_json({"keys": [_dumped(key) for key in found]})
        return
    columns = ("key", "of", "for", "expires (UTC)", "last used (UTC)", "revoked", "label")
    rows = [
        (
            key.key_id,
            key.principal_id,
            "everything" if key.scopes is None else ", ".join(key.scopes),
            _moment(key.expires_at),
            _moment(key.last_used_at),
            _moment(key.revoked_at),
            key.label,
        )
        for key in found
    ]
    show(_table(columns, rows))


async def revoke_key(key_id: str, why: str, output: Output) -> None:
    """Revoke a key, and print it."""
    who = await caller(Permission.USERS_WRITE)
    _facts(_dumped(await _users().revoke_key(who, key_id, why)), output)


async def list_groups(output: Output) -> None:
    """Print the groups."""
    who = await caller(Permission.USERS_READ)
    found = await _directory().groups(who)
    if output is Output.JSON:
        print_json({"groups": [_dumped(group) for group in found]})
        return
    rows = [(group.group_id, group.name, ", ".join(group.members)) for group in found]
    show(_table(("group", "name", "members"), rows))


async def create_group(group: str, name: str, why: str, output: Output) -> None:
    """Add a group."""
    who = await caller(Permission.USERS_WRITE)
    await _users().create_group(who, GroupId(group), name, why)
    _facts({"group": group, "name": name}, output)


async def move(group: str, name: str, why: str, output: Output, *, into: bool) -> None:
    """Put somebody into a group, or take them out."""
    who, users = await caller(Permission.USERS_WRITE), _users()
    change = users.join if into else users.leave
    await change(who, GroupId(group), PrincipalId(name), why)
    person = await _people().get(name)
    _facts({"principal": name, "groups": list(person.groups)}, output)


async def delegate(group: str, days: int, why: str, output: Output) -> None:
    """Have a group stand in for the caller."""
    who = await caller(Permission.DEALS_APPROVE)
    begin = datetime.now(UTC)
    end = begin + timedelta(days=days)
    made = await _users().delegate(who, GroupId(group), begin, end, why)
    told = {"delegation": made.delegation_id, "group": group, "ends_at": end.isoformat()}
    _facts(told, output)


async def list_delegations(output: Output) -> None:
    """Print who stands in for whom."""
    found = await _directory().delegations(await caller())
    if output is Output.JSON:
        print_json({"delegations": [_dumped(each) for each in found]})
        return
    columns = ("delegation", "for", "group", "from (UTC)", "until (UTC)", "ended", "why")
    rows = [
        (
            each.delegation_id,
            each.approver,
            each.group_id,
            _moment(each.starts_at),
            _moment(each.ends_at),
            _moment(each.ended_at),
            each.why,
        )
        for each in found
    ]
    show(_table(columns, rows))


async def end_delegation(delegation: str, why: str, output: Output) -> None:
    """End a delegation."""
    await _users().end_delegation(await caller(), delegation, why)
    _facts({"delegation": delegation, "ended": True}, output)


def parse_wanted(
    roles: list[str] | None,
    banks: list[str] | None,
    max_usd: str | None,
    subject: str | None,
    name: str | None,
) -> Wanted:
    """Read the options; raises `InvalidInput` naming the one that is wrong."""
    limit = None
    if max_usd is not None:
        text = max_usd.replace(",", "").replace("_", "")
        limit = Amount.parse(text, decimals=USD_DECIMALS, field="max_usd").units
    return Wanted(
        name=name,
        subject=subject,
        roles=None if roles is None else tuple(_role(each) for each in roles),
        banks=None if banks is None else tuple(banks),
        max_deal_usd8=limit,
    )


def _role(text: str) -> Role:
    try:
        return Role(text)
    except ValueError:
        raise InvalidInput(
            "there is no such role",
            field="role",
            value=text,
            limit=", ".join(Role),
            next_action="choose one of those",
        ) from None


def _permission(text: str) -> Permission:
    try:
        return Permission(text)
    except ValueError:
        raise InvalidInput(
            "there is no such permission",
            field="scope",
            value=text,
            limit=", ".join(Permission),
            next_action="choose one of those",
        ) from None


def _people() -> PeopleReader:
    return PeopleReader(single_connection(load_settings().database_url.get_secret_value()))


def _directory() -> Directory:
    return Directory(_people())


def _users() -> Users:
    return Users(_people(), ControlDatabase.at(load_settings().control_database()))


def _ensure_new(file: Path) -> None:
    """Raise before a key is drawn that could not be kept, or would take another's place."""
    if file.exists() or not os.access(file.absolute().parent, os.W_OK):
        raise InvalidInput(
            "the key cannot be written there",
            field="key_file",
            value=file,
            limit="a new file in a folder that can be written to",
            next_action="name another file",
        )


def _hand_over(key: ApiKey, file: Path | None, output: Output) -> None:
    told: dict[str, Any] = {"key_id": key.key_id}
    if file is None:
        told["key"] = key.text
    else:
        write_key(file, key)
        told["key_file"] = str(file)
    _facts(told, output)


_HIDDEN: Final = {"hash"}


def _dumped(row: BaseModel) -> dict[str, Any]:
    return row.model_dump(mode="json", exclude=_HIDDEN)


def _document(person: Person) -> dict[str, Any]:
    return _dumped(person) | {"max_deal_usd8": str(person.max_deal_usd8)}


def _row(person: Person) -> tuple[str, ...]:
    return (
        person.principal_id,
        person.kind,
        ", ".join(person.roles),
        ", ".join(person.banks),
        usd(person.max_deal_usd8),
        ", ".join(person.groups),
        "disabled" if person.disabled_at else "",
    )


def _table(columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table


def _facts(told: dict[str, Any], output: Output) -> None:
    if output is Output.JSON:
        print_json(told)
        return
    for name, value in told.items():
        listed = ", ".join(map(str, value)) if isinstance(value, list) else value
        typer.echo(f"{name:<16}{'' if listed is None else listed}")


def _moment(when: datetime | None) -> str:
    return f"{when:%Y-%m-%d %H:%M}" if when else ""
