"""Pause, resume and cancel, at every boundary between two steps."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import pytest

from domain.deals import Command, DealStatus, Step
from domain.errors import NotAllowed
from tests.support.desk import Desk
from tests.support.treasury import Treasury, check_home, total

UP_TO_SETTLE = (
    Step.FUND,
    Step.WRAP,
    Step.COLLATERALIZE,
    Step.BORROW,
    Step.SWAP,
    Step.REDEEM,
    Step.SETTLE,
)


async def walk_to(desk: Desk, step: Step) -> str:
    """Start a deal on a chain that mines nothing by itself; return once this step is sent."""
    view = await desk.start()
    for each in UP_TO_SETTLE:
        await desk.sent(view.request.deal_id, each)
        if each is step:
            break
        desk.node().mine()
    return view.request.deal_id


async def test_nothing_is_sent_while_a_deal_is_paused(desk: Desk) -> None:
    node = desk.node()
    with node.held():
        deal_id = await walk_to(desk, Step.WRAP)
        answer = await desk.command(deal_id, Command.PAUSE)
        assert answer.status is DealStatus.EXECUTING  # the wrap is brought to its end first
        assert answer.doing.startswith("pausing: a test")
        node.mine()
    paused = await desk.status(deal_id, DealStatus.PAUSED)
    assert [step.outcome.key.step for step in paused.steps] == [Step.FUND, Step.WRAP]

    intents = desk.books.intents(deal_id)
    again = await desk.deals.view(deal_id)
    assert again.status is DealStatus.PAUSED
    assert desk.books.intents(deal_id) == intents
    assert paused.account is not None
    assert node.nonce(paused.account, "pending") == 1

    await desk.command(deal_id, Command.RESUME)
    ended = await desk.end(deal_id)
    assert ended.status is DealStatus.COMPLETED
    desk.books.check_exactly_once(ended, node)


async def test_a_pause_that_has_not_taken_effect_can_be_taken_back(desk: Desk) -> None:
    node = desk.node()
    with node.held():
        deal_id = await walk_to(desk, Step.WRAP)
        await desk.command(deal_id, Command.PAUSE)
        await desk.command(deal_id, Command.RESUME)
    ended = await desk.end(deal_id)
    assert ended.status is DealStatus.COMPLETED
    assert ended.version == len(ended.steps) + 3  # requested, admitted, completed; never paused


async def test_cancelled_before_it_is_funded_a_deal_leaves_no_trace_on_the_chain(
    desk: Desk,
) -> None:
    node, before = desk.node(), Treasury.of(desk.node(), desk)
    # Both commands are there before the first step's gate: the account is opened by the signer.
    await asyncio.to_thread(desk.stack.stop, "signer")
    request = desk.request()
    starting = asyncio.create_task(desk.begin(request))
    await desk.until(request.deal_id, lambda view: view.status is DealStatus.REQUESTED)
    await desk.command(request.deal_id, Command.CANCEL)
    await asyncio.to_thread(desk.stack.start, "signer")
    await starting

    ended = await desk.end(request.deal_id)
    assert ended.status is DealStatus.UNWOUND
    assert ended.steps == ()
    assert ended.problem is None
    assert desk.books.intents(request.deal_id) == []
    assert Treasury.of(node, desk) == before


@pytest.mark.parametrize("step", UP_TO_SETTLE)
async def test_cancelled_after_any_step_all_funds_come_home(desk: Desk, step: Step) -> None:
    node, before = desk.node(), Treasury.of(desk.node(), desk)
    with node.held():
        deal_id = await walk_to(desk, step)
        await desk.command(deal_id, Command.CANCEL)
        node.mine()
    ended = await desk.end(deal_id)

    assert ended.status is DealStatus.UNWOUND
    done = UP_TO_SETTLE[: UP_TO_SETTLE.index(step) + 1]
    assert tuple(each.outcome.key.step for each in ended.steps)[: len(done)] == done
    assert ended.account is not None
    assert node.holdings(ended.account) == {}
    assert total([ended]) == Treasury.of(node, desk) - before
    assert ended.settlement is not None
    # Nothing is lost but gas, less than two hundredths of an ether, and some seconds of interest on
    # the loan, less than a cent.
    assert -2 * 10**16 < ended.settlement.ether_wei < 0
    assert ended.settlement.par > -(10**4)
    desk.books.check_exactly_once(ended, node)


async def test_cancelled_during_the_sweep_a_deal_completes_all_the_same(desk: Desk) -> None:
    node = desk.node()
    with node.held():
        deal_id = await walk_to(desk, Step.SETTLE)
        node.mine()
        await desk.sent(deal_id, Step.SWEEP)
        await desk.command(deal_id, Command.CANCEL)
    ended = await desk.end(deal_id)
    assert ended.status is DealStatus.COMPLETED
    assert ended.account is not None
    assert node.holdings(ended.account) == {}


async def test_cancelling_the_workflow_unwinds_the_deal_and_does_not_make_it_vanish(
    desk: Desk,
) -> None:
    node, before = desk.node(), Treasury.of(desk.node(), desk)
    with node.held():
        deal_id = await walk_to(desk, Step.BORROW)
        await desk.handle(deal_id).cancel()
        await desk.handle(deal_id).cancel()
        node.mine()
    ended = await desk.end(deal_id)
    assert ended.status is DealStatus.UNWOUND
    check_home(desk, before, ended)


async def test_a_paused_deal_can_be_cancelled(desk: Desk) -> None:
    node = desk.node()
    with node.held():
        deal_id = await walk_to(desk, Step.COLLATERALIZE)
        await desk.command(deal_id, Command.PAUSE)
        node.mine()
        await desk.status(deal_id, DealStatus.PAUSED)
    await desk.command(deal_id, Command.CANCEL)
    ended = await desk.end(deal_id)
    assert ended.status is DealStatus.UNWOUND
    assert ended.account is not None
    assert node.holdings(ended.account) == {}


async def test_the_same_command_id_is_one_command(desk: Desk) -> None:
    node, command_id = desk.node(), uuid4().hex
    with node.held():
        deal_id = await walk_to(desk, Step.FUND)
        first = await desk.command(deal_id, Command.PAUSE, command_id)
        node.mine()
        await desk.status(deal_id, DealStatus.PAUSED)
        # A pause of its own would be refused now; this one is answered as it was before.
        assert await desk.command(deal_id, Command.PAUSE, command_id) == first
        with pytest.raises(NotAllowed):
            await desk.command(deal_id, Command.PAUSE)
    await desk.command(deal_id, Command.RESUME)
    ended = await desk.end(deal_id)
    assert ended.status is DealStatus.COMPLETED
    assert await desk.command(deal_id, Command.PAUSE, command_id) == first


async def test_a_command_that_the_state_does_not_allow_is_refused_with_what_is_possible(
    desk: Desk,
) -> None:
    node = desk.node()
    with node.held():
        deal_id = await walk_to(desk, Step.FUND)
        with pytest.raises(NotAllowed) as running:
            await desk.command(deal_id, Command.RESUME)
        events = (await desk.handle(deal_id).fetch_history()).events
    assert running.value.problem.actual == "EXECUTING"
    assert running.value.problem.limit == "PAUSED"
    assert running.value.problem.next_action == "possible now: pause, cancel, unwind"
    assert running.value.exit_code == 4
    # Refused by the validator: it is not even in the history.
    accepted = [event.workflow_execution_update_accepted_event_attributes for event in events]
    assert not [a for a in accepted if a.accepted_request.input.name == "resume"]

    await desk.end(deal_id)
    with pytest.raises(NotAllowed) as over:
        await desk.command(deal_id, Command.PAUSE)
    assert over.value.problem.actual == "COMPLETED"
    assert over.value.problem.next_action == "possible now: nothing, the deal has ended"
