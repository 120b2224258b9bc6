"""The same request again: the same answer, and the effect once."""

from __future__ import annotations

import asyncio
import hashlib
from uuid import uuid4

import httpx
import psycopg
import pytest

from domain.errors import NotAllowed, OutcomeUnknown, Unavailable
from tests.api.conftest import Api, as_, key
from tests.api.probe import Probe
from tests.support.postgres import Database

PATH = "/probe/change"
WHY = {"reason": "a test"}


async def change(
    client: httpx.AsyncClient, given: dict[str, str], body: object = WHY, who: str = "everybody"
) -> httpx.Response:
    return await client.post(PATH, json=body, headers=as_(who, **given))


async def test_the_same_key_and_body_get_the_same_answer(api: Api, probe: Probe) -> None:
    async with api() as client:
        given = key()
        first, again = await change(client, given), await change(client, given)
    assert probe.times == 1
    assert (first.status_code, first.content) == (again.status_code, again.content)
    assert "Idempotency-Replayed" not in first.headers
    assert again.headers["Idempotency-Replayed"] == "true"


async def test_json_is_the_same_however_it_is_written(api: Api, probe: Probe) -> None:
    async with api() as client:
        headers = as_("everybody", **key())
        for body in (b'{"reason":"a test"}', b'{\n  "reason" : "a test" }'):
            headers |= {"Content-Type": "application/json"}
            assert (await client.post(PATH, content=body, headers=headers)).status_code == 200
    assert probe.times == 1


async def test_another_body_under_the_key_is_refused(api: Api, probe: Probe) -> None:
    async with api() as client:
        given = key()
        await change(client, given)
        answer = await change(client, given, {"reason": "another"})
        elsewhere = await client.post("/probe/safety", json=WHY, headers=as_("everybody", **given))
    assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_reused")
    assert elsewhere.json()["code"] == "idempotency_key_reused"
    assert probe.times == 1


async def test_a_key_is_its_callers_own(api: Api, probe: Probe) -> None:
    async with api() as client:
        given = key()
        assert (await change(client, given)).status_code == 200
        assert (await change(client, given, {"reason": "mine"}, who="one")).status_code == 200
    assert probe.times == 2
    assert len(set(probe.commands)) == 2


@pytest.mark.parametrize("given", [{}, {"Idempotency-Key": "short"}, key("a b" * 10)])
async def test_without_a_key_nothing_is_done(api: Api, probe: Probe, given: dict[str, str]) -> None:
    async with api() as client:
        answer = await change(client, given)
    assert (answer.status_code, answer.json()["field"]) == (400, "Idempotency-Key")
    assert probe.times == 0


async def test_while_it_is_worked_on_the_same_request_waits(api: Api, probe: Probe) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        begun.set()
        await go_on.wait()

    probe.work = work
    async with api() as client:
        given = key()
        first = asyncio.create_task(change(client, given))
        await begun.wait()
        again = await change(client, given)
        go_on.set()
        assert (await first).status_code == 200
        assert (await change(client, given)).headers["Idempotency-Replayed"] == "true"
    assert (again.status_code, again.json()["code"]) == (409, "request_in_progress")
    assert int(again.headers["Retry-After"]) > 0
    assert probe.times == 1


async def test_of_many_at_once_one_is_done(api: Api, probe: Probe) -> None:
    async with api() as client:
        given = key()
        answers = await asyncio.gather(*(change(client, given) for _ in range(20)))
    assert probe.times == 1
    assert {answer.status_code for answer in answers} <= {200, 409}


async def test_a_refusal_is_an_answer_and_is_kept(api: Api, probe: Probe) -> None:
    async def work() -> None:
        raise NotAllowed("its state does not allow it", next_action="wait")

    probe.work = work
    async with api() as client:
        given = key()
        first, again = await change(client, given), await change(client, given)
    assert [first.status_code, again.status_code] == [409, 409]
    assert again.headers["Content-Type"] == "application/problem+json"
    assert first.json() == again.json()
    assert probe.times == 1


