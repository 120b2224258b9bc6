"""Halts over HTTP, with Temporal and Redis away: they need Postgres and nothing else."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import psycopg
import pytest

from domain.identity import PrincipalKind, Role
from tests.api.conftest import UNLIMITED, Api, Known, as_, key
from tests.api.redis import Redis
from tests.support.halting import forget_halts
from tests.support.postgres import Database

WHY = {"reason": "the market moves"}


@pytest.fixture(autouse=True)
def _people(known: Known, database: Database) -> Iterator[None]:
    for name in ("risk-1", "risk-2"):
        known.add(name, Role.RISK_MANAGER)
    known.add("risk-one", Role.RISK_MANAGER, banks=("bank-one",))
    yield
    forget_halts(database.owner)


async def halt(
    client: httpx.AsyncClient, who: str, given: dict[str, str] | None = None, **body: object
) -> httpx.Response:
    fields = WHY | {"scope": "desk"} | body
    return await client.post("/v1/halts", json=fields, headers=as_(who, **given or key()))


async def release(
    client: httpx.AsyncClient,
    who: str,
    scope: str = "desk",
    given: dict[str, str] | None = None,
    **body: object,
) -> httpx.Response:
    return await client.post(
        f"/v1/halts/{scope}/release", json=WHY | body, headers=as_(who, **given or key())
    )


async def halts(client: httpx.AsyncClient, who: str = "viewer") -> dict[str, str]:
    answer = await client.get("/v1/halts", headers=as_(who))
    assert answer.json()["source"] == "records"
    return {each["scope"]: each["state"] for each in answer.json()["halts"]}


async def test_a_halt_is_set_with_temporal_and_redis_away(api: Api, database: Database) -> None:
    async with api() as client:
        answer = await halt(client, "risk-1")
        assert await halts(client) == {"desk": "HALTED"}
    assert answer.status_code == 200
    document = answer.json()
    assert (document["state"], document["changed"], document["version"]) == ("HALTED", True, 1)
    assert (document["who"], document["set_by"]) == ("risk-1", ["risk-1"])
    with psycopg.connect(database.owner) as connection:
        (row,) = connection.execute(
            "SELECT actor, via, why, command_id LIKE 'api-%' FROM audit.events"
            " WHERE subject_kind = 'halt' AND action = 'halt.set'"
        ).fetchall()
    assert row == ("risk-1", "api", "the market moves", True)


async def test_one_halts_and_only_another_person_releases(
    api: Api, redis: Redis, known: Known
) -> None:
    robot = known.add("robot", Role.RISK_MANAGER)
    service = known.people[robot].model_copy(update={"kind": PrincipalKind.SERVICE})
    known.people[robot] = service
    async with api(redis_url=redis.url, **UNLIMITED) as client:
        await halt(client, "risk-1")
        own = await release(client, "risk-1")
        machine = await release(client, robot)
        assert (own.status_code, own.json()["code"]) == (409, "not_allowed")
        assert (machine.status_code, machine.json()["code"]) == (403, "forbidden")
        lower = await release(client, "risk-2", state="REDUCING")
        assert lower.json()["state"] == "REDUCING"
        assert (await release(client, "risk-2")).json()["state"] == "ACTIVE"
        assert await halts(client) == {"desk": "ACTIVE"}


async def test_without_redis_nothing_is_released(api: Api) -> None:
    async with api() as client:
        await halt(client, "risk-1")
        answer = await release(client, "risk-2")
        assert await halts(client) == {"desk": "HALTED"}
    assert (answer.status_code, answer.json()["code"]) == (503, "rate_limits_unavailable")


async def test_a_request_again_halts_and_releases_nothing_anew(
    api: Api, redis: Redis, database: Database
) -> None:
    """Not even after its answer was lost, and although others have changed the halt since."""
    async with api(redis_url=redis.url, **UNLIMITED) as client:
        setting, releasing = key(), key()
        first = await halt(client, "risk-1", setting)
        again = await halt(client, "risk-1", setting)
        assert first.content == again.content
        assert again.headers["Idempotency-Replayed"] == "true"
        assert (await release(client, "risk-2", given=releasing)).json()["state"] == "ACTIVE"
        await halt(client, "risk-1")
        with psycopg.connect(database.owner) as connection:
            connection.execute("UPDATE control.requests SET status = NULL, answer = NULL")
        lost = await release(client, "risk-2", given=releasing)
        assert "Idempotency-Replayed" not in lost.headers
        assert (lost.json()["state"], lost.json()["changed"]) == ("HALTED", False)
        assert await halts(client) == {"desk": "HALTED"}


async def test_a_halt_that_was_changed_since_it_was_read_is_left_alone(
    api: Api, redis: Redis
) -> None:
    async with api(redis_url=redis.url, **UNLIMITED) as client:
        assert (await halt(client, "risk-1", version=0)).status_code == 200
        stale = await halt(client, "risk-2", state="REDUCING", version=0)
        late = await release(client, "risk-2", version=7)
        good = await release(client, "risk-2", version=1)
    for answer in (stale, late):
        assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    assert good.json()["version"] == 2


async def test_a_bank_is_halted_by_its_own_people_and_the_desk_by_those_of_all(
    api: Api, redis: Redis
) -> None:
    async with api(redis_url=redis.url, **UNLIMITED) as client:
        assert (await halt(client, "risk-one", scope="bank=bank-one")).status_code == 200
        for scope in ("desk", "bank=bank-two", "chain=138", "module=usdtz"):
            answer = await halt(client, "risk-one", scope=scope)
            assert (answer.status_code, answer.json()["code"]) == (403, "forbidden"), scope
        await halt(client, "risk-1", scope="bank=bank-two")
        assert await halts(client, "risk-one") == {"bank=bank-one": "HALTED"}
        other = await release(client, "risk-one", "bank=bank-two")
    assert other.status_code == 403


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({"scope": "everything"}, 422, "scope"),
        ({"scope": "chain=0"}, 422, "scope"),
        ({"state": "ACTIVE"}, 422, "state"),
        ({"reason": ""}, 422, "reason"),
        ({"version": -1}, 422, "version"),
    ],
)
async def test_what_is_wrong_is_named(
    api: Api, body: dict[str, object], status: int, field: str
) -> None:
    async with api(**UNLIMITED) as client:
        answer = await halt(client, "risk-1", **body)
        assert await halts(client) == {}
    assert (answer.status_code, answer.json()["field"]) == (status, field)


async def test_what_nobody_halted_is_not_released(api: Api, redis: Redis) -> None:
    async with api(redis_url=redis.url) as client:
        never = await release(client, "risk-1", "chain=651940")
        nothing = await release(client, "risk-1", "everything")
    assert (never.status_code, never.json()["code"]) == (404, "not_found")
    assert (nothing.status_code, nothing.json()["field"]) == (422, "scope")
