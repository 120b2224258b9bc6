"""Approvals over HTTP while Temporal is away: read from the records, refused where it takes a deal.

With it they are tested on a whole stack (`tests/e2e/test_api.py`).
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from domain.deals import DealStatus
from domain.desk_approvals import DeskApproval, binding_digest
from domain.identity import PrincipalId, Role
from domain.views import DealView
from tests.activities.deals import samples
from tests.api.conftest import UNLIMITED, Api, Known, as_, key
from tests.api.deals import record
from tests.api.redis import Redis
from tests.control.people import add_principal
from tests.support.postgres import Database

APPROVE = "/v1/deals/asked-one/approve"
REJECT = "/v1/deals/asked-one/reject"
BINDING = binding_digest("a" * 64, 1, "b" * 64)
SIGNED = {
    "owner": samples.ACCOUNT,
    "signature": "0x" + "1b" * 65,
    "transaction_hash": "0x" + "ad" * 32,
}


def asked(deal_id: str, bank: str, minute: int = 0) -> DealView:
    """A deal that waits for one of the desk."""
    approval = DeskApproval(
        needed=1,
        initiator=PrincipalId("trader"),
        value_usd8=210_000_000_000_000,
        request_digest="a" * 64,
        policy_version=1,
        prediction_digest="b" * 64,
        binding_digest=BINDING,
        expires_at=datetime.now(UTC) + timedelta(hours=4),
    )
    began = samples.BEGAN + timedelta(minutes=minute)
    return samples.view(
        deal_id,
        request=samples.request(deal_id, bank=bank),
        status=DealStatus.AWAITING_APPROVAL,
        desk_approval=approval,
        created_at=began,
        updated_at=began,
    )


@pytest.fixture(scope="module", autouse=True)
def _deals(database: Database) -> None:
    async def record_all() -> None:
        await record(database, asked("asked-one", "bank-one"))
        await record(database, asked("asked-too", "bank-one", 1))
        await record(database, asked("asked-other", "bank-two", 2))
        free = samples.view("free-one", status=DealStatus.EXECUTING)
        await record(database, free)

    asyncio.run(record_all())
    for name in ("approver", "one"):
        add_principal(database, name, *Role)


@pytest.fixture
def approver(known: Known) -> str:
    return known.add("approver", Role.APPROVER)


def commands(database: Database, kind: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(database.owner) as connection:
        return connection.execute(
            "SELECT principal_id, bank, why, state, body ->> 'binding_digest', problem ->> 'code'"
            " FROM control.commands WHERE kind = %s ORDER BY created_at",
            (kind,),
        ).fetchall()


async def test_what_waits_is_listed_page_by_page_newest_first(api: Api) -> None:
    found, cursor = [], None
    async with api(**UNLIMITED) as client:
        for _ in range(4):
            query = {"limit": 1} | ({} if cursor is None else {"cursor": cursor})
            page = await client.get("/v1/approvals", params=query, headers=as_("viewer"))
            assert page.status_code == 200
            document = page.json()
            assert document["source"] == "records"
            found += [each["deal_id"] for each in document["approvals"]]
            cursor = document["next_cursor"]
            if cursor is None:
                break
        own = await client.get("/v1/approvals", headers=as_("one"))
        chosen = await client.get(
            "/v1/approvals", params={"bank": "bank-two"}, headers=as_("viewer")
        )
        wrong = await client.get(
            "/v1/approvals", params={"cursor": "nothing"}, headers=as_("viewer")
        )
    assert found == ["asked-other", "asked-too", "asked-one"]
    assert [each["deal_id"] for each in own.json()["approvals"]] == ["asked-too", "asked-one"]
    assert [each["deal_id"] for each in chosen.json()["approvals"]] == ["asked-other"]
    assert (wrong.status_code, wrong.json()["field"]) == (422, "cursor")


async def test_one_deals_approvals_come_with_their_age(api: Api) -> None:
    async with api() as client:
        answer = await client.get("/v1/deals/asked-one/approvals", headers=as_("one"))
        nobodys = await client.get("/v1/deals/free-one/approvals", headers=as_("one"))
        other = await client.get("/v1/deals/asked-other/approvals", headers=as_("one"))
        never = await client.get("/v1/deals/asked-never/approvals", headers=as_("one"))
    document = answer.json()
    assert (document["source"], document["status"]) == ("records", "AWAITING_APPROVAL")
    assert document["age_seconds"] > 0
    assert (document["desk"]["binding_digest"], document["desk"]["missing"]) == (BINDING, 1)
    assert document["approval"] is None
    assert (nobodys.json()["desk"], nobodys.json()["approval"]) == (None, None)
    assert other.status_code == never.status_code == 404


async def test_while_temporal_is_away_nothing_is_approved_and_that_is_written_down(
    api: Api, redis: Redis, approver: str, database: Database
) -> None:
    body = {"reason": "looked at it", "binding_digest": BINDING}
    async with api(redis_url=redis.url) as client:
        answer = await client.post(APPROVE, json=body, headers=as_(approver, **key()))
        rejection = await client.post(
            REJECT, json={"reason": "too large"}, headers=as_(approver, **key())
        )
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert rejection.status_code == 503
    told = ("approver", "bank-one", "looked at it", "REFUSED", BINDING, "unavailable")
    assert told in commands(database, "deal.approve")
    # Without a digest it is what the deal waits for now that is rejected.
    told = ("approver", "bank-one", "too large", "REFUSED", BINDING, "unavailable")
    assert told in commands(database, "deal.reject")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"reason": "x"}, "binding_digest"),
        ({"reason": "x", "binding_digest": "ab"}, "binding_digest"),
        ({"binding_digest": BINDING}, "reason"),
        ({"reason": " ", "binding_digest": BINDING}, "reason"),
        ({"reason": "x", "binding_digest": BINDING, "who": "mia"}, "who"),
    ],
)
async def test_an_approval_says_why_and_of_what(
    api: Api, redis: Redis, approver: str, body: dict[str, str], field: str
) -> None:
    async with api(redis_url=redis.url) as client:
        answer = await client.post(APPROVE, json=body, headers=as_(approver, **key()))
    assert (answer.status_code, answer.json()["field"]) == (422, field)


@pytest.mark.parametrize("field", list(SIGNED))
async def test_a_signature_has_its_form(api: Api, redis: Redis, approver: str, field: str) -> None:
    path = "/v1/deals/asked-one/owner-signatures"
    async with api(redis_url=redis.url) as client:
        for body in (
            SIGNED | {field: "0x12"},
            {name: value for name, value in SIGNED.items() if name != field},
        ):
            answer = await client.post(path, json=body, headers=as_(approver, **key()))
            assert (answer.status_code, answer.json()["field"]) == (422, field)
        secret = SIGNED | {"key": "0x" + "11" * 32}
        answer = await client.post(path, json=secret, headers=as_(approver, **key()))
    assert (answer.status_code, answer.json()["field"]) == (422, "key")


async def test_another_banks_deal_is_approved_by_nobody_here(
    api: Api, redis: Redis, known: Known, database: Database
) -> None:
    who = known.add("approver", Role.APPROVER, banks=("bank-one",))
    async with api(redis_url=redis.url) as client:
        for path, body in (
            ("approve", {"reason": "x", "binding_digest": BINDING}),
            ("reject", {"reason": "other bank"}),
            ("owner-signatures", SIGNED),
            ("owner-rejections", SIGNED | {"reason": "x"}),
        ):
            answer = await client.post(
                f"/v1/deals/asked-other/{path}", json=body, headers=as_(who, **key())
            )
            assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), path
    kinds = ("approve", "reject", "owner_sign", "owner_reject")
    rows = [row for kind in kinds for row in commands(database, f"deal.{kind}")]
    assert "bank-two" not in {bank for _, bank, *_ in rows}


async def test_with_redis_away_a_deal_can_be_rejected_and_not_approved(
    api: Api, approver: str
) -> None:
    """Rejecting makes things safer; it gets as far as asking the deal itself."""
    async with api() as client:
        body = {"reason": "x", "binding_digest": BINDING}
        approved = await client.post(APPROVE, json=body, headers=as_(approver, **key()))
        rejected = await client.post(REJECT, json=body, headers=as_(approver, **key()))
    assert approved.json()["code"] == "rate_limits_unavailable"
    assert rejected.json()["code"] == "unavailable"
