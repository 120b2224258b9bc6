"""People, keys, groups and delegations over HTTP: once, by who may, and no key ever at rest."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest
from psycopg.rows import dict_row

from domain.errors import Unauthenticated
from domain.identity import Role, Via
from starters.access.authentication import Authenticator
from starters.access.people import PeopleReader
from starters.deals.database import single_connection
from tests.api.conftest import UNLIMITED, Api, Known, as_, key
from tests.control.people import add_principal
from tests.support.postgres import Database

WHY = {"reason": "a test"}


@pytest.fixture(autouse=True)
def office(database: Database, known: Known) -> None:
    """An admin, an approver and somebody who looks, known to the API and to the database."""
    with psycopg.connect(database.role("deal_reader")) as connection:
        there = connection.execute("SELECT principal_id FROM control.principals").fetchall()
    for name, role in (
        ("root", Role.ADMIN),
        ("second", Role.ADMIN),
        ("dora", Role.APPROVER),
        ("vera", Role.VIEWER),
        ("carla", Role.COMPLIANCE),
    ):
        known.add(name, role)
        if (name,) not in there:
            add_principal(database, name, role)


def named() -> str:
    return f"x{uuid4().hex[:8]}"


async def post(
    client: httpx.AsyncClient, path: str, body: Any, who: str = "root", **headers: str
) -> httpx.Response:
    given = as_(who, **key() | headers)
    return await client.post(f"/v1{path}", json=body, headers=given)


async def made(client: httpx.AsyncClient, **fields: Any) -> dict[str, Any]:
    body = {"principal_id": named(), "roles": ["trader"], "banks": ["bank-one"]} | WHY | fields
    answer = await post(client, "/users", body)
    assert answer.status_code == 201, answer.text
    told: dict[str, Any] = answer.json()
    return told


async def set_roles(
    client: httpx.AsyncClient, who: str, version: int, given: dict[str, str] | None = None
) -> httpx.Response:
    headers = as_("root", **(given or key())) | {"If-Match": f'"{version}"'}
    body = {"roles": ["senior_trader"]} | WHY
    return await client.patch(f"/v1/users/{who}", json=body, headers=headers)


def trail(database: Database, subject: str) -> list[dict[str, Any]]:
    with psycopg.connect(database.role("deal_reader"), row_factory=dict_row) as connection:
        return connection.execute(
            "SELECT action, actor, via, why, command_id FROM audit.events WHERE subject = %s"
            " ORDER BY sequence",
            (subject,),
        ).fetchall()


def lose_answers(database: Database) -> None:
    """As after a SIGKILL between an effect and its answer, when the lease has run out."""
    with psycopg.connect(database.owner) as connection:
        connection.execute("UPDATE control.requests SET status = NULL, answer = NULL")


async def test_a_person_is_made_once_and_read_back(api: Api, database: Database) -> None:
    given, name = key(), named()
    body = {"principal_id": name, "subject": f"sub-{name}", "max_deal_usd8": "200000000000001"}
    body |= {"roles": ["trader"], "banks": ["bank-one"]} | WHY
    async with api(**UNLIMITED) as client:
        first = await post(client, "/users", body, **given)
        again = await post(client, "/users", body, **given)
        other = await post(client, "/users", body)
        shown = await client.get(f"/v1/users/{name}", headers=as_("carla"))
        listed = await client.get("/v1/users", headers=as_("carla"))
    assert (first.status_code, first.headers["ETag"]) == (201, '"1"')
    assert (again.content, again.headers["Idempotency-Replayed"]) == (first.content, "true")
    assert again.headers["ETag"] == '"1"'
    assert (other.status_code, other.json()["code"]) == (409, "conflict")
    assert shown.headers["ETag"] == '"1"'
    assert shown.json() == first.json() | {"keys": []}
    assert first.json()["max_deal_usd8"] == "200000000000001"
    assert name in {each["principal_id"] for each in listed.json()["users"]}
    (row,) = trail(database, name)
    assert (row["action"], row["actor"], row["via"], row["why"]) == (
        "user.create",
        "root",
        "api",
        "a test",
    )
    assert row["command_id"].startswith("api-")


async def test_what_was_read_is_what_is_changed(api: Api) -> None:
    async with api(**UNLIMITED) as client:
        name = (await made(client))["principal_id"]
        changed = await set_roles(client, name, 1)
        stale = await set_roles(client, name, 1)
        unread = await client.patch(f"/v1/users/{name}", json=WHY, headers=as_("root", **key()))
        nothing = await client.patch(
            f"/v1/users/{name}",
            json=WHY,
            headers=as_("root", **key()) | {"If-Match": '"one"'},
        )
        shown = (await client.get(f"/v1/users/{name}", headers=as_("root"))).json()
    assert (changed.status_code, changed.headers["ETag"]) == (200, '"2"')
    assert (changed.json()["roles"], changed.json()["banks"]) == (["senior_trader"], ["bank-one"])
    assert (stale.status_code, stale.json()["code"]) == (412, "outdated")
    assert (unread.status_code, unread.json()["code"]) == (428, "precondition_required")
    assert (nothing.status_code, nothing.json()["code"]) == (412, "precondition_failed")
    assert shown["version"] == 2


async def test_nobody_is_let_in_by_a_change_that_somebody_else_made(api: Api) -> None:
    async with api(**UNLIMITED) as client:
        name = (await made(client))["principal_id"]
        disabled = await post(client, f"/users/{name}/disable", WHY)
        await set_roles(client, name, 2)
        stale = await post(client, f"/users/{name}/enable", WHY, **{"If-Match": '"2"'})
        enabled = await post(client, f"/users/{name}/enable", WHY, **{"If-Match": '"3"'})
    assert disabled.json()["disabled_at"] is not None
    assert (stale.status_code, stale.json()["code"]) == (412, "outdated")
    assert (enabled.status_code, enabled.json()["disabled_at"]) == (200, None)
    assert enabled.json()["roles"] == ["senior_trader"]


async def test_what_nobody_may_is_refused(api: Api) -> None:
    async with api(**UNLIMITED) as client:
        version = (await client.get("/v1/users/root", headers=as_("root"))).json()["version"]
        own = await set_roles(client, "root", version)
        bot = {"principal_id": named(), "kind": "service", "roles": ["admin"]} | WHY
        admin = await post(client, "/users", bot)
        nobody = await post(client, "/users/nobody/disable", WHY)
        viewer = await post(client, "/users", {"principal_id": named()} | WHY, who="vera")
        mixed = await post(client, "/users", {"principal_id": named(), "banks": ["A B"]} | WHY)
    assert (own.status_code, own.json()["field"]) == (409, "not_oneself")
    assert (admin.status_code, admin.json()["field"]) == (422, "second_persons_are_people")
    assert (nobody.status_code, nobody.json()["code"]) == (404, "not_found")
    assert (viewer.status_code, viewer.json()["code"]) == (403, "forbidden")
    assert mixed.status_code == 422


async def test_a_key_is_told_once_and_opens_what_it_is_for(api: Api, database: Database) -> None:
    given, body = key(), {"days": 2, "scopes": ["deals.read"], "label": "a bot"} | WHY
    async with api(**UNLIMITED) as client:
        name = (await made(client, kind="service"))["principal_id"]
        first = await post(client, f"/users/{name}/api-keys", body, **given)
        again = await post(client, f"/users/{name}/api-keys", body, **given)
        listed = await client.get("/v1/api-keys", params={"principal": name}, headers=as_("root"))
        told, record = first.json(), first.json()["api_key"]
        reader = PeopleReader(single_connection(database.role("deal_reader")))
        door = Authenticator(reader, None)
        caller = await door.authenticate(told["key"], via=Via.API)
        revoked = await post(client, f"/api-keys/{record['key_id']}/revoke", WHY)
        with pytest.raises(Unauthenticated):
            await door.authenticate(told["key"], via=Via.API)
        unknown = await post(client, "/api-keys/zzzzzzzzzzzz/revoke", WHY)
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.headers["Idempotency-Replayed"] == "true"
    assert again.json()["key"] is None
    assert "not shown again" in again.json()["note"]
    assert again.json()["api_key"] == record
    assert [each["key_id"] for each in listed.json()["keys"]] == [record["key_id"]]
    assert (caller.who, caller.scopes) == (name, {"deals.read"})
    assert revoked.json()["revoked_at"] is not None
    assert unknown.status_code == 404


async def test_no_key_is_at_rest_even_for_who_has_the_idempotency_key(
    api: Api, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is kept is looked at before it is encrypted, and in the database as it is there."""
    from starters.api import idempotency

    kept: list[bytes] = []
    sealed = idempotency._sealed

    def noted(held: Any, given: Any) -> bytes:
        kept.append(given.body)
        return sealed(held, given)

    monkeypatch.setattr(idempotency, "_sealed", noted)
    async with api(**UNLIMITED) as client:
        name = (await made(client, kind="service"))["principal_id"]
        told = (await post(client, f"/users/{name}/api-keys", WHY)).json()
    secret = told["key"].rpartition("_")[2]
    assert secret
    assert kept
    assert all(secret.encode() not in body for body in kept)
    with psycopg.connect(database.owner) as connection:
        tables = connection.execute(
            "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables"
            " WHERE schemaname IN ('control', 'audit')"
        ).fetchall()
        assert len(tables) > 5
        for (table,) in tables:
            found = connection.execute(
                f"SELECT count(*) FROM {table} AS kept WHERE kept::text LIKE %s",  # noqa: S608 - the catalogue's names
                (f"%{secret}%",),
            ).fetchone()
            assert found == (0,), table


