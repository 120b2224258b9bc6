"""A deal that cannot get out: it is STUCK, and goes on when a person says how, on real chains."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from domain.deals import Command, DealStatus
from domain.views import DealView
from tests.e2e.test_freeze import frozen_deal
from tests.support.desk import Desk
from tests.support.treasury import Treasury, check_home


@asynccontextmanager
async def stuck_deal(desk: Desk) -> AsyncIterator[DealView]:
    """A deal whose tokens can neither be redeemed nor sold within its policy, until this ends."""
    async with frozen_deal(desk) as deal_id:
        with desk.node().cheaper_discount():
            await desk.command(deal_id, Command.CANCEL)
            yield await desk.status(deal_id, DealStatus.STUCK)


async def test_a_stuck_deal_is_tried_again_until_it_can_get_out(desk: Desk) -> None:
    node, before = desk.node(), Treasury.of(desk.node(), desk)
    async with stuck_deal(desk) as stuck:
        deal_id = stuck.request.deal_id
        assert stuck.account is not None
        assert node.token("usdtz", stuck.account) > 0
        assert "`deal retry` tries to unwind again" in stuck.doing
        await desk.command(deal_id, Command.RETRY)
        again = await desk.until(
            deal_id,
            lambda view: view.status is DealStatus.STUCK and view.version > stuck.version,
        )
        assert again.problem is not None
        assert node.token("usdtz", stuck.account) > 0
    await desk.command(deal_id, Command.RETRY)
    ended = await desk.end(deal_id)
    assert ended.status is DealStatus.UNWOUND
    check_home(desk, before, ended)


async def test_a_stuck_deal_is_handed_to_a_person_with_an_account_of_what_is_left(
    desk: Desk,
) -> None:
    node = desk.node()
    async with stuck_deal(desk) as stuck:
        deal_id = stuck.request.deal_id
        assert stuck.account is not None
        held = node.holdings(stuck.account)
        adopted = await desk.command(deal_id, Command.ADOPT)
        assert adopted.status is DealStatus.UNWOUND
        ended = await desk.end(deal_id)
    assert ended.adoption is not None
    assert ended.adoption.who == desk.caller.principal.principal_id
    remains = ended.adoption.remains
    assert remains.discount == held["usdtz"]
    assert 0 <= held["variable_debt_usdt"] - remains.debt <= held["variable_debt_usdt"] // 10**6
    assert node.holdings(stuck.account)["usdtz"] == held["usdtz"]  # nothing was moved
    desk.books.check_exactly_once(ended, node)
    assert desk.books.rows(
        "SELECT status, adoption IS NOT NULL FROM deals.deals WHERE deal_id = %s", deal_id
    ) == [("UNWOUND", True)]


async def test_a_frozen_deal_that_is_to_wait_no_longer_unwinds(desk: Desk) -> None:
    before = Treasury.of(desk.node(), desk)
    async with frozen_deal(desk) as deal_id:
        await desk.command(deal_id, Command.EXPIRE)
        ended = await desk.end(deal_id)
    assert ended.status is DealStatus.UNWOUND
    check_home(desk, before, ended)
