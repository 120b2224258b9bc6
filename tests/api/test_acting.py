"""Acting on transactions, releasing chains and dry runs over HTTP, while Temporal is away.

With it they are tested on a whole stack (`tests/e2e/test_api.py`).
"""

from __future__ import annotations

import asyncio
from typing import Any

import psycopg
import pytest

from domain.deals import DealStatus
from domain.identity import Role
from starters.api import examples
from tests.activities.deals import samples
from tests.api.conftest import UNLIMITED, Api, Known, as_, key
from tests.api.deals import record
from tests.api.redis import Redis
from tests.cli.ledger import Ledger
from tests.control.people import add_principal
from tests.support.postgres import Database

WHY = {"reason": "too slow"}
OWN, OTHER = "acting-one/swap/1/1/0", "acting-other/swap/1/1/0"
ACTIONS = ("rebroadcast", "bump", "cancel")


@pytest.fixture(scope="module")
def hashes(database: Database) -> list[str]:
    """A deal of each bank with a transaction that is out; the attempts of the first one."""

    async def record_both() -> None:
        for deal_id, bank in (("acting-one", "bank-one"), ("acting-other", "bank-two")):
            request = samples.request(deal_id, bank=bank)
            view = samples.view(deal_id, request=request, status=DealStatus.EXECUTING)
            await record(database, view)

    asyncio.run(record_both())
    for name in ("everybody", "one"):
        add_principal(database, name, *Role)
    ledger = Ledger(database)
    ledger.intent(OTHER, 1)
    ledger.intent("acting-one/wrap/1/1/0", 2, state="FINALIZED")
    return ledger.intent(OWN, 3)


def commands(database: Database, kind: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(database.owner) as connection:
        return connection.execute(
            "SELECT subject, principal_id, bank, why, state, problem ->> 'code', body"
            " FROM control.commands WHERE kind = %s ORDER BY created_at DESC",
            (kind,),
        ).fetchall()


@pytest.mark.parametrize("action", ACTIONS)
async def test_acting_is_written_down_and_refused_while_temporal_is_away(
    api: Api, hashes: list[str], database: Database, action: str
) -> None:
    """By its id, slashes and all, and by an attempt's hash."""
    async with api(**UNLIMITED) as client:
        for name in (OWN, hashes[0]):
            answer = await client.post(
                f"/v1/transactions/{name}/{action}", json=WHY, headers=as_("everybody", **key())
            )
            assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
            assert "Retry-After" in answer.headers
            *told, body = commands(database, "deal.transact")[0]
            assert told == [
                "acting-one",
                "everybody",
                "bank-one",
                "too slow",
                "REFUSED",
                "unavailable",
            ]
            assert (body["intent_id"], body["action"], body["via"]) == (OWN, action, "api")


@pytest.mark.parametrize("action", ACTIONS)
async def test_another_banks_transaction_is_not_there(
    api: Api, hashes: list[str], action: str
) -> None:
    assert hashes
    async with api(**UNLIMITED) as client:
        answers = [
            await client.post(
                f"/v1/transactions/{name}/{action}", json=WHY, headers=as_("one", **key())
            )
            for name in (OTHER, "acting-never/swap/1/1/0")
        ]
        shown = await client.get(f"/v1/transactions/{OTHER}", headers=as_("one"))
    assert shown.status_code == 404
    assert [answer.status_code for answer in answers] == [404, 404]
    assert [answer.json()["code"] for answer in answers] == ["not_found", "not_found"]


async def test_a_transaction_is_still_shown_by_its_id(api: Api, hashes: list[str]) -> None:
    async with api() as client:
        shown = await client.get(f"/v1/transactions/{OWN}", headers=as_("one"))
        other_way = await client.post(
            f"/v1/transactions/{OWN}", json=WHY, headers=as_("one", **key())
        )
    assert [each["transaction_hash"] for each in shown.json()["attempts"]] == hashes
    assert other_way.status_code == 405


async def test_a_release_is_written_down_and_refused_while_temporal_is_away(
    api: Api, redis: Redis, hashes: list[str], database: Database
) -> None:
    assert hashes
    async with api(redis_url=redis.url) as client:
        path = "/v1/chains/138/release"
        answer = await client.post(path, json=WHY, headers=as_("everybody", **key()))
        unknown = await client.post(
            "/v1/chains/5/release", json=WHY, headers=as_("everybody", **key())
        )
        some = await client.post(path, json=WHY, headers=as_("one", **key()))
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert (unknown.status_code, unknown.json()["field"]) == (404, "chain")
    assert (some.status_code, some.json()["code"]) == (403, "forbidden")
    (*told, body), *others = commands(database, "chain.release")
    assert told == ["138", "everybody", None, "too slow", "REFUSED", "unavailable"]
    assert body == {"chain_id": 138, "who": "everybody", "why": "too slow"}
    assert others == []


async def test_without_redis_a_chain_is_not_released_nor_anything_run_dry(api: Api) -> None:
    async with api() as client:
        for path, body in (("/v1/chains/138/release", WHY), ("/v1/dry-runs", examples.START)):
            answer = await client.post(path, json=body, headers=as_("everybody", **key()))
            assert answer.json()["code"] == "rate_limits_unavailable", path


async def test_a_dry_run_takes_what_starting_takes(api: Api, redis: Redis, known: Known) -> None:
    trader = known.add("trader", Role.TRADER, banks=("bank-one",))
    async with api(redis_url=redis.url, **UNLIMITED) as client:

        async def run(who: str, **changes: object) -> tuple[int, dict[str, Any]]:
            body = examples.START | changes
            answer = await client.post("/v1/dry-runs", json=body, headers=as_(who, **key()))
            return answer.status_code, answer.json()

        assert (await run("viewer"))[0] == 403
        assert (await run(trader, bank="bank-two"))[0] == 403
        for changes, field in (
            ({"chain_id": 5}, "chain_id"),
            ({"max_ltv": "0.31"}, "max_ltv"),
            ({"working_liquidity": "-1"}, "working_liquidity"),
            ({"reason": "none is needed"}, "reason"),
        ):
            status, told = await run(trader, **changes)
            assert (status in {404, 422}, told["field"]) == (True, field)
        status, told = await run(trader)
        assert (status, told["code"]) == (503, "unavailable")
