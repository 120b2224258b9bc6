"""Limits and policy are changed on the ground of what was read: ETag and If-Match."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from domain.identity import Role
from starters.control.database import ControlDatabase
from starters.control.policies import POLICY_FILE, PolicyBook, read_policy
from starters.deals.database import single_connection
from tests.api.conftest import UNLIMITED, Api, Known, as_, key
from tests.control.people import add_principal, caller
from tests.support.postgres import Database, Postgres

SHIPPED = Path(__file__).parents[2] / "deploy" / "config" / POLICY_FILE
RISK = ("risk-1", "risk-2")
ABSENT = '"1-abc"'


@pytest.fixture
def database(postgres: Postgres) -> Database:
    """With the shipped policy in force, anew for each test, and two who may change it."""
    database = postgres.migrated()
    for name in RISK:
        add_principal(database, name, Role.RISK_MANAGER)
    book = PolicyBook(
        ControlDatabase.at(database.role("deal_control")),
        single_connection(database.role("deal_reader")),
    )
    first = caller(RISK[0], Role.RISK_MANAGER)
    asyncio.run(book.install(first, read_policy(SHIPPED), "the first one"))
    return database


@pytest.fixture
async def client(api: Api, known: Known) -> AsyncIterator[httpx.AsyncClient]:
    for name in RISK:
        known.add(name, Role.RISK_MANAGER)
    async with api(**UNLIMITED) as client:
        yield client


async def read(client: httpx.AsyncClient, path: str) -> tuple[dict[str, Any], str]:
    answer = await client.get(f"/v1{path}", headers=as_(RISK[0]))
    assert answer.status_code == 200, answer.text
    return answer.json(), answer.headers["ETag"]


async def send(
    client: httpx.AsyncClient, target: str, body: Any, if_match: str | None, who: str = RISK[0]
) -> httpx.Response:
    method, path = target.split(" ")
    headers = as_(who, **key()) | ({} if if_match is None else {"If-Match": if_match})
    return await client.request(method, f"/v1{path}", json=body, headers=headers)


def tighter(limits: dict[str, Any]) -> dict[str, Any]:
    velocity = [each | {"max_deals": 3} for each in limits["velocity"]]
    return {"reason": "month end", "velocity": velocity}


async def versions(client: httpx.AsyncClient) -> dict[int, str]:
    answer = await client.get("/v1/policies", headers=as_(RISK[0]))
    return {each["version"]: each["state"] for each in answer.json()["policies"]}


async def proposal(client: httpx.AsyncClient) -> tuple[dict[str, Any], str]:
    policy, tag = await read(client, "/policy")
    return {"reason": "anew", "policy": policy["policy"] | {"version": 2}}, tag


async def test_limits_are_not_changed_without_saying_which(client: httpx.AsyncClient) -> None:
    limits, tag = await read(client, "/limits")
    answer = await send(client, "PUT /limits", tighter(limits), None)
    assert (answer.status_code, answer.json()["code"]) == (428, "precondition_required")
    assert answer.json()["field"] == "If-Match"
    for other in (ABSENT, f"W/{tag}", "*", tag.upper()):
        answer = await send(client, "PUT /limits", tighter(limits), other)
        assert (answer.status_code, answer.json()["code"]) == (412, "precondition_failed"), other
    assert await versions(client) == {1: "ACTIVE"}
    answer = await send(client, "PUT /limits", tighter(limits), tag)
    assert (answer.status_code, answer.json()["state"]) == (202, "PROPOSED")
    assert await versions(client) == {1: "ACTIVE", 2: "PROPOSED"}


async def test_a_policy_is_not_proposed_without_saying_in_place_of_which(
    client: httpx.AsyncClient,
) -> None:
    body, tag = await proposal(client)
    answer = await send(client, "POST /policies", body, None)
    assert (answer.status_code, answer.json()["code"]) == (428, "precondition_required")
    answer = await send(client, "POST /policies", body, ABSENT)
    assert answer.status_code == 412, answer.text
    assert answer.json()["next_action"]
    assert await versions(client) == {1: "ACTIVE"}
    answer = await send(client, "POST /policies", body, tag)
    assert answer.status_code == 201, answer.text
    assert answer.headers["ETag"] == answer.json()["etag"] != tag


async def test_a_policy_is_approved_as_it_was_read_and_what_was_read_before_is_stale(
    client: httpx.AsyncClient,
) -> None:
    limits, before = await read(client, "/limits")
    body, tag = await proposal(client)
    proposed = await send(client, "POST /policies", body, tag)
    version, seen = proposed.json()["version"], proposed.headers["ETag"]
    path = f"/policies/{version}/approve"
    looked = {"reason": "looked at it"}
    answer = await send(client, f"POST {path}", looked, None, RISK[1])
    assert (answer.status_code, answer.json()["code"]) == (428, "precondition_required")
    for other in (ABSENT, tag, f'"{version}-{"0" * 64}"'):
        answer = await send(client, f"POST {path}", looked, other, RISK[1])
        assert answer.status_code == 412, (other, answer.text)
    assert (await versions(client))[version] == "PROPOSED"
    answer = await send(client, f"POST {path}", looked, seen, RISK[1])
    assert (answer.status_code, answer.json()["state"]) == (200, "ACTIVE")
    late = await send(client, "PUT /limits", tighter(limits), before)
    assert (late.status_code, late.json()["code"]) == (412, "precondition_failed")
    again = await send(client, "POST /policies", body | {"reason": "late"}, tag)
    assert again.status_code == 412, again.text
    assert (await read(client, "/limits"))[1] == (await read(client, "/policy"))[1] == seen


async def test_the_same_key_under_another_condition_is_another_request(
    client: httpx.AsyncClient,
) -> None:
    limits, tag = await read(client, "/limits")
    headers = as_(RISK[0], **key())
    body = tighter(limits)
    first = await client.put("/v1/limits", json=body, headers=headers | {"If-Match": tag})
    assert first.status_code == 202
    other = await client.put("/v1/limits", json=body, headers=headers | {"If-Match": ABSENT})
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