@pytest.mark.parametrize("error", [Unavailable, OutcomeUnknown, ValueError])
async def test_no_answer_is_not_kept_and_the_command_stays_the_same(
    api: Api, probe: Probe, error: type[Exception]
) -> None:
    async def fail() -> None:
        raise error("nothing", **({} if error is ValueError else {"next_action": "repeat"}))

    probe.work = fail
    async with api() as client:
        given = key()
        assert (await change(client, given)).status_code >= 500
        probe.work = probe._nothing
        assert (await change(client, given)).status_code == 200
    assert probe.times == 2
    assert len(set(probe.commands)) == 1


async def test_a_request_whose_process_died_is_taken_over_after_its_lease(
    api: Api, probe: Probe, database: Database
) -> None:
    """As after a SIGKILL between the claim and the answer: the row says that it is under way."""
    given = key()
    async with api(api_lease_seconds=0.5) as client:
        assert (await change(client, given)).status_code == 200
        with psycopg.connect(database.owner) as connection:
            connection.execute(
                "UPDATE control.requests SET status = NULL, answer = NULL, holder = %s,"
                " held_until = clock_timestamp() + interval '0.5 seconds'"
                " WHERE holder IS NULL",
                (uuid4(),),
            )
        assert (await change(client, given)).status_code == 409
        await asyncio.sleep(0.6)
        assert (await change(client, given)).status_code == 200
    assert probe.times == 2
    assert len(set(probe.commands)) == 1  # so the command is the same, and its effect happens once


async def test_what_was_answered_is_unreadable_without_the_key(
    api: Api, database: Database
) -> None:
    async with api() as client:
        await change(client, key(), {"reason": "a new secret"})
    with psycopg.connect(database.owner) as connection:
        rows = connection.execute("SELECT key_hash, answer FROM control.requests").fetchall()
    assert rows
    assert all(b"secret" not in answer for _, answer in rows if answer)


async def test_without_the_database_nothing_is_changed(api: Api, probe: Probe) -> None:
    async with api(control_database_url="postgresql://nobody@127.0.0.1:1/none") as client:
        answer = await change(client, key())
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert "Retry-After" in answer.headers
    assert probe.times == 0


async def test_answers_are_forgotten_after_a_day(
    api: Api, probe: Probe, database: Database
) -> None:
    """A server that starts removes them; what is younger, or is being worked on, stays."""
    old, held, young = key(), key(), key()
    async with api() as client:
        for given in (old, held, young):
            assert (await change(client, given)).status_code == 200
    with psycopg.connect(database.owner) as connection:
        aged = connection.execute(
            "UPDATE control.requests SET created_at = clock_timestamp() - interval '25 hours'"
            " WHERE key_hash = ANY (%s)",
            ([hashed(old), hashed(held)],),
        )
        assert aged.rowcount == 2
        connection.execute(
            "UPDATE control.requests SET status = NULL, answer = NULL, holder = gen_random_uuid(),"
            " held_until = clock_timestamp() + interval '1 hour' WHERE key_hash = %s",
            (hashed(held),),
        )

    def kept() -> set[str]:
        with psycopg.connect(database.owner) as connection:
            rows = connection.execute("SELECT key_hash FROM control.requests").fetchall()
        return {row[0] for row in rows} & {hashed(each) for each in (old, held, young)}

    assert len(kept()) == 3
    async with api() as client, asyncio.timeout(10):
        while hashed(old) in kept():  # noqa: ASYNC110 - nobody tells us, so we ask
            await asyncio.sleep(0.01)
        assert (await change(client, young)).headers["Idempotency-Replayed"] == "true"
    assert kept() == {hashed(held), hashed(young)}
    assert probe.times == 3


def hashed(given: dict[str, str]) -> str:
    return hashlib.sha256(given["Idempotency-Key"].encode()).hexdigest()
