"""Many deals over HTTP: acted on is exactly the list that was shown, until it expires."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest

from domain.deals import DealStatus
from domain.identity import Role
from starters.control.batches import digest_of
from tests.activities.deals import samples
from tests.api.conftest import UNLIMITED, Api, Known, as_, key
from tests.api.deals import record
from tests.api.redis import Redis
from tests.control.people import add_principal
from tests.support.postgres import Database

WHY = {"reason": "a drill"}


@pytest.fixture
def bank() -> str:
    """A bank that no other test has deals of."""
    return f"bank-{uuid4().hex[:8]}"


@pytest.fixture
def oncall(known: Known, database: Database) -> str:
    """Somebody who may pause and cancel everything."""
    name = known.add(f"o{uuid4().hex[:8]}", Role.ONCALL)
    add_principal(database, name, Role.ONCALL)
    return name


async def running(database: Database, bank: str, *deals: str) -> list[str]:
    """Record deals that are under way; return their ids, which the bank's name makes its own."""
    ids = [f"{bank}-{deal}" for deal in deals]
    for deal_id in ids:
        first = samples.view(deal_id, request=samples.request(deal_id, bank=bank))
        await record(database, first)
        await record(database, samples.later(first, DealStatus.EXECUTING))
    return ids


async def preview(
    client: httpx.AsyncClient, who: str, where: str, command: str = "pause"
) -> httpx.Response:
    return await client.post(
        f"/v1/batches/{command}/preview", json={"where": where}, headers=as_(who, **key())
    )


async def act(
    client: httpx.AsyncClient,
    who: str,
    shown: dict[str, Any],
    command: str = "pause",
    given: dict[str, str] | None = None,
) -> httpx.Response:
    yes = {"preview_id": shown["preview_id"], "digest": shown["digest"]} | WHY
    headers = as_(who, **(given or key()))
    return await client.post(f"/v1/batches/{command}", json=yes, headers=headers)