async def test_a_lost_answer_changes_nothing_a_second_time(api: Api, database: Database) -> None:
    keys = [key() for _ in range(4)]
    async with api(**UNLIMITED) as client:
        body = {"principal_id": named(), "kind": "service", "roles": ["trader"]} | WHY
        name = body["principal_id"]
        await post(client, "/users", body, **keys[0])
        await set_roles(client, name, 1, keys[1])
        key_made = await post(client, f"/users/{name}/api-keys", WHY, **keys[2])
        group = {"group_id": named()} | WHY
        await post(client, "/groups", group, **keys[3])
        lose_answers(database)
        again = [
            await post(client, "/users", body, **keys[0]),
            await set_roles(client, name, 1, keys[1]),
            await post(client, f"/users/{name}/api-keys", WHY, **keys[2]),
            await post(client, "/groups", group, **keys[3]),
        ]
        listed = await client.get("/v1/api-keys", params={"principal": name}, headers=as_("root"))
    assert [answer.status_code for answer in again] == [201, 200, 201, 201]
    assert not [answer for answer in again if "Idempotency-Replayed" in answer.headers]
    assert again[1].json()["version"] == 2
    assert again[2].json()["key"] is None
    assert again[2].json()["api_key"] == key_made.json()["api_key"]
    assert len(listed.json()["keys"]) == 1
    assert [row["action"] for row in trail(database, name)] == ["user.create", "user.set"]


