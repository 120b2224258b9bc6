"""The OWASP API Security Top 10 of 2023, one test each."""

from __future__ import annotations

import asyncio
import json

import httpx
import pytest

from domain.errors import InvalidConfiguration
from domain.identity import Role
from starters.api.settings import ApiSettings
from tests.api.conftest import UNLIMITED, Api, Known, as_, key
from tests.api.deals import record_deals
from tests.api.probe import Probe
from tests.api.redis import Redis
from tests.api.test_document import DOCUMENT, OURS
from tests.support.postgres import Database

DEALS = {"bank-one": "owasp-one", "bank-two": "owasp-two"}
BODIES = {
    operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
    for _, _, operation in OURS.values()
    if "requestBody" in operation
}
"""The schemas of all that can be sent."""


@pytest.fixture(scope="module", autouse=True)
def deals(database: Database) -> None:
    record_deals(database, DEALS)


async def test_api1_an_object_of_another_bank_is_not_there(api: Api, known: Known) -> None:
    """Broken object level authorisation: another bank's deal answers like one that never was."""
    who = known.add("of-bank-one", *Role, banks=("bank-one",))
    async with api(**UNLIMITED) as client:
        for path in ("", "/events", "/approvals"):
            other = await client.get(f"/v1/deals/owasp-two{path}", headers=as_(who))
            never = await client.get(f"/v1/deals/owasp-never{path}", headers=as_(who))
            assert other.status_code == never.status_code == 404
            told, blank = other.json(), never.json()
            for document in (told, blank):
                document.pop("request_id")
            assert json.dumps(told).replace("two", "never") == json.dumps(blank)


async def test_api2_only_a_whole_credential_counts(api: Api) -> None:
    """Broken authentication: no other place, scheme or part of a credential lets anybody in."""
    async with api(api_rate_unauthenticated="1000/minute", **UNLIMITED) as client:
        for headers in (
            {},
            {"Authorization": ""},
            {"Authorization": "everybody"},
            {"Authorization": "Basic everybody"},
            {"Authorization": "Bearer "},
            {"Authorization": "Bearer everybod"},
            {"Authorization": "Bearer everybody,viewer"},
            {"X-Api-Key": "everybody"},
            {"Cookie": "Authorization=Bearer everybody"},
        ):
            answer = await client.get("/v1/whoami", headers=headers)
            assert answer.status_code == 401, headers
            assert answer.headers["WWW-Authenticate"].startswith("Bearer")
        answer = await client.get("/v1/whoami", params={"access_token": "everybody"})
        assert answer.status_code == 401


async def test_api3_nothing_is_set_that_may_not_be(api: Api, probe: Probe) -> None:
    """Broken object property level authorisation: a body has its own fields and no more."""
    async with api(**UNLIMITED) as client:
        for more in ({"who": "somebody"}, {"principal": "root"}, {"command_id": "x"}):
            answer = await client.post(
                "/probe/change",
                json={"reason": "a test"} | more,
                headers=as_("everybody", **key()),
            )
            assert (answer.status_code, answer.json()["field"]) == (422, *more)
    assert probe.times == 0
    bodies = [
        schema for name, schema in DOCUMENT["components"]["schemas"].items() if name in BODIES
    ]
    assert len(bodies) == len(BODIES)
    assert all(schema["additionalProperties"] is False for schema in bodies)


async def test_api4_nobody_uses_up_what_is_everybodys(api: Api, probe: Probe, known: Known) -> None:
    """Unrestricted resource consumption: bodies, pages, time, rates and streams have limits."""
    greedy = known.add("greedy", *Role)

    async def hang() -> None:
        await asyncio.sleep(60)

    probe.work = hang
    limited = UNLIMITED | {"api_rate_read": "3/minute"}
    async with api(api_body_bytes=2_000, api_request_seconds=0.2, **limited) as client:
        large = await client.post(
            "/probe/change", json={"reason": "x" * 3_000}, headers=as_(greedy, **key())
        )
        slow = await client.post(
            "/probe/change", json={"reason": "x"}, headers=as_(greedy, **key())
        )
        page = await client.get("/v1/deals", params={"limit": 501}, headers=as_(greedy))
        often = [await client.get("/v1/deals", headers=as_(greedy)) for _ in range(3)]
    assert (large.status_code, slow.status_code, page.status_code) == (413, 504, 422)
    assert [answer.status_code for answer in often] == [200, 200, 429]


