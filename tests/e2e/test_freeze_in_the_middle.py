"""Redemption is frozen in the middle of twenty deals: none waits for another, nothing is lost."""

from __future__ import annotations

import asyncio
from typing import Final

import pytest

from domain.deals import Command, DealStatus, Step
from domain.identifiers import DealId
from domain.views import DealView
from tests.support.desk import Desk
from tests.support.treasury import Treasury, check_home

EACH: Final = 10
"""How many have redeemed when redemption is frozen, and how many hold discount tokens."""

TO_SWAP: Final = (Step.FUND, Step.WRAP, Step.COLLATERALIZE, Step.BORROW, Step.SWAP)
TO_REDEEM: Final = (*TO_SWAP, Step.REDEEM)


async def walk_all_to(desk: Desk, steps: tuple[Step, ...]) -> list[DealId]:
    """Start ten deals and bring them there together; return once the last step is sent."""
    views = await asyncio.gather(*(desk.start() for _ in range(EACH)))
    deals = [view.request.deal_id for view in views]
    for step in steps:
        await asyncio.gather(*(desk.sent(deal_id, step) for deal_id in deals))
        if step is not steps[-1]:
            desk.node().mine()
    return deals


async def command_all(desk: Desk, deals: list[DealId], command: Command) -> None:
    """Give each of them the command."""
    await asyncio.gather(*(desk.command(deal_id, command) for deal_id in deals))


async def all_in(desk: Desk, deals: list[DealId], status: DealStatus) -> list[DealView]:
    """Each of them once it is there."""
    return list(await asyncio.gather(*(desk.status(deal_id, status) for deal_id in deals)))


def check_frozen(desk: Desk, frozen: list[DealView]) -> None:
    """Each says since when it is frozen and what it holds, and holds it."""
    for view in frozen:
        assert view.account is not None
        assert view.frozen is not None
        assert view.frozen.held == desk.node().token("usdtz", view.account) > 0
        assert view.frozen.at_par_usd8 > 0


@pytest.mark.timeout(600)
async def test_of_twenty_deals_ten_complete_while_ten_are_frozen_and_end_by_thaw_or_unwind(
    desk: Desk,
) -> None:
    node, before = desk.node(), Treasury.of(desk.node(), desk)
    try:
        with node.held():
            ahead = await walk_all_to(desk, TO_REDEEM)
            await command_all(desk, ahead, Command.PAUSE)
            node.mine()
            await all_in(desk, ahead, DealStatus.PAUSED)
            holding = await walk_all_to(desk, TO_SWAP)
            node.freeze()  # in the block of the ten swaps
        check_frozen(desk, await all_in(desk, holding, DealStatus.FROZEN))

        await command_all(desk, ahead, Command.RESUME)
        completed = await desk.ends(*ahead)
        assert {view.status for view in completed} == {DealStatus.COMPLETED}

        thawing, unwinding = holding[: EACH // 2], holding[EACH // 2 :]
        await command_all(desk, unwinding, Command.UNWIND)
        unwound = await desk.ends(*unwinding)
        assert {view.status for view in unwound} == {DealStatus.UNWOUND}
        check_frozen(desk, await all_in(desk, thawing, DealStatus.FROZEN))
    finally:
        node.thaw()
    thawed = await desk.ends(*thawing)
    assert {view.status for view in thawed} == {DealStatus.COMPLETED}

    # To the wei: the treasury has what the twenty say they brought, and no account has anything.
    everyone = [*completed, *unwound, *thawed]
    assert len(everyone) == 2 * EACH
    check_home(desk, before, *everyone)
