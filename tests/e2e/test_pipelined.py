"""Deals whose steps are joined in one batch: the same effects, in three blocks."""

from __future__ import annotations

import asyncio

import pytest

from domain.deals import Command, DealStatus, Step
from domain.identifiers import DealId
from domain.views import DealView
from tests.support.desk import Desk, eventually
from tests.support.node import Node
from tests.support.treasury import Treasury, check_home

PIPELINED = "pipelined"
WHOLE = (Step.FUND, Step.RUN, Step.SWEEP)


ROOM_UP_TO_THE_PURCHASE = 1_100_000
"""Gas of the operator's three calls and of the first six of a run, of which the last reverts."""


def no_ops_of(desk: Desk, deal_id: DealId) -> list[str]:
    """The intents of a deal that no-ops are signed for."""
    query = """
        SELECT intent_id FROM transactions.attempts JOIN transactions.intents USING (intent_id)
        WHERE deal_id = %s AND no_op
    """
    return [str(row[0]) for row in desk.books.rows(query, deal_id)]


def steps_of(view: DealView) -> tuple[Step, ...]:
    return tuple(step.outcome.key.step for step in view.steps)


async def run_sent(desk: Desk) -> DealId:
    """A pipelined deal whose run waits for the next block, which is held back."""
    deal_id = (await desk.start(mode=PIPELINED)).request.deal_id
    await desk.sent(deal_id, Step.FUND)
    desk.node().mine()
    await desk.sent(deal_id, Step.RUN)
    return deal_id


def reverted(view: DealView) -> list[str]:
    """What of the run reverted, in its order."""
    run = next(step.outcome for step in view.steps if step.outcome.key.step is Step.RUN)
    return [inclusion.purpose for inclusion in run.inclusions if not inclusion.succeeded]


@pytest.mark.parametrize("chain_id", [138, 651940])
async def test_a_pipelined_deal_completes_and_its_settlement_is_what_the_treasury_gained(
    desk: Desk, chain_id: int
) -> None:
    before = Treasury.of(desk.node(chain_id), desk)
    view = await desk.run(chain_id=chain_id, mode=PIPELINED)
    assert view.status is DealStatus.COMPLETED
    assert steps_of(view) == WHOLE
    assert view.settlement is not None
    assert view.settlement.par > 0 > view.settlement.ether_wei
    check_home(desk, before, view)


async def test_it_earns_what_it_was_sized_for_and_about_what_a_stepwise_deal_does(
    desk: Desk,
) -> None:
    stepwise, pipelined = await desk.run(), await desk.run(mode=PIPELINED)
    for view in (stepwise, pipelined):
        assert view.settlement is not None
        assert view.sizing is not None
    assert pipelined.settlement is not None
    assert stepwise.settlement is not None
    assert pipelined.sizing is not None
    # A run buys what it may have to be content with, which is the slippage less: half a percent.
    assert pipelined.settlement.par == pytest.approx(stepwise.settlement.par, rel=0.02)
    expected = pipelined.sizing.expected_profit_usd8
    assert pipelined.settlement.profit_usd8 == pytest.approx(expected, rel=0.1)


async def test_three_cycles_are_one_run_too(desk: Desk) -> None:
    before = Treasury.of(desk.node(), desk)
    view = await desk.run(mode=PIPELINED, cycles=3)
    assert view.status is DealStatus.COMPLETED
    assert steps_of(view) == WHOLE
    run = view.steps[1].outcome
    assert [i.purpose for i in run.inclusions].count("Redeem at par") == 3
    check_home(desk, before, view)


async def test_ten_pipelined_deals_at_once_have_the_effect_of_ten(desk: Desk) -> None:
    before = Treasury.of(desk.node(), desk)
    views = await asyncio.gather(*(desk.run(mode=PIPELINED) for _ in range(10)))
    check_home(desk, before, *views)


