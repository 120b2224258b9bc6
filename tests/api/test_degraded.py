"""The API while Temporal, Redis or the node is away, and when its own process is killed.

Real servers are killed and started again. What is asked of every endpoint is asked of those that
the document has.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import httpx
import pytest

from domain.deals import DealStatus
from domain.identifiers import DealId
from domain.identity import Role
from starters.api.limiting import Rate
from starters.api.settings import ApiSettings
from starters.local import postgres
from starters.local.api import url
from starters.local.stack import Stack
from starters.local.state import load_environment
from tests.api.served_stack import add_person, served_on
from tests.api.test_document import OURS
from tests.e2e.test_kills import killed
from tests.support.desk import WITHIN, Desk, eventually
from tests.support.halting import forget_halts
from tests.workers.test_health import free_port
from workflows.deal.workflow import workflow_id

ROOT: Final = Path(__file__).resolve().parents[2]
WHY: Final = {"reason": "a test"}
LEASE_SECONDS: Final = 2
NOT_RECORDED: Final = frozenset({"keys", "schedules"})
"""Tags of what only the signer, or Temporal itself, knows."""
TOLD_SECONDS: Final = 20.0
"""What is refused has to be refused soon, also on a busy machine."""


class Caller:
    """Somebody who may everything, and asks over HTTP."""

    def __init__(self, client: httpx.AsyncClient, credential: str) -> None:
        self._client = client
        self._headers = {"Authorization": f"Bearer {credential}"}

    async def get(self, path: str, **query: str) -> httpx.Response:
        return await self._client.get(f"/v1{path}", params=query, headers=self._headers)

    async def post(self, path: str, body: Any, key: str | None = None) -> httpx.Response:
        headers = self._headers | {"Idempotency-Key": key or str(uuid4())}
        return await self._client.post(f"/v1{path}", json=body, headers=headers)

    async def example(self, name: str, deal_id: DealId) -> httpx.Response:
        """Ask an endpoint as its document's example does, of this deal if of any."""
        method, path, operation = OURS[name]
        query = {}
        for parameter in operation.get("parameters", ()):
            if parameter["in"] == "path":
                known = {"deal_id": deal_id, "chain_id": "138", "version": "1"}
                place = known.get(parameter["name"], "nothing")
                path = path.replace("{" + parameter["name"] + "}", place)
            elif parameter["in"] == "query" and parameter.get("required"):
                query[parameter["name"]] = "a test"
        body = None
        if "requestBody" in operation:
            body = operation["requestBody"]["content"]["application/json"]["example"]
        headers = self._headers | {"Idempotency-Key": str(uuid4()), "If-Match": '"1-abc"'}
        return await self._client.request(method, path, json=body, params=query, headers=headers)


def endpoints(rate: Rate) -> list[str]:
    """The endpoints that are counted like this, but for streams, which may have no end."""
    return sorted(
        name
        for name, (_, _, operation) in OURS.items()
        if operation["x-rate-limit"] == rate
        and not any("text/event-stream" in r.get("content", ()) for r in _good(operation))
    )


def _good(operation: dict[str, Any]) -> list[dict[str, Any]]:
    return [each for number, each in operation["responses"].items() if number < "300"]


def start_body(desk: Desk) -> dict[str, Any]:
    request = desk.request()
    return {
        "deal_id": request.deal_id,
        "bank": request.bank,
        "module": request.module,
        "chain_id": request.chain_id,
        "working_liquidity": "10",
    }


@pytest.fixture(scope="module")
def credential(slow_stack: Stack) -> str:
    return add_person(slow_stack, f"all-{uuid4().hex[:8]}", *Role).text


@pytest.fixture
async def asked(slow_stack: Stack, credential: str) -> AsyncIterator[Caller]:
    """The API on the stack that is broken."""
    with served_on(slow_stack) as address:
        async with httpx.AsyncClient(base_url=address, timeout=90) as client:
            yield Caller(client, credential)


async def paused(desk: Desk, asked: Caller) -> DealId:
    """A deal that is begun, and paused, over the API."""
    body = start_body(desk)
    started = await asked.post("/deals", body)
    assert started.status_code == 201, started.text
    deal_id = DealId(body["deal_id"])
    await desk.until(deal_id, lambda view: len(view.steps) >= 1)
    assert (await asked.post(f"/deals/{deal_id}/pause", WHY)).status_code == 200
    await desk.status(deal_id, DealStatus.PAUSED)
    return deal_id


