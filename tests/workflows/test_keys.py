"""When the keys of deals are retired, and what people and the schedule have done to keys."""

from __future__ import annotations

from typing import Any

import pytest

from activities.custody.interface import ListKeys, Rotation, VerifyJournal
from domain.deals import DealStatus
from domain.errors import InvalidConfiguration, NotAllowed, NotFound, SigningRefused
from domain.identifiers import DealId
from domain.views import DealView
from starters.keys.client import KeyClient
from starters.schedules import ROTATION_PERIOD, ROTATION_SCHEDULE, apply_schedules, rotation
from tests.support.desk import eventually
from tests.workflows.conftest import Theatre
from tests.workflows.fakes import ACCOUNT, Script, rotated
from workflows.deal.messages import CommandMessage
from workflows.keys.requests import retirement_id
from workflows.keys.rotation import RotateKeysWorkflow, RotateRequest

MESSAGE = CommandMessage(who="on-call", why="a test")


class Shelf:
    """Records that hold one deal, or none."""

    def __init__(self, view: DealView | None) -> None:
        self._view = view

    async def find(self, deal_id: DealId) -> DealView | None:
        assert self._view is None or self._view.request.deal_id == deal_id
        return self._view


def keys(theatre: Theatre, view: DealView | None = None) -> KeyClient:
    records: Any = Shelf(view)
    return KeyClient(theatre.client, records)


async def test_a_completed_deal_has_its_key_retired_as_the_last_thing(theatre: Theatre) -> None:
    script = Script()
    view = await theatre.run(script)
    assert view.status is DealStatus.COMPLETED
    (order,) = script.retired
    assert (order.deal_id, order.why) == (view.request.deal_id, "the deal is COMPLETED")
    assert script.records[-1].view.status is DealStatus.COMPLETED


async def test_a_denied_deal_has_its_key_retired_too(theatre: Theatre) -> None:
    script = Script()
    view = await theatre.run(script, max_ltv="0.0001")
    assert view.status is DealStatus.DENIED
    assert [order.why for order in script.retired] == ["the deal is DENIED"]


async def test_a_deal_that_never_had_a_key_has_none_to_retire(theatre: Theatre) -> None:
    refusal = InvalidConfiguration("not the key store", next_action="give the right one")
    script = Script(refused={("open_account", ""): [refusal]})
    view = await theatre.run(script)
    assert view.status is DealStatus.DENIED
    assert not script.retired


async def test_a_deal_that_is_unwound_has_its_key_until_everything_is_swept(
    theatre: Theatre,
) -> None:
    refused = [SigningRefused("no", next_action="none", field="x") for _ in range(20)]
    script = Script(refused={("sign", f"borrow/1/{n}"): refused for n in range(1, 4)})
    view = await theatre.run(script)
    assert view.status is DealStatus.UNWOUND
    assert [order.why for order in script.retired] == ["the deal is UNWOUND"]
    assert script.calls[-1].startswith(("deliver sweep", "finalize", "record"))


async def test_a_deal_ends_even_if_its_key_cannot_be_retired(theatre: Theatre) -> None:
    problem = InvalidConfiguration("the key store is another", next_action="give the right one")
    view = await theatre.run(Script(retiring_fails=problem))
    assert view.status is DealStatus.COMPLETED
    assert "deal keys retire" in view.doing


async def test_a_person_retires_the_key_of_a_deal_that_ended_with_an_empty_account(
    theatre: Theatre,
) -> None:
    script = Script()
    view = await theatre.run(script)
    script.retired.clear()
    retired = await keys(theatre, view).retire(view.request.deal_id, MESSAGE, command_id="c-1")
    assert retired.address == ACCOUNT
    assert [(order.who, order.why) for order in script.retired] == [("on-call", "a test")]
    history = await theatre.client.get_workflow_handle(
        retirement_id(view.request.deal_id)
    ).describe()
    assert await history.static_summary() == "on-call: a test"
    await keys(theatre).reinstate(view.request.deal_id, MESSAGE, command_id="c-1")
    assert not script.retired


