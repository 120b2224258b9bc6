"""Whose an API key is, as of now."""

from __future__ import annotations

import asyncio

import pytest

from domain.errors import Unauthenticated
from domain.identity import Caller, Permission, Role, Via
from starters.api.api_keys import ApiKeys, key_hash
from starters.deals.database import single_connection
from tests.control.people import add_principal, change
from tests.support.postgres import Database, Postgres

KEY = "a-key-of-256-bits-drawn-by-lot"


@pytest.fixture
def database(postgres: Postgres) -> Database:
    found = postgres.migrated()
    add_principal(found, "bot", "trader", kind="service", banks=("bank-one",))
    add_key(found, "bot")
    return found


def add_key(database: Database, who: str, **more: object) -> None:
    row = {"key_id": "k23456789012", "hash": key_hash(KEY), "expires": "1 day", "scopes": None}
    row |= more
    change(
        database,
        "INSERT INTO control.api_keys (key_id, principal_id, hash, scopes, expires_at)"
        " VALUES (%s, %s, %s, %s, clock_timestamp() + %s::interval)",
        row["key_id"],
        who,
        row["hash"],
        row["scopes"],
        row["expires"],
    )


async def caller(database: Database, key: str = KEY) -> Caller:
    keys = ApiKeys(single_connection(database.role("deal_reader")))
    return await keys.caller(key, Via.API, address="192.0.2.1", request_id="request-1")


async def test_a_key_tells_who_asks_and_never_itself(database: Database) -> None:
    found = await caller(database)
    assert (found.who, found.via, found.credential) == ("bot", Via.API, "k23456789012")
    assert (found.principal.roles, found.banks) == ({Role.TRADER}, ("bank-one",))
    assert (found.address, found.request_id) == ("192.0.2.1", "request-1")
    assert KEY not in repr(found)


async def test_a_scope_is_less_than_its_owner_may(database: Database) -> None:
    add_key(database, "bot", key_id="k23456789013", hash=key_hash("other"), scopes=["deals.read"])
    found = await caller(database, "other")
    assert found.may(Permission.DEALS_READ)
    assert not found.may(Permission.DEALS_START)


@pytest.mark.parametrize(
    "done",
    [
        "UPDATE control.api_keys SET revoked_at = clock_timestamp()",
        "UPDATE control.principals SET disabled_at = clock_timestamp() WHERE principal_id = 'bot'",
    ],
)
async def test_what_is_taken_away_counts_at_once(database: Database, done: str) -> None:
    await caller(database)
    change(database, done)
    with pytest.raises(Unauthenticated):
        await caller(database)


@pytest.mark.parametrize("key", ["", "another", KEY.upper(), key_hash(KEY)])
async def test_another_key_is_nobodys(database: Database, key: str) -> None:
    with pytest.raises(Unauthenticated) as caught:
        await caller(database, key)
    assert caught.value.problem.value is None


async def test_an_expired_key_is_nobodys(database: Database) -> None:
    add_key(
        database, "bot", key_id="k23456789014", hash=key_hash("soon"), expires="20 milliseconds"
    )
    await asyncio.sleep(0.05)
    with pytest.raises(Unauthenticated):
        await caller(database, "soon")
