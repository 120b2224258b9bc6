"""Deals that began with an older workflow go on with today's."""

from __future__ import annotations

import json
from typing import Any

import pytest
from temporalio.client import WorkflowHistory
from temporalio.converter import DataConverter
from temporalio.worker import Replayer
from temporalio.workflow import NondeterminismError

from domain.deals import DealStatus
from tests.replay.export import HISTORIES
from tests.replay.stories import STORIES
from tests.support.codec import encrypting_converter
from tests.support.desk import Desk
from workers.deals import WORKFLOW_RUNNER
from workers.runtime.codec import ENCODING
from workflows.deal.workflow import DealWorkflow

KEPT = {file.stem: file.read_text() for file in sorted(HISTORIES.glob("*.json"))}
ENDS = {
    "completed": DealStatus.COMPLETED,
    "cancelled": DealStatus.UNWOUND,
    "frozen": DealStatus.COMPLETED,
    "pipelined": DealStatus.COMPLETED,
    "pipelined-frozen": DealStatus.COMPLETED,
}
STARTED = "EVENT_TYPE_ACTIVITY_TASK_SCHEDULED"


def replayer(converter: DataConverter) -> Replayer:
    return Replayer(
        workflows=[DealWorkflow], workflow_runner=WORKFLOW_RUNNER, data_converter=converter
    )


@pytest.fixture
def converter() -> DataConverter:
    """One with a codec, which leaves histories from before it as they are."""
    return encrypting_converter()


def history_of(events: dict[str, Any]) -> WorkflowHistory:
    return WorkflowHistory.from_json("deal-replayed", events)


def test_a_history_of_every_story_is_kept() -> None:
    assert set(KEPT) >= set(STORIES)


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
    history = await desk.handle(deal_id).fetch_history()
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