async def test_a_key_is_not_retired_while_its_account_holds_anything(theatre: Theatre) -> None:
    script = Script()
    view = await theatre.run(script)
    script.retired.clear()
    script.position = script.position.model_copy(update={"wei": 10**18})
    with pytest.raises(NotAllowed, match="not empty"):
        await keys(theatre, view).retire(view.request.deal_id, MESSAGE, command_id="c-1")
    assert not script.retired


async def test_a_key_is_not_retired_while_its_deal_goes_on(theatre: Theatre) -> None:
    script = Script()
    view = await theatre.run(script)
    goes_on = view.model_copy(update={"status": DealStatus.PAUSED})
    with pytest.raises(NotAllowed, match="has not ended"):
        await keys(theatre, goes_on).retire(view.request.deal_id, MESSAGE, command_id="c-1")
    with pytest.raises(NotFound):
        await keys(theatre).retire(view.request.deal_id, MESSAGE, command_id="c-1")
    assert len(script.retired) == 1


async def test_a_rotation_is_asked_for_once_from_the_generation_that_there_was(
    theatre: Theatre,
) -> None:
    rotated.clear()
    done = await keys(theatre).rotate((Rotation.SEED, Rotation.WRAPPING), MESSAGE, command_id="c-1")
    assert [each.rotation for each in done] == [Rotation.SEED, Rotation.WRAPPING]
    assert [order.after for order in rotated] == [1, 1]
    assert [order.request_id for order in rotated] == ["c-1/seed", "c-1/wrapping"]
    assert {(order.who, order.why) for order in rotated} == {("on-call", "a test")}


async def test_what_a_key_store_rotates_by_itself_is_an_error_for_people_only(
    theatre: Theatre,
) -> None:
    rotated.clear()
    hsm = CommandMessage(who="on-call", why="an HSM")
    with pytest.raises(NotAllowed, match="its own affair"):
        await keys(theatre).rotate((Rotation.WRAPPING,), hsm, command_id="c-2")
    request = RotateRequest(
        rotations=(Rotation.SEED, Rotation.WRAPPING), who="schedule", why="an HSM", lenient=True
    )
    done = await theatre.client.execute_workflow(
        RotateKeysWorkflow.run, request, id="rotate-lenient", task_queue="deals"
    )
    assert [each.note for each in done] == [None, "its own affair"]


async def test_keys_are_listed_and_the_journal_is_verified(theatre: Theatre) -> None:
    assert (await keys(theatre).page(ListKeys())).provider == "local"
    found = await keys(theatre).verify(VerifyJournal(head="b" * 64))
    assert (found.rows, found.head_found, found.intact) == (3, False, False)


async def test_the_rotation_is_scheduled_once_and_does_rotate(theatre: Theatre) -> None:
    assert [each.created for each in await apply_schedules(theatre.client)] == [True, True]
    handle = theatre.client.get_schedule_handle(ROTATION_SCHEDULE)
    await handle.pause(note="not now")
    assert [each.created for each in await apply_schedules(theatre.client)] == [False, False]
    found = await handle.describe()
    assert found.schedule.state.paused
    assert [each.every for each in found.schedule.spec.intervals] == [ROTATION_PERIOD]
    assert ROTATION_PERIOD.days == 90
    rotated.clear()
    await handle.unpause()
    await handle.trigger()
    await eventually(lambda: len(rotated) == 2, "the schedule has rotated both")
    assert [order.rotation for order in rotated] == [Rotation.SEED, Rotation.WRAPPING]
    await handle.delete()


def test_the_schedule_is_for_both() -> None:
    (request,) = rotation().action.args  # type: ignore[union-attr]
    assert request.rotations == (Rotation.SEED, Rotation.WRAPPING)
    assert request.lenient
