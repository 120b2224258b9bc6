"""How long it took from a kill until what it interrupted had gone on, by Temporal's history."""

from __future__ import annotations

from dataclasses import dataclass

from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent

from tests.faults.crashes import Fired
from tests.faults.rig import Lane


@dataclass(frozen=True)
class Recovery:
    """Seconds from the kill: until another worker had the task, and until it was done."""

    taken_up: float
    gone_on: float


async def recoveries(lane: Lane, workflow_id: str, fired: dict[str, Fired]) -> dict[str, Recovery]:
    """The recovery of each crash (by case) of one workflow; those without an end are left out."""
    handle = lane.client.get_workflow_handle(workflow_id)
    events = list((await handle.fetch_history()).events)
    found = {case: _recovery(events, each) for case, each in fired.items()}
    return {case: recovery for case, recovery in found.items() if recovery is not None}


def _recovery(events: list[HistoryEvent], fired: Fired) -> Recovery | None:
    scheduled = [
        event.event_id
        for event in events
        if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED
        and event.activity_task_scheduled_event_attributes.activity_id == fired.activity_id
    ]
    if scheduled:
        return _of_activity(events, scheduled[0], fired)
    return _of_workflow_task(events, fired)


def _of_activity(events: list[HistoryEvent], scheduled: int, fired: Fired) -> Recovery | None:
    started = [
        event.event_time.ToNanoseconds() / 1e9
        for event in events
        if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_STARTED
        and event.activity_task_started_event_attributes.scheduled_event_id == scheduled
    ]
    ended = [
        event.event_time.ToNanoseconds() / 1e9
        for event in events
        if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED
        and event.activity_task_completed_event_attributes.scheduled_event_id == scheduled
    ]
    if not started or not ended:
        return None
    return Recovery(started[-1] - fired.at, ended[-1] - fired.at)


def _of_workflow_task(events: list[HistoryEvent], fired: Fired) -> Recovery | None:
    """A local activity and a workflow task are done when the next task completes."""
    times = {
        kind: [e.event_time.ToNanoseconds() / 1e9 for e in events if e.event_type == kind]
        for kind in (
            EventType.EVENT_TYPE_WORKFLOW_TASK_STARTED,
            EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED,
        )
    }
    started, completed = (
        [at for at in times[kind] if at > fired.at]
        for kind in (
            EventType.EVENT_TYPE_WORKFLOW_TASK_STARTED,
            EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED,
        )
    )
    if not completed:
        return None
    return Recovery((started or completed)[0] - fired.at, completed[0] - fired.at)