async def test_api5_a_function_of_another_role_is_refused(api: Api, known: Known) -> None:
    """Broken function level authorisation: what a role may read it may not therefore change."""
    who = known.add("reads-only", Role.VIEWER)
    async with api(**UNLIMITED) as client:
        for method, path, _ in OURS.values():
            if method == "get":
                continue
            place = path.replace("{deal_id}", "owasp-one").replace("{version}", "1")
            place = place.replace("{chain_id}", "138").replace("{scope}", "desk")
            answer = await client.request(
                method, place, json={}, headers=as_(who, **key()) | {"If-Match": '"1-a"'}
            )
            assert (answer.status_code, answer.json()["code"]) == (403, "forbidden"), path
        answer = await client.request("TRACE", "/v1/deals", headers=as_(who))
        assert answer.status_code == 405


async def test_api6_a_launch_is_counted_and_happens_once(
    api: Api, probe: Probe, redis: Redis
) -> None:
    """Unrestricted access to sensitive business flows: launches have the smallest rate."""
    limited = UNLIMITED | {"api_rate_launch": "2/minute"}
    async with api(redis_url=redis.url, **limited) as client:

        async def launch(given: dict[str, str]) -> httpx.Response:
            return await client.post(
                "/probe/launch", json={"reason": "x"}, headers=as_("everybody", **given)
            )

        first = key()
        assert (await launch(first)).status_code == 200
        assert (await launch(first)).headers["Idempotency-Replayed"] == "true"
        assert (await launch(key())).status_code == 429
    assert probe.times == 1


async def test_api7_no_address_is_asked_that_a_caller_names(api: Api) -> None:
    """Server side request forgery: no field of any request is an address that is fetched."""
    text = json.dumps(
        [schema for name, schema in DOCUMENT["components"]["schemas"].items() if name in BODIES]
        + [operation.get("parameters", ()) for _, _, operation in OURS.values()]
    )
    for word in ("uri", "url", "callback", "webhook", "host"):
        assert f'"{word}"' not in text.lower()
    async with api(**UNLIMITED) as client:
        answer = await client.get(
            "/v1/whoami", headers=as_("viewer") | {"Host": "169.254.169.254", "Forwarded": "for=x"}
        )
    assert answer.status_code == 200
    assert "169.254.169.254" not in answer.text


async def test_api8_what_is_not_set_up_is_closed(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Security misconfiguration: by default no pages, no origins, no strangers, no details."""
    fields = {"database_url": "postgresql://x"}
    with monkeypatch.context() as nothing_set:
        nothing_set.delenv("DEAL_ENVIRONMENT")
        assert ApiSettings(**fields).environment == "production"
    assert ApiSettings(**fields).api_docs is False
    with pytest.raises(InvalidConfiguration):
        ApiSettings(**fields, api_address="0.0.0.0:8080").listens_on()
    async with api() as client:
        for path in ("/docs", "/redoc", "/openapi.json", "/metrics", "/debug", "/.env", "/"):
            answer = await client.get(path, headers={"Origin": "https://evil.example"})
            assert answer.status_code == 404, path
            assert "Access-Control-Allow-Origin" not in answer.headers
            assert "Traceback" not in answer.text


async def test_api9_every_endpoint_is_in_the_document_under_one_version(api: Api) -> None:
    """Improper inventory management: there is one version, and nothing beside the document."""
    assert {path.split("/")[1] for path in DOCUMENT["paths"]} == {
        "v1",
        "live",
        "startup",
        "ready",
        "health",
    }
    async with api() as client:
        for path in ("/v0/deals", "/v2/deals", "/deals", "/internal/deals", "/v1/admin"):
            assert (await client.get(path, headers=as_("everybody"))).status_code == 404


async def test_api10_what_others_answer_is_checked_before_it_is_told(
    api: Api, database: Database
) -> None:
    """Unsafe consumption of APIs: what comes out of the records must be what it should be."""
    import psycopg

    with psycopg.connect(database.owner) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute(
            "UPDATE deals.deals SET doing = '' || repeat('x', 10),"
            " sizing = '{\"evil\": \"<script>\"}'::jsonb WHERE deal_id = 'owasp-two'"
        )
    async with api() as client:
        answer = await client.get("/v1/deals/owasp-two", headers=as_("everybody"))
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert "<script>" not in answer.text