async def test_people_get_no_key_where_there_is_an_identity_provider(api: Api) -> None:
    provider = {
        "oidc_issuer": "https://id.example",
        "oidc_audience": "deals",
        "oidc_jwks_url": "https://id.example/keys",
    }
    async with api(**UNLIMITED | provider) as client:
        person = (await made(client))["principal_id"]
        service = (await made(client, kind="service"))["principal_id"]
        refused = await post(client, f"/users/{person}/api-keys", WHY)
        allowed = await post(client, f"/users/{service}/api-keys", WHY)
    assert (refused.status_code, refused.json()["code"]) == (409, "not_allowed")
    assert allowed.status_code == 201


async def test_a_group_is_made_filled_and_emptied(api: Api) -> None:
    async with api(**UNLIMITED) as client:
        group = named()
        created = await post(client, "/groups", {"group_id": group, "name": "Deputies"} | WHY)
        twice = await post(client, "/groups", {"group_id": group} | WHY)
        added = await post(client, f"/groups/{group}/add", {"principal": "vera"} | WHY)
        again = await post(client, f"/groups/{group}/add", {"principal": "vera"} | WHY)
        oneself = await post(client, f"/groups/{group}/add", {"principal": "root"} | WHY)
        nobody = await post(client, f"/groups/{group}/add", {"principal": "nobody"} | WHY)
        nowhere = await post(client, "/groups/nowhere/add", {"principal": "vera"} | WHY)
        removed = await post(client, f"/groups/{group}/remove", {"principal": "vera"} | WHY)
        listed = await client.get("/v1/groups", headers=as_("carla"))
        viewer = await client.get("/v1/groups", headers=as_("vera"))
    assert (created.status_code, created.json()["members"]) == (201, [])
    assert (twice.status_code, twice.json()["code"]) == (409, "conflict")
    assert added.json()["members"] == again.json()["members"] == ["vera"]
    assert (oneself.status_code, oneself.json()["field"]) == (409, "not_oneself")
    assert [nobody.status_code, nowhere.status_code] == [404, 404]
    assert [nobody.json()["field"], nowhere.json()["field"]] == ["principal", "group"]
    assert removed.json()["members"] == []
    assert group in {each["group_id"] for each in listed.json()["groups"]}
    assert viewer.status_code == 403


