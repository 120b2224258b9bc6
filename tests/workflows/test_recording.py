"""The records refuse a version: the deal stands still until that is mended, and does not fail."""

from __future__ import annotations

import asyncio

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowHistory

from activities.deals.interface import DealRecord
from domain.deals import CLOSED, DealStatus
from domain.errors import Conflict, Unavailable
from domain.identifiers import DealId
from tests.support.desk import eventually
from tests.workflows.conftest import Theatre
from tests.workflows.fakes import Script
from workers.runtime.failures import application_error

TEXT = "the records refuse version"


class Refusing:
    """Records that refuse each version of one status, for as long as nobody mends them."""

    def __init__(self, status: DealStatus) -> None:
        self.status, self.refused, self.mended = status, 0, False

    def __call__(self, record: DealRecord) -> None:
        if record.view.status is self.status and not self.mended:
            self.refused += 1
            raise application_error(Conflict("another request's", next_action="compare both"))


async def failures_of_tasks(theatre: Theatre, deal_id: DealId) -> list[str]:
    history: WorkflowHistory = await theatre.handle(deal_id).fetch_history()
    failed = EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED
    decode = theatre.client.data_converter.decode_failure
    return [
        str(await decode(event.workflow_task_failed_event_attributes.failure))
        for event in history.events
        if event.event_type == failed
    ]


@pytest.mark.parametrize("status", [DealStatus.EXECUTING, DealStatus.COMPLETED])
async def test_a_refused_version_holds_the_deal_until_it_is_mended(
    theatre: Theatre, status: DealStatus
) -> None:
    """On the way, where a local activity records, and at the end, where an ordinary one does."""
    records = Refusing(status)
    script = Script(on_record=records)
    starting = asyncio.create_task(theatre.start(script))
    await eventually(lambda: records.refused, f"{status} is refused")
    handle = theatre.handle(script.records[0].view.request.deal_id)
    await asyncio.sleep(1)
    assert (await handle.describe()).close_time is None
    assert not [each for each in script.records if each.view.status in CLOSED - {status}]
    records.mended = True
    deal_id = (await starting).request.deal_id
    assert (await theatre.end(deal_id)).status is DealStatus.COMPLETED
    told = await failures_of_tasks(theatre, deal_id)
    if status in CLOSED:  # its refusal is in the history, where no task may fail for it
        assert told == []
    else:
        assert told
        assert all(TEXT in each for each in told)
    assert len(script.steps) == len({str(step.outcome.key) for step in script.steps})


async def test_records_that_are_only_away_are_waited_for(theatre: Theatre) -> None:
    """What is tried again is no refusal: no task fails for it."""
    failures = 3

    def away(_: DealRecord) -> None:
        nonlocal failures
        if failures:
            failures -= 1
            raise application_error(Unavailable("away", next_action="wait"))

    view = await theatre.run(Script(on_record=away))
    assert (view.status, failures) == (DealStatus.COMPLETED, 0)
    assert await failures_of_tasks(theatre, view.request.deal_id) == []
