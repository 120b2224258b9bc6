"""What Temporal keeps of a deal, and who can read it: the Web UI and the ``temporal`` command."""

from __future__ import annotations

import json
import subprocess
from base64 import b64decode

from temporalio.client import ScheduleActionStartWorkflow

from domain.deals import DealStatus
from starters.local import temporal
from starters.local.codec import keys_file, url
from starters.local.stack import Stack
from starters.schedules import CODEC_SCHEDULE
from tests.support.desk import Desk
from workers.runtime.codec import ENCODING
from workers.runtime.key_ring import CodecKey, FileKeySource
from workflows.deal.workflow import workflow_id
from workflows.payloads.rotation import RotateCodecWorkflow

READABLE = (b"working_liquidity", b"collateralize 1: ", b"eth_")


def show(stack: Stack, workflow: str, *options: str) -> str:
    """What the ``temporal`` command tells of a workflow."""
    done = subprocess.run(
        [
            str(temporal.ensure_temporal()),
            *("workflow", "show", "--workflow-id", workflow, "--output", "json"),
            *("--address", f"127.0.0.1:{stack.port('temporal')}"),
            *("--disable-config-file", *options),
        ],
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout


async def test_temporal_keeps_nothing_readable_and_its_command_reads_by_the_codec_server(
    stack: Stack, desk: Desk
) -> None:
    view = await desk.run()
    assert view.status is DealStatus.COMPLETED
    workflow = workflow_id(view.request.deal_id)
    unread = json.loads(show(stack, workflow))["events"][0]
    request = unread["workflowExecutionStartedEventAttributes"]["input"]["payloads"][0]
    assert b64decode(request["metadata"]["encoding"]) == ENCODING
    codec = url(stack.port("codec"))
    story = json.loads(show(stack, workflow, "--codec-endpoint", codec))
    request = story["events"][0]["workflowExecutionStartedEventAttributes"]["input"]
    assert view.request.bank.encode() in b64decode(request["payloads"][0]["data"])
    told = [event.get("userMetadata", {}).get("summary", {}) for event in story["events"]]
    told = [b64decode(summary.get("data", "")) for summary in told]
    assert b'"Open the deal\'s own account"' in told
    kept = b"".join(file.read_bytes() for file in (stack.folder / "temporal").glob("*.sqlite*"))
    assert workflow.encode() in kept
    assert [word for word in (view.request.bank.encode(), *READABLE) if word in kept] == []


async def test_a_new_key_is_taken_up_by_workers_that_run(stack: Stack, desk: Desk) -> None:
    before = await desk.start()
    key = CodecKey.generate()
    await FileKeySource(keys_file(stack.folder)).add(key)
    fresh = await Desk.open(stack)  # begins with the new key, which no worker has seen
    after = await fresh.run()
    assert after.status is (await desk.end(before.request.deal_id)).status is DealStatus.COMPLETED
    history = await fresh.handle(after.request.deal_id).fetch_history()
    begun = history.events[0].workflow_execution_started_event_attributes
    assert begun.input.payloads[0].metadata["encryption-key-id"] == key.key_id.encode()


async def test_the_schedule_adds_a_key(stack: Stack, desk: Desk) -> None:
    source = FileKeySource(keys_file(stack.folder))
    before = await source.read()
    schedule = await desk.client.get_schedule_handle(CODEC_SCHEDULE).describe()
    action = schedule.schedule.action
    assert isinstance(action, ScheduleActionStartWorkflow)
    assert (action.workflow, action.task_queue) == ("RotateCodec", "deals")
    assert [each.every.days for each in schedule.schedule.spec.intervals] == [90]
    done = await desk.client.execute_workflow(
        RotateCodecWorkflow.run, id="rotate-codec-by-a-test", task_queue=action.task_queue
    )
    ids = [key.key_id for key in await source.read()]
    assert (ids[:-1], ids[-1]) == ([key.key_id for key in before], done.key_id)