async def test_an_approver_passes_on_his_part_and_takes_it_back(
    api: Api, database: Database
) -> None:
    async with api(**UNLIMITED) as client:
        group, given = named(), key()
        await post(client, "/groups", {"group_id": group} | WHY)
        await post(client, f"/groups/{group}/add", {"principal": "vera"} | WHY)
        body = {"group_id": group, "days": 3} | WHY
        begun = await post(client, "/delegations", body, "dora", **given)
        lose_answers(database)
        again = await post(client, "/delegations", body, "dora", **given)
        stands_in = (await client.get("/v1/users/vera", headers=as_("root"))).json()["stands_in"]
        unknown = await post(client, "/delegations", {"group_id": "nowhere"} | WHY, "dora")
        admin = await post(client, "/delegations", body, "root")
        seen = [await client.get("/v1/delegations", headers=as_(who)) for who in ("dora", "carla")]
        viewer = await client.get("/v1/delegations", headers=as_("vera"))
        name = begun.json()["delegation_id"]
        ended = await post(client, f"/delegations/{name}/end", WHY, "dora")
        over = await post(client, f"/delegations/{name}/end", WHY, "root")
        after = (await client.get("/v1/users/vera", headers=as_("root"))).json()["stands_in"]
    assert begun.status_code == 201
    assert again.json() == begun.json()
    assert [each["approver"] for each in stands_in] == ["dora"]
    assert (unknown.status_code, unknown.json()["field"]) == (404, "group")
    assert (admin.status_code, admin.json()["code"]) == (403, "forbidden")
    assert all(answer.json()["delegations"][0]["group_id"] == group for answer in seen)
    assert viewer.status_code == 403
    assert ended.json()["ended_at"] is not None
    assert (over.status_code, over.json()["code"]) == (404, "not_found")
    assert after == []


async def test_an_admin_ends_anybodys_delegation_and_an_approver_only_his_own(
    api: Api, known: Known, database: Database
) -> None:
    other = known.add(named(), Role.APPROVER)
    add_principal(database, other, Role.APPROVER)
    async with api(**UNLIMITED) as client:
        group = named()
        await post(client, "/groups", {"group_id": group} | WHY)
        begun = await post(client, "/delegations", {"group_id": group} | WHY, "dora")
        name = begun.json()["delegation_id"]
        others = await post(client, f"/delegations/{name}/end", WHY, other)
        ended = await post(client, f"/delegations/{name}/end", WHY, "root")
    assert (others.status_code, others.json()["code"]) == (404, "not_found")
    assert ended.status_code == 200
