"""The life of a worker process, on a real Temporal: ready, draining, stopped."""

import signal
import socket
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from temporalio.api.enums.v1 import PendingActivityState
from temporalio.client import Client, WorkflowExecutionDescription

from tests.workers.processes import ended, running, told_to_stop, until
from workers.runtime.connect import connect
from workers.runtime.process import database_pool

pytestmark = pytest.mark.usefixtures("encrypted")

DATABASE = "postgresql://nobody@127.0.0.1:1/nothing"
WORKER = """
import asyncio
from datetime import timedelta
from temporalio import activity, workflow
from temporalio.worker import UnsandboxedWorkflowRunner, Worker
from workers.runtime.process import run_process
from workers.runtime.settings import WorkerSettings

@activity.defn
async def slow(seconds: float) -> str:
    await asyncio.sleep(seconds)
    return "done"

@workflow.defn
class Slow:
    @workflow.run
    async def run(self, seconds: float) -> str:
        return await workflow.execute_activity(
            slow, seconds, start_to_close_timeout=timedelta(seconds=30)
        )

async def closing():
    print("closed", flush=True)

async def build(settings, client, stack, health):
    stack.push_async_callback(closing)
    return [Worker(
        client,
        task_queue="{queue}",
        activities=[slow],
        workflows=[Slow],
        workflow_runner=UnsandboxedWorkflowRunner(),
        graceful_shutdown_timeout=timedelta(seconds=settings.graceful_shutdown_seconds),
    )]

run_process("test", WorkerSettings, build)
"""


@pytest.fixture
def queue() -> str:
    return f"test-{uuid4().hex}"


@pytest.fixture
async def client(temporal_address: str, monkeypatch: pytest.MonkeyPatch) -> Client:
    monkeypatch.setenv("TEMPORAL_ADDRESS", temporal_address)
    return await connect()


def _started(description: WorkflowExecutionDescription) -> bool:
    """Whether a worker has the workflow's activity in hand."""
    started = PendingActivityState.PENDING_ACTIVITY_STATE_STARTED
    activities = description.raw_description.pending_activities
    return any(activity.state == started for activity in activities)


def variables(address: str, **more: str) -> dict[str, str]:
    return {
        "TEMPORAL_ADDRESS": address,
        "TEMPORAL_CONFIG_FILE": "/dev/null",
        "DEAL_DATABASE_URL": DATABASE,
        **more,
    }


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_it_says_when_it_is_ready_and_stops_cleanly_when_told(
    temporal_address: str, tmp_path: Path, queue: str, number: int
) -> None:
    ready = tmp_path / "ready"
    environment = variables(temporal_address, DEAL_READY_FILE=str(ready))
    with running(WORKER.replace("{queue}", queue), **environment) as process:
        until(ready.exists, process)
        told_to_stop(process, number)
        code, lines = ended(process)
    assert code == 0
    assert not ready.exists()
    events = [line["event"] for line in lines if line.get("worker") == "test"]
    assert events == ["ready", "draining", "stopped"]
    assert lines[0]["task_queues"] == [queue]


async def test_what_is_under_way_is_brought_to_its_end_first(
    temporal_address: str, queue: str, client: Client
) -> None:
    environment = variables(temporal_address)
    with running(WORKER.replace("{queue}", queue), **environment) as process:
        handle = await client.start_workflow(
            "Slow", 1.0, id=queue, task_queue=queue, execution_timeout=timedelta(seconds=60)
        )
        while not _started(await handle.describe()):
            assert process.poll() is None
        told_to_stop(process)
        code, _ = ended(process)
    assert code == 0
    history = await handle.fetch_history()
    kinds = {event.WhichOneof("attributes") for event in history.events}
    assert "activity_task_completed_event_attributes" in kinds
    await handle.terminate()


async def test_a_setting_that_is_missing_ends_it_with_one_line_that_names_it(
    temporal_address: str, queue: str
) -> None:
    environment = variables(temporal_address)
    del environment["DEAL_DATABASE_URL"]
    with running(WORKER.replace("{queue}", queue), **environment) as process:
        code, lines = ended(process)
    assert code == 2
    (line,) = lines
    assert (line["event"], line["worker"]) == ("worker cannot run", "test")
    assert (line["code"], line["field"]) == ("invalid_configuration", "DEAL_DATABASE_URL")


def test_without_temporal_it_ends_with_one_line_that_says_so(queue: str) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    with running(WORKER.replace("{queue}", queue), **variables(address)) as process:
        code, lines = ended(process)
    assert code == 1
    (line,) = lines
    assert (line["code"], line["field"]) == ("unavailable", "TEMPORAL_ADDRESS")


def test_a_metrics_address_that_is_taken_ends_it(queue: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        environment = variables("127.0.0.1:1", DEAL_METRICS_ADDRESS=address)
        with running(WORKER.replace("{queue}", queue), **environment) as process:
            code, lines = ended(process)
    assert code == 2
    assert lines[0]["field"] == "DEAL_METRICS_ADDRESS"


async def test_a_pool_gives_connections_that_commit_by_themselves(database_url: str) -> None:
    async with database_pool(database_url, size=2) as pool:
        async with pool.connection() as connection:
            await connection.execute("CREATE TABLE kept (number integer)")
            await connection.execute("INSERT INTO kept VALUES (7)")
            assert connection.autocommit
        with psycopg.connect(database_url) as other:
            assert other.execute("SELECT number FROM kept").fetchall() == [(7,)]
        assert pool.max_size == 2
    assert pool.closed
