"""Following a deal: every change, from where one was, to its end."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from domain.deals import DealStatus
from domain.errors import InvalidInput
from domain.identifiers import DealId
from starters.api.events import Followers, last_version
from starters.deals.database import Connections, single_connection
from tests.activities.deals import samples
from tests.api.conftest import Api, as_
from tests.api.deals import record
from tests.support.postgres import Database


def version(name: str, number: int, status: DealStatus) -> Any:
    return samples.view(name, status=status, version=number, request=samples.request(name))


async def test_a_stream_tells_the_end_and_goes_on_after_the_last_event(
    api: Api, database: Database
) -> None:
    await record(database, version("told", 1, DealStatus.REQUESTED))
    await record(database, version("told", 2, DealStatus.DENIED))
    async with api() as client:
        answer = await client.get("/v1/deals/told/events", headers=as_("viewer"))
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        fields = dict(line.split(": ", 1) for line in answer.text.splitlines() if line)
        assert (fields["id"], fields["event"]) == ("2", "end")
        assert json.loads(fields["data"])["status"] == "DENIED"
        seen = await client.get(
            "/v1/deals/told/events", headers=as_("viewer") | {"Last-Event-ID": "2"}
        )
        assert "data" not in seen.text
        wrong = await client.get(
            "/v1/deals/told/events", headers=as_("viewer") | {"Last-Event-ID": "x"}
        )
        assert (wrong.status_code, wrong.json()["field"]) == (422, "Last-Event-ID")


async def test_many_who_follow_look_once(database: Database) -> None:
    looks = 0
    reading = single_connection(database.role("deal_reader"))

    def counted() -> Any:
        nonlocal looks
        looks += 1
        return reading()

    connections: Connections = counted
    await record(database, version("followed", 1, DealStatus.REQUESTED))
    followers = Followers(connections, most=100)

    async def statuses() -> list[DealStatus]:
        return [view.status async for view in followers.follow(DealId("followed"))]

    following = [asyncio.create_task(statuses()) for _ in range(20)]
    await asyncio.sleep(1.5)
    quiet = looks
    await asyncio.sleep(1.0)
    assert looks - quiet <= 6  # about four looks a second for all of them together
    await record(database, version("followed", 2, DealStatus.DENIED))
    for told in await asyncio.gather(*following):
        assert told == [DealStatus.REQUESTED, DealStatus.DENIED]
    await followers.close()


@pytest.mark.parametrize("text", ["", "-1", "1.5", "9" * 40, "¹"])
def test_an_event_id_that_is_none_of_ours_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        last_version(text)
