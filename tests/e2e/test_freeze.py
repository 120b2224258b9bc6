"""Redemption is frozen while a deal holds the discount token: it waits, and others go on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from domain.deals import Command, DealStatus, Step
from tests.e2e.test_commands import walk_to
from tests.support.desk import Desk
from tests.support.treasury import Treasury, check_home


@asynccontextmanager
async def frozen_deal(desk: Desk) -> AsyncIterator[str]:
    """A deal that holds the discount token and cannot redeem it, until this ends."""
    node = desk.node()
    try:
        with node.held():
            deal_id = await walk_to(desk, Step.SWAP)
            node.freeze()  # in the block of the swap
        await desk.status(deal_id, DealStatus.FROZEN)
        yield deal_id
    finally:
        node.thaw()


async def test_a_frozen_deal_completes_when_redemption_reopens(desk: Desk) -> None:
    node, before = desk.node(), Treasury.of(desk.node(), desk)
    async with frozen_deal(desk) as deal_id:
        frozen = await desk.deals.view(deal_id)
        assert frozen.account is not None
        assert node.token("usdtz", frozen.account) > 0
        assert "redemption is frozen" in frozen.doing
        assert "cancel the deal" in frozen.doing
        assert desk.books.rows("SELECT status FROM deals.deals WHERE deal_id = %s", deal_id) == [
            ("FROZEN",)
        ]
    ended = await desk.end(deal_id)
    assert ended.status is DealStatus.COMPLETED
    check_home(desk, before, ended)


async def test_a_deal_waits_for_a_reserve_that_cannot_pay_for_it(desk: Desk) -> None:
    node = desk.node()
    with node.held():
        deal_id = await walk_to(desk, Step.SWAP)
        taken = node.empty_reserve()  # in the block of the swap
    try:
        waiting = await desk.status(deal_id, DealStatus.FROZEN)
        assert "does not hold enough to pay" in waiting.doing
        assert "wait for its reserve" in waiting.doing
    finally:
        node.refill(taken)
    assert (await desk.end(deal_id)).status is DealStatus.COMPLETED


async def test_a_frozen_deal_does_not_hold_up_the_others(desk: Desk) -> None:
    async with frozen_deal(desk) as deal_id:
        elsewhere = await desk.run(chain_id=651940)
        assert elsewhere.status is DealStatus.COMPLETED
        # On the same chain nobody begins what cannot be redeemed; but nobody is kept waiting.
        denied = await desk.start()
        assert denied.status is DealStatus.DENIED
        assert denied.problem is not None
        assert denied.problem.field == "redemption_frozen"
        assert (await desk.deals.view(deal_id)).status is DealStatus.FROZEN
    assert (await desk.end(deal_id)).status is DealStatus.COMPLETED


async def test_a_frozen_deal_that_is_cancelled_sells_back_and_is_unwound(desk: Desk) -> None:
    before = Treasury.of(desk.node(), desk)
    async with frozen_deal(desk) as deal_id:
        await desk.command(deal_id, Command.CANCEL)
        ended = await desk.end(deal_id)
    assert ended.status is DealStatus.UNWOUND
    way_out = [step.outcome.key.step for step in ended.steps][5:]
    # Selling back costs the pool's fee twice, which the treasury makes up.
    assert way_out == [Step.UNWIND, Step.TOP_UP, Step.SETTLE, Step.SWEEP]
    check_home(desk, before, ended)
    assert ended.settlement is not None
    assert ended.settlement.par < 0


async def test_a_deal_that_was_only_frozen_in_between_is_told_by_its_reverted_redemption(
    desk: Desk,
) -> None:
    node = desk.node()
    try:
        with node.held():
            deal_id = await walk_to(desk, Step.SWAP)
            node.mine()
            await desk.sent(deal_id, Step.REDEEM)
            node.freeze_first()
            node.mine()
            frozen = await desk.status(deal_id, DealStatus.FROZEN)
            node.release()
    finally:
        node.thaw()
    reverted = frozen.steps[-1].outcome
    assert reverted.key.step is Step.REDEEM
    assert reverted.problem is not None
    assert reverted.problem.code == "transaction_reverted"
    assert "Frozen(0)" in str(reverted.problem.actual)
    ended = await desk.end(deal_id)
    assert ended.status is DealStatus.COMPLETED
    desk.books.check_exactly_once(ended, node)


@pytest.mark.parametrize("taken_back", [False, True])
async def test_a_frozen_deal_can_be_paused_and_the_pause_be_taken_back(
    desk: Desk, *, taken_back: bool
) -> None:
    async with frozen_deal(desk) as deal_id:
        await desk.command(deal_id, Command.PAUSE)
        if taken_back:
            await desk.command(deal_id, Command.RESUME)
    if not taken_back:
        await desk.status(deal_id, DealStatus.PAUSED)
        await desk.command(deal_id, Command.RESUME)
    ended = await desk.end(deal_id)
    assert ended.status is DealStatus.COMPLETED
    # requested, admitted, frozen, reopened, completed; paused and resumed only if it was meant.
    assert ended.version == len(ended.steps) + (5 if taken_back else 7)


async def test_one_top_up_is_enough_though_the_debt_grows_with_every_block(
    slow_desk: Desk,
) -> None:
    view = await slow_desk.start()
    deal_id = view.request.deal_id
    await slow_desk.until(deal_id, lambda now: now.doing == "borrow 1")
    await slow_desk.command(deal_id, Command.CANCEL)
    ended = await slow_desk.end(deal_id)
    assert ended.status is DealStatus.UNWOUND
    way_out = [step.outcome.key.step for step in ended.steps][4:]
    assert way_out == [Step.TOP_UP, Step.SETTLE, Step.SWEEP]
    assert ended.account is not None
    assert slow_desk.node().holdings(ended.account) == {}
