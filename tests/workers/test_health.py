"""What a process says of itself, and of what it depends on."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from temporalio.testing import WorkflowEnvironment

from domain.errors import InvalidConfiguration, Unavailable
from starters.local.stack import Stack
from starters.local.temporal import ensure_temporal
from tests.workers.processes import running, until
from tests.workers.test_process import WORKER, variables
from workers.runtime.health import Health, serving


async def up() -> None:
    """Answer."""


async def away() -> None:
    raise Unavailable("it is away", actual="refused", next_action="start it")


async def hanging() -> None:
    await asyncio.Event().wait()


async def broken() -> None:
    raise ValueError("postgresql://deal:secret@host/db")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def ask(port: int, request: str = "GET /health") -> tuple[int, Any]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"{request} HTTP/1.1\r\nHost: here\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body) if body else None


def started(**checks: Any) -> Health:
    health = Health("test", "1")
    for name, (check, needed) in checks.items():
        health.watch(name, check, needed=needed, without="nothing is done")
    health.started = True
    return health


@asynccontextmanager
async def told(health: Health) -> AsyncIterator[int]:
    port = free_port()
    async with serving(health, str(port)):
        yield port


async def test_a_process_is_alive_at_once_and_ready_once_it_works() -> None:
    health = Health("test", "1")
    async with told(health) as port:
        assert (await ask(port, "GET /live"))[0] == 200
        assert [
            (await ask(port, f"GET /{path}"))[0] for path in ("startup", "ready", "health")
        ] == [
            503,
            503,
            503,
        ]
        health.started = True
        assert [
            (await ask(port, f"GET /{path}"))[0] for path in ("startup", "ready", "health")
        ] == [
            200,
            200,
            200,
        ]
        health.stopping = True
        assert (await ask(port, "GET /ready"))[0] == 503
        assert (await ask(port, "GET /live"))[0] == 200


async def test_what_is_needed_and_away_is_named_and_makes_it_not_ready() -> None:
    async with told(started(postgres=(up, True), node=(away, True))) as port:
        status, document = await ask(port, "GET /ready")
        assert (status, document["status"]) == (503, "unavailable")
        states = {each["name"]: each["state"] for each in document["dependencies"]}
        assert states == {"postgres": "up", "node": "away"}
        node = document["dependencies"][1]
        assert (node["actual"], node["without"]) == ("refused", "nothing is done")
        assert all(each["latency_ms"] >= 0 for each in document["dependencies"])
        assert (await ask(port, "GET /live"))[0] == 200


async def test_without_what_it_can_do_without_it_is_degraded_and_ready() -> None:
    async with told(started(postgres=(up, True), redis=(away, False))) as port:
        status, document = await ask(port, "GET /ready")
        assert (status, document["status"]) == (200, "degraded")


async def test_who_does_not_answer_in_time_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.runtime.health.CHECK_SECONDS", 0.05)
    (seen,) = await started(node=(hanging, True)).look()
    assert (seen.up, seen.actual) == (False, "no answer within 0.05 s")


async def test_what_a_library_says_of_an_address_is_not_repeated() -> None:
    (seen,) = await started(postgres=(broken, True)).look()
    assert (seen.up, seen.actual) == (False, "ValueError")


async def test_who_asks_all_the_time_does_not_ask_the_dependencies_all_the_time() -> None:
    asked = 0

    async def counted() -> None:
        nonlocal asked
        asked += 1

    health = started(postgres=(counted, True))
    await asyncio.gather(*(health.answer("/ready") for _ in range(50)))
    assert asked == 1


@pytest.mark.parametrize(
    ("request_line", "status"),
    [("GET /nothing", 404), ("POST /health", 405), ("GET /health?verbose=1", 200)],
)
async def test_nothing_else_is_answered(request_line: str, status: int) -> None:
    async with told(started()) as port:
        assert (await ask(port, request_line))[0] == status


@pytest.mark.parametrize("sent", [b"", b"nonsense\r\n\r\n", b"GET " + b"a" * 100_000])
async def test_nonsense_harms_nobody(sent: bytes) -> None:
    async with told(started()) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(sent)
        writer.write_eof()
        await reader.read()
        writer.close()
        assert (await ask(port))[0] == 200


@pytest.mark.parametrize("address", ["here", "127.0.0.1:99999", ":"])
async def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(InvalidConfiguration) as caught:
        async with serving(Health("test", "1"), address):
            pass
    assert caught.value.problem.field == "DEAL_HEALTH_ADDRESS"


async def test_a_worker_tells_when_temporal_goes(tmp_path: Path, codec: dict[str, str]) -> None:
    server = await WorkflowEnvironment.start_local(
        dev_server_existing_path=str(ensure_temporal()), dev_server_log_level="error"
    )
    port, ready = free_port(), tmp_path / "ready"
    environment = variables(
        server.client.service_client.config.target_host,
        DEAL_READY_FILE=str(ready),
        DEAL_HEALTH_ADDRESS=str(port),
        **codec,
    )
    with running(WORKER.replace("{queue}", uuid4().hex), **environment) as process:
        until(ready.exists, process)
        status, document = await ask(port, "GET /ready")
        assert (status, document["status"]) == (200, "ok")
        await server.shutdown()
        await asyncio.sleep(1.1)  # for so long an answer is kept
        status, document = await ask(port, "GET /ready")
        assert (status, document["dependencies"][0]["name"]) == (503, "temporal")
        assert (await ask(port, "GET /live"))[0] == 200


async def ask_until_well(port: int) -> tuple[int, dict[str, Any]]:
    """Ask again for some seconds: on a busy machine a dependency may be slow to answer once."""
    deadline = time.monotonic() + 10
    while True:
        status, document = await ask(port)
        if status == 200 or time.monotonic() > deadline:
            return status, document
        await asyncio.sleep(0.2)


async def test_every_worker_of_a_stack_tells_its_health(stack: Stack) -> None:
    for worker in stack.workers:
        status, document = await ask_until_well(stack.port(worker.health_name))
        assert (status, document["process"]) == (200, worker.name), document
        names = {each["name"] for each in document["dependencies"]}
        assert {"temporal", "postgres"} <= names
