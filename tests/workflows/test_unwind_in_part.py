"""A part of a deal is unwound, and it waits for a person."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import pytest

from domain.deals import Command, DealStatus
from domain.errors import LimitExceeded, NotAllowed
from domain.exits import part_of
from domain.identifiers import DealId
from domain.views import DealView
from tests.workflows.conftest import Theatre
from tests.workflows.fakes import Script
from tests.workflows.test_lifecycle import error, frozen_script, in_status, keys, stuck_script
from workflows.deal.messages import UnwindMessage


async def unwind(theatre: Theatre, deal_id: DealId, part_bps: int) -> DealView:
    """Have that part unwound."""
    message = UnwindMessage(who="mia", why="less risk", part_bps=part_bps)
    return await theatre.deals.command(deal_id, Command.UNWIND, message, uuid4().hex)


async def paused(theatre: Theatre, deal_id: DealId) -> DealView:
    return await theatre.until(deal_id, lambda view: view.status is DealStatus.PAUSED)


async def test_a_part_of_a_frozen_deal_is_sold_and_repaid_and_the_rest_completes(
    theatre: Theatre,
) -> None:
    script = frozen_script()
    deal_id = await in_status(theatre, script, DealStatus.FROZEN)
    held, owed = script.position.discount, script.position.debt
    await unwind(theatre, deal_id, 2_500)
    waiting = await paused(theatre, deal_id)
    assert waiting.doing == "paused by mia: 25 % was unwound: less risk"
    sold = part_of(held, 2_500)
    assert script.position.discount == held - sold
    assert script.position.debt == owed - min(part_of(owed, 2_500), sold)
    assert script.position.collateral == 9 * 10**18

    script.frozen = False
    await theatre.command(deal_id, Command.RESUME)
    ended = await theatre.end(deal_id)
    assert ended.status is DealStatus.COMPLETED
    way_out = ["unwind/1/1", "settle/1/1", "redeem/2/1", "settle/2/1", "sweep/1/1"]
    assert keys(ended)[-5:] == way_out
    assert [o.part_bps for o in script.ordered][-5:] == [2_500, 2_500, None, None, None]


async def test_part_after_part_and_then_the_whole(theatre: Theatre) -> None:
    script = frozen_script()
    deal_id = await in_status(theatre, script, DealStatus.FROZEN)
    for _ in range(2):
        await unwind(theatre, deal_id, 5_000)
        await theatre.until(deal_id, lambda view: "50 % was unwound" in view.doing)
        script.calls.clear()
    await theatre.command(deal_id, Command.UNWIND)
    ended = await theatre.end(deal_id)
    assert ended.status is DealStatus.UNWOUND
    assert (script.position.debt, script.position.discount, script.position.wei) == (0, 0, 0)


async def test_a_part_that_cannot_be_sold_leaves_the_deal_paused_with_the_reason(
    theatre: Theatre,
) -> None:
    script = frozen_script()
    script.refused["prepare", "unwind/1/1"] = [error(LimitExceeded)]
    deal_id = await in_status(theatre, script, DealStatus.FROZEN)
    await unwind(theatre, deal_id, 100)
    waiting = await paused(theatre, deal_id)
    assert waiting.problem is not None
    assert waiting.problem.code == "limit_exceeded"
    assert "1 % could not be unwound" in waiting.doing
    await theatre.command(deal_id, Command.UNWIND)
    assert (await theatre.end(deal_id)).status is DealStatus.UNWOUND


async def test_a_stuck_deal_can_be_unwound_in_part(theatre: Theatre) -> None:
    deal_id = await in_status(theatre, stuck_script(), DealStatus.STUCK)
    await unwind(theatre, deal_id, 5_000)
    await paused(theatre, deal_id)
    await theatre.command(deal_id, Command.RESUME)
    ended = await theatre.end(deal_id)
    assert ended.status is DealStatus.COMPLETED
    assert ended.problem is None


async def test_nothing_can_be_parted_before_anything_is_funded(theatre: Theatre) -> None:
    held = asyncio.Event()
    script = Script(held={"fund/1/1": held})
    deal_id = (await theatre.start(script)).request.deal_id
    with pytest.raises(NotAllowed) as refused:
        await unwind(theatre, deal_id, 5_000)
    assert refused.value.problem.field == "part_bps"
    held.set()
    assert (await theatre.end(deal_id)).status is DealStatus.COMPLETED