def commands(desk: Desk, deal_id: DealId, kind: str) -> list[str]:
    """What became of the deal's commands of this kind."""
    query = "SELECT state FROM control.commands WHERE deal_id = %s AND kind = %s"
    return [str(row[0]) for row in desk.books.rows(query, deal_id, kind)]


async def updates(desk: Desk, deal_id: DealId, name: str) -> int:
    """How many updates of this name the deal's workflow has accepted."""
    history = await desk.client.get_workflow_handle(workflow_id(deal_id)).fetch_history()
    accepted = [
        event.workflow_execution_update_accepted_event_attributes.accepted_request.input.name
        for event in history.events
        if event.HasField("workflow_execution_update_accepted_event_attributes")
    ]
    return accepted.count(name)


async def test_with_temporal_away_reads_have_an_age_and_changes_are_refused_or_queued(
    slow_desk: Desk, asked: Caller
) -> None:
    """The API was connected, so it has to notice by itself; what is queued is done once."""
    deal_id, cancelled = await paused(slow_desk, asked), str(uuid4())
    new, new_key = start_body(slow_desk), str(uuid4())
    async with killed(slow_desk.stack, "temporal"):
        await asyncio.sleep(1.5)  # it was asked within the last second, and had answered
        for source in ("records", "workflow"):
            shown = (await asked.get(f"/deals/{deal_id}", source=source)).json()
            assert (shown["source"], shown["status"]) == ("records", "PAUSED")
            assert shown["age_seconds"] > 0
        listed = (await asked.get("/deals", limit="1")).json()
        assert listed["source"] == "records"
        assert listed["as_of"]
        assert listed["deals"][0]["age_seconds"] >= 0
        began = time.monotonic()
        for path, body, key in (
            (f"/deals/{deal_id}/resume", WHY, str(uuid4())),
            ("/deals", new, new_key),
        ):
            refused = await asked.post(path, body, key)
            assert (refused.status_code, refused.json()["code"]) == (503, "unavailable")
            assert refused.json()["next_action"]
            assert int(refused.headers["Retry-After"]) > 0
        for _ in range(2):
            queued = await asked.post(f"/deals/{deal_id}/cancel", WHY, cancelled)
            assert (queued.status_code, queued.json()["state"]) == (202, "QUEUED")
        assert time.monotonic() - began < TOLD_SECONDS
        assert commands(slow_desk, deal_id, "deal.cancel") == ["QUEUED"]
        health = (await asked._client.get("/health")).json()
        away = {each["name"] for each in health["dependencies"] if each["state"] == "away"}
        assert (health["status"], away) == ("degraded", {"temporal"})
        assert (await asked._client.get("/ready")).status_code == 200
    assert (await slow_desk.end(deal_id)).status is DealStatus.UNWOUND
    assert await updates(slow_desk, deal_id, "cancel") == 1
    await eventually(
        lambda: commands(slow_desk, deal_id, "deal.cancel") == ["APPLIED"], "that is written down"
    )

    async def started() -> httpx.Response:
        return await asked.post("/deals", new, new_key)

    answer = await started()
    while answer.status_code == 503:  # it looks again after a second
        await asyncio.sleep(0.5)
        answer = await started()
    assert answer.status_code == 201, answer.text
    assert (await slow_desk.end(DealId(new["deal_id"]))).status is DealStatus.COMPLETED
    assert commands(slow_desk, DealId(new["deal_id"]), "deal.start") == ["APPLIED"]


async def test_with_temporal_away_every_endpoint_answers_soon_and_says_why(
    slow_desk: Desk, asked: Caller
) -> None:
    """None hangs, none fails as if it were broken, none says that it does not know."""
    deal_id = await paused(slow_desk, asked)
    wrong = []
    async with killed(slow_desk.stack, "temporal"):
        await asyncio.sleep(1.5)
        for rate in (Rate.READ, Rate.SAFETY, Rate.CHANGE, Rate.LAUNCH):
            for name in endpoints(rate):
                began = time.monotonic()
                answer = await asked.example(name, deal_id)
                took = time.monotonic() - began
                told = answer.json() if answer.status_code == 503 else {}
                good = answer.status_code < 500 or told.get("code") == "unavailable"
                if rate is Rate.READ and NOT_RECORDED.isdisjoint(OURS[name][2]["tags"]):
                    good = answer.status_code in {200, 404}
                if not good or took > TOLD_SECONDS:
                    wrong.append((name, answer.status_code, round(took, 1), answer.text[:200]))
    forget_halts(postgres.url(slow_desk.stack.folder, postgres.OWNER))
    assert not wrong
    view = await slow_desk.end(deal_id)  # cancel and unwind were among them
    assert view.status is DealStatus.UNWOUND


