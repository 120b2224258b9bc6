"""A worker process of several chains lets go of all of them at the same time."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final
from uuid import uuid4

from starters.local.state import load_environment
from tests.support.desk import Desk, eventually
from tests.workers.processes import ended, running, told_to_stop

GRACE_SECONDS: Final = 3
WORKER: Final = """
import asyncio
import sys
from datetime import timedelta
from pathlib import Path
from temporalio import activity, workflow
from temporalio.worker import UnsandboxedWorkflowRunner, Worker
from workers.runtime.process import run_process
from workers.runtime.settings import WorkerSettings

@activity.defn
async def endless(begun: str) -> None:
    Path(begun).touch()
    await asyncio.sleep(600)

@workflow.defn
class Endless:
    @workflow.run
    async def run(self, begun: str) -> None:
        await workflow.execute_activity(
            endless, begun, start_to_close_timeout=timedelta(seconds=600)
        )

async def build(settings, client, stack, health):
    return [Worker(
        client,
        task_queue=queue,
        activities=[endless],
        workflows=[Endless],
        workflow_runner=UnsandboxedWorkflowRunner(),
        graceful_shutdown_timeout=timedelta(seconds=settings.graceful_shutdown_seconds),
    ) for queue in QUEUES]

run_process("test", WorkerSettings, build)
"""


async def test_two_queues_take_no_longer_to_drain_than_one(desk: Desk) -> None:
    queues = [f"draining-{uuid4().hex}" for _ in range(2)]
    begun = [desk.stack.folder / queue for queue in queues]
    environment = load_environment(desk.stack.folder) | {
        "DEAL_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/nothing",
        "DEAL_GRACEFUL_SHUTDOWN_SECONDS": str(GRACE_SECONDS),
    }
    with running(WORKER.replace("QUEUES", repr(queues)), **environment) as process:
        handles = [
            await desk.client.start_workflow("Endless", str(file), id=queue, task_queue=queue)
            for queue, file in zip(queues, begun, strict=True)
        ]
        await eventually(lambda: all(file.exists() for file in begun), "both are under way")
        told_to_stop(process)
        code, lines = ended(process)
    assert code == 0
    times = {
        line["event"]: datetime.fromisoformat(line["timestamp"])
        for line in lines
        if line["event"] in {"draining", "stopped"}
    }
    took = times["stopped"] - times["draining"]
    assert timedelta(seconds=GRACE_SECONDS - 1) < took < timedelta(seconds=2 * GRACE_SECONDS - 0.5)
    for handle in handles:
        await handle.terminate()