def commands(database: Database, batch_id: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(database.role("deal_reader")) as connection:
        return connection.execute(
            "SELECT deal_id, kind, state FROM control.commands WHERE command_id LIKE %s"
            " ORDER BY deal_id",
            (f"{batch_id}/%",),
        ).fetchall()


async def test_exactly_what_was_shown_is_acted_on_once(
    api: Api, database: Database, bank: str, oncall: str
) -> None:
    """Temporal is away here: a cancel is queued, and that is the answer for each deal."""
    ids, given = await running(database, bank, "a", "b", "c"), key()
    async with api(**UNLIMITED) as client:
        shown = (await preview(client, oncall, f"bank={bank}", "cancel")).json()
        await running(database, bank, "later")
        done = await act(client, oncall, shown, "cancel", given)
        again = await act(client, oncall, shown, "cancel", given)
        newer = (await preview(client, oncall, f"bank={bank}", "cancel")).json()
    assert [deal["deal_id"] for deal in shown["deals"]] == ids
    assert shown["digest"] == digest_of(shown["command"], ids)
    assert done.status_code == 200
    told = done.json()
    assert told["counts"] == {"applied": 0, "queued": 3, "refused": 0}
    assert [(each["deal_id"], each["outcome"]) for each in told["deals"]] == [
        (deal_id, "queued") for deal_id in ids
    ]
    assert (again.headers["Idempotency-Replayed"], again.content) == ("true", done.content)
    assert commands(database, told["batch_id"]) == [
        (deal_id, "deal.cancel", "QUEUED") for deal_id in ids
    ]
    assert f"{bank}-later" in {deal["deal_id"] for deal in newer["deals"]}
    assert newer["digest"] != shown["digest"]


async def test_every_deal_has_an_answer_of_its_own(
    api: Api, database: Database, bank: str, oncall: str
) -> None:
    await running(database, bank, "a", "b")
    async with api(**UNLIMITED) as client:
        shown = (await preview(client, oncall, f"bank={bank} status=EXECUTING")).json()
        done = (await act(client, oncall, shown)).json()
    assert done["counts"] == {"applied": 0, "queued": 0, "refused": 2}
    assert {each["problem"]["code"] for each in done["deals"]} == {"unavailable"}
    assert all(each["problem"]["next_action"] for each in done["deals"])


async def test_a_batch_whose_answer_was_lost_is_gone_on_with(
    api: Api, database: Database, bank: str, oncall: str
) -> None:
    """The repeat finds the batch, though its preview has expired, and gives nothing twice."""
    given = key()
    await running(database, bank, "a", "b")
    async with api(**UNLIMITED) as client:
        shown = (await preview(client, oncall, f"bank={bank}", "cancel")).json()
        first = (await act(client, oncall, shown, "cancel", given)).json()
        with psycopg.connect(database.owner) as connection:
            connection.execute("UPDATE control.requests SET status = NULL, answer = NULL")
            connection.execute("DELETE FROM control.previews")
        again = await act(client, oncall, shown, "cancel", given)
    assert "Idempotency-Replayed" not in again.headers
    assert again.json() == first
    assert len(commands(database, first["batch_id"])) == 2


async def test_what_was_not_shown_is_not_acted_on(
    api: Api, database: Database, bank: str, oncall: str, known: Known
) -> None:
    other = known.add(f"o{uuid4().hex[:8]}", Role.ONCALL)
    add_principal(database, other, Role.ONCALL)
    await running(database, bank, "a")
    async with api(**UNLIMITED) as client:
        shown = (await preview(client, oncall, f"bank={bank}")).json()
        unknown = await act(client, oncall, shown | {"preview_id": f"preview-{'0' * 32}"})
        others = await act(client, other, shown)
        another = await act(client, oncall, shown, "cancel")
        changed = await act(client, oncall, shown | {"digest": "ab" * 32})
        with psycopg.connect(database.owner) as connection:
            connection.execute(
                "UPDATE control.previews SET created_at = created_at - interval '1 hour',"
                " expires_at = clock_timestamp() - interval '1 second' WHERE preview_id = %s",
                (shown["preview_id"],),
            )
        late = await act(client, oncall, shown)
    for answer, status, field in (
        (unknown, 404, "preview_id"),
        (others, 404, "preview_id"),
        (another, 404, "preview_id"),
        (changed, 422, "digest"),
        (late, 412, "preview_id"),
    ):
        assert (answer.status_code, answer.json()["field"]) == (status, field)
    assert late.json()["code"] == "outdated"
    with psycopg.connect(database.role("deal_reader")) as connection:
        given = connection.execute(
            "SELECT count(*) FROM control.commands WHERE bank = %s", (bank,)
        ).fetchone()
    assert given == (0,)


async def test_a_list_has_the_callers_banks_only_and_a_filter_that_is_wrong_is_named(
    api: Api, database: Database, bank: str, known: Known
) -> None:
    elsewhere = known.add(f"o{uuid4().hex[:8]}", Role.ONCALL, banks=("bank-elsewhere",))
    await running(database, bank, "a")
    async with api(**UNLIMITED) as client:
        hidden = await preview(client, elsewhere, f"bank={bank}")
        never = await preview(client, elsewhere, "bank=bank-never")
        wrong = await preview(client, elsewhere, "colour=red")
        viewer = await preview(client, "viewer", f"bank={bank}")
    assert (hidden.status_code, hidden.json()["code"]) == (404, "not_found")
    assert hidden.json()["detail"] == never.json()["detail"]
    assert (wrong.status_code, wrong.json()["field"]) == (422, "where")
    assert viewer.status_code == 403


async def test_resuming_many_is_a_launch(
    api: Api, database: Database, bank: str, oncall: str, redis: Redis
) -> None:
    """Refused while Redis is away; pausing is not."""
    await running(database, bank, "a")
    async with api(redis_url=redis.url, **UNLIMITED) as client:
        shown = (await preview(client, oncall, f"bank={bank} status=EXECUTING", "resume")).json()
        redis.stop()
        resumed = await act(client, oncall, shown, "resume")
        paused = await preview(client, oncall, f"bank={bank}")
        acted = await act(client, oncall, paused.json())
    assert (resumed.status_code, resumed.json()["code"]) == (503, "rate_limits_unavailable")
    assert (paused.status_code, acted.status_code) == (201, 200)