async def test_with_redis_away_launches_are_refused_and_what_is_safe_is_done(
    slow_desk: Desk, asked: Caller
) -> None:
    deal_id = await paused(slow_desk, asked)
    wrong = []
    async with killed(slow_desk.stack, "redis"):
        for name in endpoints(Rate.LAUNCH):
            answer = await asked.example(name, deal_id)
            if (answer.status_code, answer.json()["code"]) != (503, "rate_limits_unavailable"):
                wrong.append((name, answer.status_code, answer.text[:200]))
        assert not wrong
        for name in (*endpoints(Rate.READ), *endpoints(Rate.CHANGE), *endpoints(Rate.SAFETY)):
            answer = await asked.example(name, deal_id)
            if answer.status_code >= 500:
                wrong.append((name, answer.status_code, answer.text[:200]))
        assert not wrong
        ended = await slow_desk.end(deal_id)  # by the cancel among them
        assert ended.status is DealStatus.UNWOUND
    forget_halts(postgres.url(slow_desk.stack.folder, postgres.OWNER))
    launched = await asked.post("/deals", start_body(slow_desk))
    while launched.status_code == 503:  # it looks again after a second
        await asyncio.sleep(0.5)
        launched = await asked.post("/deals", start_body(slow_desk))
    assert launched.status_code == 201, launched.text
    await slow_desk.end(DealId(launched.json()["request"]["deal_id"]))


async def all_is_kept(desk: Desk) -> None:
    """Wait until the chain's newest block is saved: a node that is killed forgets what is not."""
    kept = desk.stack.folder / "chain-138" / "kept.json"

    def newest() -> bool:
        return int(json.loads(kept.read_bytes())["block"]["number"], 16) == desk.node().head()

    await eventually(newest, "the keeper has saved the newest block")


async def test_with_the_node_away_reads_answer_and_a_cancel_is_taken(
    slow_desk: Desk, asked: Caller
) -> None:
    """What takes the chain waits for it; what the records know is told, and that it is old."""
    deal_id, new = await paused(slow_desk, asked), start_body(slow_desk)
    await all_is_kept(slow_desk)
    async with killed(slow_desk.stack, "chain-138"):
        starting = asyncio.create_task(asked.post("/deals", new))
        shown = (await asked.get(f"/deals/{deal_id}")).json()
        assert (shown["source"], shown["status"]) == ("records", "PAUSED")
        taken = await asked.post(f"/deals/{deal_id}/cancel", WHY)
        assert taken.status_code == 200, taken.text
        chain = (await asked.get("/chains/138")).json()
        while not chain["stale"]:
            assert chain["age_seconds"] <= chain["stale_after_seconds"]
            await asyncio.sleep(0.5)
            chain = (await asked.get("/chains/138")).json()
        assert not starting.done()  # it is sized by what the chain says
    assert (await slow_desk.end(deal_id)).status is DealStatus.UNWOUND
    assert await updates(slow_desk, deal_id, "cancel") == 1
    assert (await starting).status_code == 201
    assert (await slow_desk.end(DealId(new["deal_id"]))).status is DealStatus.COMPLETED


def stalled(desk: Desk) -> list[tuple[Any, ...]]:
    """The alerts of a chain without blocks: when each was raised, and cleared."""
    return desk.books.rows(
        "SELECT raised_at, cleared_at FROM transactions.alerts"
        " WHERE chain_id = 138 AND kind = 'head_stalled' ORDER BY raised_at"
    )