async def test_it_takes_three_blocks(desk: Desk) -> None:
    node = desk.node()
    with node.held():
        deal_id = await run_sent(desk)
        node.mine()
        await desk.sent(deal_id, Step.SWEEP)
    view = await desk.end(deal_id)
    assert view.status is DealStatus.COMPLETED
    blocks = [{i.block_number for i in step.outcome.inclusions} for step in view.steps]
    assert [len(each) for each in blocks] == [1, 1, 1]
    first = min(blocks[0])
    assert blocks == [{first}, {first + 1}, {first + 2}]


async def test_a_deal_paused_before_its_run_waits_and_one_in_its_run_brings_it_to_its_end(
    desk: Desk,
) -> None:
    node = desk.node()
    with node.held():
        deal_id = (await desk.start(mode=PIPELINED)).request.deal_id
        await desk.sent(deal_id, Step.FUND)
        await desk.command(deal_id, Command.PAUSE)
        node.mine()
        assert steps_of(await desk.status(deal_id, DealStatus.PAUSED)) == WHOLE[:1]
        await desk.command(deal_id, Command.RESUME)
        await desk.sent(deal_id, Step.RUN)
        await desk.command(deal_id, Command.PAUSE)
        node.mine()
        assert steps_of(await desk.status(deal_id, DealStatus.PAUSED)) == WHOLE[:2]
        await desk.command(deal_id, Command.RESUME)
    assert (await desk.end(deal_id)).status is DealStatus.COMPLETED


async def test_cancelled_in_its_run_it_sweeps_what_the_run_has_earned(desk: Desk) -> None:
    before = Treasury.of(desk.node(), desk)
    with desk.node().held():
        deal_id = await run_sent(desk)
        await desk.command(deal_id, Command.CANCEL)
    view = await desk.end(deal_id)
    assert view.status is DealStatus.UNWOUND
    assert steps_of(view) == WHOLE
    assert view.settlement is not None
    assert view.settlement.par > 0
    check_home(desk, before, view)


async def test_cancelled_before_its_run_the_funds_go_straight_home(desk: Desk) -> None:
    before = Treasury.of(desk.node(), desk)
    with desk.node().held():
        deal_id = (await desk.start(mode=PIPELINED)).request.deal_id
        await desk.sent(deal_id, Step.FUND)
        await desk.command(deal_id, Command.CANCEL)
    view = await desk.end(deal_id)
    assert view.status is DealStatus.UNWOUND
    assert steps_of(view) == (Step.FUND, Step.SWEEP)
    check_home(desk, before, view)


