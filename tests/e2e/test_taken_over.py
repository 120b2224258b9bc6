"""A part of a deal is unwound, and a deal whose workflow was terminated is taken over, on chain."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import pytest
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import DeleteWorkflowExecutionRequest
from temporalio.service import RPCError, RPCStatusCode

from domain.deals import Command, DealStatus, Step
from domain.errors import NotAllowed, NotFound
from domain.exits import part_of
from domain.identifiers import DealId
from tests.e2e.test_commands import walk_to
from tests.e2e.test_freeze import frozen_deal
from tests.support.desk import Desk
from tests.support.treasury import Treasury, check_home
from workflows.deal.messages import UnwindMessage
from workflows.deal.workflow import workflow_id


@pytest.mark.parametrize("step", [Step.FUND, Step.BORROW, Step.SWAP])
async def test_a_terminated_deal_is_taken_over_exactly_once_and_all_funds_come_home(
    desk: Desk, step: Step
) -> None:
    node, before = desk.node(), Treasury.of(desk.node(), desk)
    with node.held():
        deal_id = await walk_to(desk, step)
        # Its last batch is out, and nobody is there any more to see it mined.
        await desk.handle(deal_id).terminate("a test")
    twice = await asyncio.gather(*(desk.command(deal_id, Command.ADOPT) for _ in range(2)))
    assert {view.request.deal_id for view in twice} == {deal_id}
    ended = await desk.end(deal_id)

    assert ended.status is DealStatus.UNWOUND
    assert step in [each.outcome.key.step for each in ended.steps]
    check_home(desk, before, ended)
    assert desk.books.rows("SELECT status FROM deals.deals WHERE deal_id = %s", deal_id) == [
        ("UNWOUND",)
    ]
    with pytest.raises(NotAllowed):
        await desk.command(deal_id, Command.PAUSE)


async def forgotten(desk: Desk, deal_id: DealId) -> None:
    """Have Temporal forget a deal, as it does with all of them when their time is over."""
    await desk.client.workflow_service.delete_workflow_execution(
        DeleteWorkflowExecutionRequest(
            namespace=desk.client.namespace,
            workflow_execution=WorkflowExecution(workflow_id=workflow_id(deal_id)),
        )
    )
    while await known(desk, deal_id):  # noqa: ASYNC110 - nobody tells us, so we ask
        await asyncio.sleep(0.1)


async def known(desk: Desk, deal_id: DealId) -> bool:
    """Whether Temporal has the deal."""
    try:
        await desk.handle(deal_id).describe()
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return False
        raise
    return True


async def test_a_deal_that_temporal_has_forgotten_is_taken_over_from_the_records(
    desk: Desk,
) -> None:
    node, before = desk.node(), Treasury.of(desk.node(), desk)
    with node.held():
        deal_id = await walk_to(desk, Step.BORROW)
        await desk.handle(deal_id).terminate("a test")
    done = await desk.run()
    ended_well = done.request.deal_id
    for each in (deal_id, ended_well):
        await forgotten(desk, each)
    with pytest.raises(NotFound):
        await desk.command(deal_id, Command.CANCEL)
    with pytest.raises(NotAllowed, match="COMPLETED"):
        await desk.command(ended_well, Command.ADOPT)
    await desk.command(deal_id, Command.ADOPT)
    ended = await desk.end(deal_id)
    assert ended.status is DealStatus.UNWOUND
    check_home(desk, before, ended, done)


async def test_what_was_prepared_and_never_signed_is_given_up_when_it_is_taken_over(
    desk: Desk,
) -> None:
    node, before = desk.node(), Treasury.of(desk.node(), desk)
    with node.held():
        deal_id = await walk_to(desk, Step.WRAP)
        await asyncio.to_thread(desk.stack.stop, "signer")
        node.mine()
        await desk.prepared(deal_id, Step.COLLATERALIZE)
        await desk.handle(deal_id).terminate("a test")
    await asyncio.to_thread(desk.stack.start, "signer")
    await desk.command(deal_id, Command.ADOPT)
    ended = await desk.end(deal_id)
    assert ended.status is DealStatus.UNWOUND
    assert Step.COLLATERALIZE not in [each.outcome.key.step for each in ended.steps]
    check_home(desk, before, ended)


async def test_a_part_of_a_frozen_deal_is_sold_and_repaid_and_the_rest_completes(
    desk: Desk,
) -> None:
    node, before = desk.node(), Treasury.of(desk.node(), desk)
    async with frozen_deal(desk) as deal_id:
        frozen = await desk.deals.view(deal_id)
        assert frozen.account is not None
        held = node.token("usdtz", frozen.account)
        owed = node.token("variable_debt_usdt", frozen.account)
        message = UnwindMessage(who="on-call", why="less risk", part_bps=2_500)
        await desk.deals.command(deal_id, Command.UNWIND, message, uuid4().hex)
        paused = await desk.status(deal_id, DealStatus.PAUSED)
        assert "25 % was unwound" in paused.doing, paused.doing
        assert node.token("usdtz", frozen.account) == held - part_of(held, 2_500)
        left = node.token("variable_debt_usdt", frozen.account)
        assert owed * 74 // 100 < left < owed * 77 // 100
        await desk.command(deal_id, Command.RESUME)
        await desk.status(deal_id, DealStatus.FROZEN)
    ended = await desk.end(deal_id)
    assert ended.status is DealStatus.COMPLETED
    check_home(desk, before, ended)
