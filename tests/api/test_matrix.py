"""Who may ask for what: every endpoint, by every role, for his own bank and for another's.

The endpoints are those of the API's document, and what each takes is what the document says. Whom
that lets in is asked of `PERMISSIONS_OF` alone.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from domain.identity import PERMISSIONS_OF, Permission, Role
from starters.api.describing import ANY
from starters.control.database import ControlDatabase
from starters.control.policies import POLICY_FILE, PolicyBook, read_policy
from starters.deals.database import single_connection
from tests.api.conftest import UNLIMITED, Api, Known, as_, key
from tests.api.deals import record_deals
from tests.api.redis import Redis
from tests.api.test_document import OURS
from tests.cli.ledger import Ledger
from tests.control.people import add_principal, caller
from tests.support.halting import forget_halts
from tests.support.postgres import Database

SHIPPED = Path(__file__).parents[2] / "deploy" / "config" / POLICY_FILE
OWN, OTHER = "bank-one", "bank-two"
PLACES = {
    "chain_id": "138",
    "version": "1",
    "operation_id": "nothing",
    "principal_id": "nobody",
    "key_id": "k23456789012",
    "group_id": "nothing",
    "delegation_id": "5f0c1a52-6a67-4b0e-8b53-0c1f5d0d5f6e",
}
DEALS = {OWN: "matrix-own", OTHER: "matrix-other"}
"""A deal of each bank, with one transaction."""
NAMED = frozenset({"start_deal", "run_dry", "set_halt", "release_halt"})
"""Endpoints that are told which bank it is, instead of which deal."""
WHOLE = frozenset({"export_audit_trail", "release_chain"})
"""Endpoints for whoever has every bank: what they are about is no bank's alone."""
CASES = [(name, role, bank) for name in sorted(OURS) for role in Role for bank in (OWN, OTHER)]


@pytest.fixture(scope="module", autouse=True)
def deals(database: Database) -> None:
    """A deal of each bank, and the shipped policy in force."""
    record_deals(database, DEALS)
    ledger = Ledger(database)
    for nonce, deal_id in enumerate(DEALS.values()):
        ledger.intent(f"{deal_id}/fund/1/1/0", nonce, state="PREPARED")
    book = PolicyBook(
        ControlDatabase.at(database.role("deal_control")),
        single_connection(database.role("deal_reader")),
    )
    risk = caller("risk-1", Role.RISK_MANAGER)
    asyncio.run(book.install(risk, read_policy(SHIPPED), "the first one"))


def test_nothing_is_missing() -> None:
    """All that is in the document, by all roles; and no endpoint is not in the document."""
    from fastapi.routing import APIRoute

    from starters.api.routers import ROUTERS

    routes = [route for router in ROUTERS for route in router.routes]
    assert all(isinstance(route, APIRoute) for route in routes)
    assert {route.operation_id for route in routes} == set(OURS)
    assert len(CASES) == len(OURS) * len(Role) * 2


def test_every_permission_that_is_asked_for_is_somebodys() -> None:
    granted = frozenset().union(*PERMISSIONS_OF.values())
    for name, (_, _, operation) in OURS.items():
        assert all(each == ANY or Permission(each) in granted for each in asked_for(operation)), (
            name
        )


def asked_for(operation: dict[str, Any]) -> set[str]:
    """The permissions of which any one will do."""
    return {operation["x-permission"], operation.get("x-permission-or", operation["x-permission"])}


def may(role: Role, operation: dict[str, Any]) -> bool:
    """Whether the role may use the endpoint at all, by what the document says."""
    return any(
        each == ANY or Permission(each) in PERMISSIONS_OF[role] for each in asked_for(operation)
    )


async def ask(client: httpx.AsyncClient, name: str, bank: str, who: str | None) -> httpx.Response:
    method, path, operation = OURS[name]
    places = PLACES | {
        "deal_id": DEALS[bank],
        "intent_id": f"{DEALS[bank]}/fund/1/1/0",
        "scope": f"bank={bank}",
    }
    for parameter in operation.get("parameters", ()):
        if parameter["in"] == "path":
            place = places[parameter["name"]]
            path = path.replace("{" + parameter["name"] + "}", place)
    query = {
        p["name"]: "a test"
        for p in operation.get("parameters", ())
        if p["in"] == "query" and p.get("required")
    }
    body: Any = None
    if "requestBody" in operation:
        body = operation["requestBody"]["content"]["application/json"]["example"]
        if "bank" in body:
            body = body | {"bank": bank, "deal_id": f"{DEALS[bank]}-new"}
        if "scope" in body:
            body = body | {"scope": f"bank={bank}"}
    headers = (as_(who) if who else {}) | key() | {"If-Match": '"1-abc"'}
    return await client.request(method, path, json=body, headers=headers, params=query)


@pytest.mark.parametrize("role", list(Role))
async def test_the_matrix(
    api: Api, known: Known, redis: Redis, database: Database, role: Role
) -> None:
    """Every endpoint, for the role's own bank and for another one."""
    who = known.add(f"only-{role.replace('_', '-')}", role, banks=(OWN,))
    add_principal(database, who, role, banks=(OWN,))
    wrong = []
    limits = UNLIMITED | {"api_rate_address": "100000/minute"}
    async with api(redis_url=redis.url, **limits) as client:
        for name in sorted(OURS):
            allowed = may(role, OURS[name][2])
            about_deal = not {"{deal_id}", "{intent_id}"}.isdisjoint(OURS[name][1].split("/"))
            for bank in (OWN, OTHER):
                answer = await ask(client, name, bank, who)
                code = (
                    answer.json().get("code") if "problem" in answer.headers["Content-Type"] else ""
                )
                if not allowed:
                    good = (answer.status_code, code) == (403, "forbidden")
                elif bank == OTHER and about_deal:
                    good = (answer.status_code, code) == (404, "not_found")
                elif (bank == OTHER and name in NAMED) or name in WHOLE:
                    good = (answer.status_code, code) == (403, "forbidden")
                else:
                    # What the deal's state or the policy refuses is refused to whoever may ask.
                    good = answer.status_code not in {401, 500} and code != "forbidden"
                if not good:
                    wrong.append((name, bank, answer.status_code, code))
    assert not wrong
    forget_halts(database.owner)


async def test_without_a_credential_nothing_is_answered(api: Api) -> None:
    async with api(api_rate_unauthenticated="100000/minute", **UNLIMITED) as client:
        for name in sorted(OURS):
            for who in (None, "nobody-we-know"):
                answer = await ask(client, name, OWN, who)
                assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated"), name


async def test_lists_hold_the_callers_banks_only(api: Api, known: Known) -> None:
    who = known.add("of-one", Role.VIEWER, banks=(OWN,))
    none = known.add("of-none", Role.VIEWER, banks=())
    async with api() as client:
        for name, expected in ((who, {DEALS[OWN]}), (none, set()), ("viewer", set(DEALS.values()))):
            answer = await client.get("/v1/deals", headers=as_(name))
            assert {deal["request"]["deal_id"] for deal in answer.json()["deals"]} == expected
        asked = await client.get("/v1/deals", params={"bank": OTHER}, headers=as_(who))
        assert asked.json()["deals"] == []