class TestTheMiddleReverts:
    """The market moves between the simulation and the block."""

    async def test_a_purchase_that_reverts_leaves_a_loan_that_is_repaid(self, desk: Desk) -> None:
        node, before = desk.node(), Treasury.of(desk.node(), desk)
        with node.held():
            deal_id = await run_sent(desk)
            with node.dearer_discount():
                node.mine()
                view = await desk.until(deal_id, lambda now: len(now.steps) > 1)
        assert reverted(view) == ["Swap on Uniswap v3", "Redeem at par"]
        ended = await desk.end(deal_id)
        assert ended.status is DealStatus.UNWOUND
        assert steps_of(ended) == WHOLE
        assert ended.problem is not None
        assert ended.problem.code == "transaction_reverted"
        assert ended.problem.field == "Swap on Uniswap v3"
        assert ended.problem.actual == "STF"  # the router may take no more than the loan
        check_home(desk, before, ended)

    async def test_what_was_not_mined_with_it_becomes_no_ops_and_all_funds_come_home(
        self, desk: Desk
    ) -> None:
        node, before = desk.node(), Treasury.of(desk.node(), desk)
        with node.held():
            deal_id = await run_sent(desk)
            with node.dearer_discount():
                with node.blocks_of(ROOM_UP_TO_THE_PURCHASE):
                    node.mine()
                await eventually(lambda: no_ops_of(desk, deal_id), "no-ops are out")
            node.release()
        ended = await desk.end(deal_id)
        assert ended.status is DealStatus.UNWOUND
        assert reverted(ended) == ["Swap on Uniswap v3"]
        assert steps_of(ended)[2:] == (Step.TOP_UP, Step.SETTLE, Step.SWEEP)
        check_home(desk, before, ended)

    async def test_a_redemption_that_reverts_waits_as_a_stepwise_deal_does(
        self, desk: Desk
    ) -> None:
        node, before = desk.node(), Treasury.of(desk.node(), desk)
        try:
            frozen = await frozen_in_its_run(desk, node)
        finally:
            node.thaw()
        ended = await desk.end(frozen.request.deal_id)
        assert ended.status is DealStatus.COMPLETED
        assert steps_of(ended)[2:] == (Step.REDEEM, Step.SETTLE, Step.SWEEP)
        check_home(desk, before, ended)

    async def test_cancelled_while_it_waits_it_sells_back_and_all_funds_come_home(
        self, desk: Desk
    ) -> None:
        node, before = desk.node(), Treasury.of(desk.node(), desk)
        try:
            frozen = await frozen_in_its_run(desk, node)
            await desk.command(frozen.request.deal_id, Command.CANCEL)
            ended = await desk.end(frozen.request.deal_id)
        finally:
            node.thaw()
        assert ended.status is DealStatus.UNWOUND
        assert steps_of(ended)[2:] == (Step.UNWIND, Step.TOP_UP, Step.SETTLE, Step.SWEEP)
        check_home(desk, before, ended)


async def frozen_in_its_run(desk: Desk, node: Node) -> DealView:
    """A deal whose run could not redeem: the operator was faster."""
    with node.held():
        deal_id = await run_sent(desk)
        node.freeze_first()
    frozen = await desk.status(deal_id, DealStatus.FROZEN)
    assert frozen.account is not None
    assert reverted(frozen) == [
        "Redeem at par",
        "Repay the whole debt",
        "Withdraw all collateral",
        "Unwrap to ETH",
    ]
    held = node.holdings(frozen.account)
    assert held["usdtz"] > 0
    assert held["variable_debt_usdt"] > 0
    assert held["a_weth"] > 0
    return frozen


async def test_what_cannot_be_redeemed_is_not_bought(desk: Desk) -> None:
    node, before = desk.node(), Treasury.of(desk.node(), desk)
    try:
        with node.held():
            deal_id = (await desk.start(mode=PIPELINED)).request.deal_id
            await desk.sent(deal_id, Step.FUND)
            node.freeze()  # in the block of the funding
        ended = await desk.end(deal_id)
    finally:
        node.thaw()
    assert ended.status is DealStatus.UNWOUND
    assert steps_of(ended) == (Step.FUND, Step.SWEEP)
    assert ended.problem is not None
    assert ended.problem.code == "redemption_frozen"
    check_home(desk, before, ended)


@pytest.mark.parametrize(("max_ltv", "field"), [("0.2", "max_ltv"), ("0.3", "exposure")])
async def test_a_limit_that_no_longer_holds_is_named_and_nothing_is_wrapped(
    desk: Desk, max_ltv: str, field: str
) -> None:
    node, before = desk.node(), Treasury.of(desk.node(), desk)
    try:
        with node.held():
            view = await desk.start(mode=PIPELINED, max_ltv=max_ltv)
            await desk.sent(view.request.deal_id, Step.FUND)
            node.ether_price(2_500 * 10**8)
        ended = await desk.end(view.request.deal_id)
    finally:
        node.ether_price(3_000 * 10**8)
    assert steps_of(ended) == (Step.FUND, Step.SWEEP)
    assert ended.problem is not None
    assert (ended.problem.code, ended.problem.field) == ("limit_exceeded", field)
    check_home(desk, before, ended)