async def test_an_alert_that_nobody_could_write_down_is_raised_once_on_return(
    slow_desk: Desk, asked: Caller
) -> None:
    """No block comes while something waits in the node, and Postgres is away."""
    body, before = start_body(slow_desk), len(stalled(slow_desk))
    deal_id = DealId(body["deal_id"])
    with slow_desk.node().held():
        assert (await asked.post("/deals", body)).status_code == 201
        await slow_desk.sent(deal_id, "fund")
        async with killed(slow_desk.stack, "postgres"):
            refused = await asked.get("/deals")
            assert (refused.status_code, refused.json()["code"]) == (503, "unavailable")
            assert (await asked._client.get("/ready")).status_code == 503
            await asyncio.sleep(12)  # ten blocks are missing by now
        await eventually(lambda: len(stalled(slow_desk)) > before, "it is raised")
        await asyncio.sleep(3)  # it is seen again at each look
        assert len(stalled(slow_desk)) == before + 1
        chain = (await asked.get("/chains/138")).json()
        assert "head_stalled" in {alert["kind"] for alert in chain["alerts"]}
    assert (await slow_desk.end(deal_id)).status is DealStatus.COMPLETED
    await eventually(lambda: stalled(slow_desk)[-1][1] is not None, "it is over")
    assert len(stalled(slow_desk)) == before + 1


class Process:
    """The API in a process of its own, to be killed."""

    def __init__(self, stack: Stack) -> None:
        self._port = free_port()
        self._environment = (
            os.environ
            | load_environment(stack.folder)
            | {"DEAL_API_LEASE_SECONDS": str(LEASE_SECONDS)}
        )
        self.url = url(self._port)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[asyncio.subprocess.Process]:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "starters.cli.main", "api", "--address", str(self._port)),
            cwd=ROOT,
            env=self._environment,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            await self._up(process)
            yield process
        finally:
            if process.returncode is None:
                process.terminate()
                await process.wait()

    async def _up(self, process: asyncio.subprocess.Process) -> None:
        deadline = time.monotonic() + WITHIN
        async with httpx.AsyncClient(base_url=self.url) as client:
            while time.monotonic() < deadline:
                assert process.returncode is None
                try:
                    assert (await client.get("/startup")).status_code == 200
                except httpx.TransportError:
                    await asyncio.sleep(0.1)
                else:
                    return
        raise AssertionError


def worker(stack: Stack) -> int:
    """The process id of the deals worker."""
    (pid,) = [each.pid for each in stack.status() if each.name == "deals"]
    assert pid is not None
    return pid


async def test_after_a_sigkill_in_the_middle_the_same_key_gives_one_effect(
    slow_desk: Desk, credential: str
) -> None:
    """A start is recorded and with Temporal, and its process dies before there is an answer."""
    api, body, key = Process(slow_desk.stack), start_body(slow_desk), str(uuid4())
    deal_id = DealId(body["deal_id"])
    async with httpx.AsyncClient(base_url=api.url, timeout=90) as client:
        asked = Caller(client, credential)
        async with api.running() as process:
            os.kill(worker(slow_desk.stack), signal.SIGSTOP)
            try:
                sent = asyncio.create_task(asked.post("/deals", body, key))
                await eventually(
                    lambda: commands(slow_desk, deal_id, "deal.start"), "it is written down"
                )
                await asyncio.sleep(1)
                assert not sent.done()
                process.kill()
                with pytest.raises(httpx.TransportError):
                    await sent
                await process.wait()
            finally:
                os.kill(worker(slow_desk.stack), signal.SIGCONT)
        async with api.running():
            other = await asked.post("/deals", body | {"working_liquidity": "11"}, key)
            assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
            answer = await asked.post("/deals", body, key)
            while answer.status_code == 409:
                assert answer.json()["code"] == "request_in_progress"
                await asyncio.sleep(0.2)
                answer = await asked.post("/deals", body, key)
            assert answer.status_code == 201, answer.text
            again = await asked.post("/deals", body, key)
            assert again.json()["request"]["deal_id"] == deal_id
            assert again.headers["Idempotency-Replayed"] == "true"
    view = await slow_desk.end(deal_id)
    assert view.status is DealStatus.COMPLETED
    slow_desk.books.check_exactly_once(view, slow_desk.node())
    assert commands(slow_desk, deal_id, "deal.start") == ["APPLIED"]
    assert await updates(slow_desk, deal_id, "admission") == 1


def test_the_lease_is_longer_than_a_request_may_take() -> None:
    """Otherwise a request that is being worked on could be taken over."""
    usual = ApiSettings(database_url="postgresql://x", environment="production")
    assert usual.api_lease_seconds > usual.api_request_seconds
