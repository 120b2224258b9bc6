"""Deals and operations that began with an older workflow go on with today's."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from temporalio.client import WorkflowHistory
from temporalio.converter import DataConverter
from temporalio.worker import Replayer
from temporalio.workflow import NondeterminismError

from domain.deals import DealStatus
from domain.operations import OperationStatus
from tests.replay.export import HISTORIES
from tests.replay.stories import OPERATIONS, STORIES
from tests.support.codec import encrypting_converter
from tests.support.desk import Desk
from tests.support.timelocks import Office, operations_stack
from workers.deals import WORKFLOW_RUNNER
from workers.runtime.codec import ENCODING
from workflows.deal.workflow import DealWorkflow
from workflows.operations.workflow import CriticalOperationWorkflow, workflow_id

KEPT = {file.stem: file.read_text() for file in sorted(HISTORIES.glob("*.json"))}
ENDS = {
    "completed": DealStatus.COMPLETED,
    "cancelled": DealStatus.UNWOUND,
    "frozen": DealStatus.COMPLETED,
    "pipelined": DealStatus.COMPLETED,
    "pipelined-frozen": DealStatus.COMPLETED,
    "approved": DealStatus.COMPLETED,
}
OPERATION_ENDS = {
    "operation-done": OperationStatus.DONE,
    "operation-cancelled": OperationStatus.CANCELLED,
}
STARTED = "EVENT_TYPE_ACTIVITY_TASK_SCHEDULED"


def replayer(converter: DataConverter) -> Replayer:
    return Replayer(
        workflows=[DealWorkflow, CriticalOperationWorkflow],
        workflow_runner=WORKFLOW_RUNNER,
        data_converter=converter,
    )


@pytest.fixture
def converter() -> DataConverter:
    """One with a codec, which leaves histories from before it as they are."""
    return encrypting_converter()


def history_of(events: dict[str, Any]) -> WorkflowHistory:
    return WorkflowHistory.from_json("deal-replayed", events)


def test_a_history_of_every_story_is_kept() -> None:
    assert set(KEPT) >= {*STORIES, *OPERATIONS}


@pytest.mark.parametrize("name", KEPT)
async def test_a_kept_history_replays(name: str, converter: DataConverter) -> None:
    result = await replayer(converter).replay_workflow(history_of(json.loads(KEPT[name])))
    assert result.replay_failure is None


@pytest.mark.parametrize("name", KEPT)
async def test_a_history_in_another_order_does_not_replay(
    name: str, converter: DataConverter
) -> None:
    events = json.loads(KEPT[name])
    scheduled = [event for event in events["events"] if event["eventType"] == STARTED]
    kinds = [e["activityTaskScheduledEventAttributes"]["activityType"] for e in scheduled]
    kinds[2]["name"], kinds[3]["name"] = kinds[3]["name"], kinds[2]["name"]
    with pytest.raises(NondeterminismError):
        await replayer(converter).replay_workflow(history_of(events))


@pytest.mark.parametrize("story", sorted(STORIES))
async def test_a_deal_that_just_ended_replays_and_tells_its_story(desk: Desk, story: str) -> None:
    deal_id = await STORIES[story](desk)
    assert (await desk.end(deal_id)).status is ENDS[story]
    await replays_and_tells_its_story(desk, await desk.handle(deal_id).fetch_history())


@pytest.fixture(scope="module")
async def office() -> AsyncIterator[Office]:
    """Where operations are proposed, on a stack whose timelock waits seconds."""
    with operations_stack() as stack:
        yield await Office.open(stack)
        await asyncio.sleep(0.25)  # the SDK's own threads have to be done with the last answer


@pytest.mark.parametrize("story", sorted(OPERATIONS))
async def test_an_operation_that_just_ended_replays_and_tells_its_story(
    office: Office, story: str
) -> None:
    operation_id = await OPERATIONS[story](office)
    assert (await office.operations.end(operation_id)).status is OPERATION_ENDS[story]
    handle = office.desk.client.get_workflow_handle(workflow_id(operation_id))
    await replays_and_tells_its_story(office.desk, await handle.fetch_history())


async def replays_and_tells_its_story(desk: Desk, history: WorkflowHistory) -> None:
    encodings = {
        payload.metadata["encoding"]
        for event in history.events
        for payload in event.workflow_execution_started_event_attributes.input.payloads
    }
    assert encodings == {ENCODING}
    result = await replayer(desk.client.data_converter).replay_workflow(history)
    assert result.replay_failure is None
    untold = [
        event["eventType"]
        for event in json.loads(history.to_json())["events"]
        if event["eventType"] in {STARTED, "EVENT_TYPE_TIMER_STARTED"}
        and not event.get("userMetadata", {}).get("summary")
    ]
    assert untold == []
