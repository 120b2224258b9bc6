"""All at once: commands against a deal's end, starts against starts, worker against worker."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from typing import Final

from domain.deals import Command, DealStatus
from domain.errors import NotAllowed
from domain.identifiers import DealId
from domain.views import DealView
from starters.local.stack import Stack
from tests.e2e.test_kills import check_all
from tests.support.desk import Desk
from tests.support.stacks import measured_workers
from tests.support.treasury import Treasury

SPREAD_SECONDS: Final = 1.5
"""About the length of a deal's life."""


async def commanded(desk: Desk, deal_id: DealId, command: Command, after: float) -> DealView | None:
    """Give a command after some time; None if the deal's state did not allow it."""
    await asyncio.sleep(after)  # the moment is the test
    try:
        return await desk.command(deal_id, command)
    except NotAllowed:
        return None


async def test_commands_at_any_moment_are_answered_or_refused_and_nothing_else(desk: Desk) -> None:
    node, dice = desk.node(), random.Random(651940)  # noqa: S311
    before = Treasury.of(node, desk)
    deals = [(await desk.start()).request.deal_id for _ in range(5)]
    answers = await asyncio.gather(
        *(
            commanded(desk, deal_id, dice.choice((Command.PAUSE, Command.RESUME)), at)
            for deal_id in deals
            for at in (dice.uniform(0, SPREAD_SECONDS) for _ in range(20))
        )
    )
    assert any(answers)
    assert not all(answers)
    await asyncio.gather(*(commanded(desk, deal_id, Command.RESUME, 0) for deal_id in deals))
    await check_all(desk, deals, before)


async def test_cancelled_at_any_moment_a_deal_completes_or_all_its_funds_come_home(
    desk: Desk,
) -> None:
    node, dice = desk.node(), random.Random(138)  # noqa: S311
    deals = [(await desk.start()).request.deal_id for _ in range(8)]
    await asyncio.gather(
        *(commanded(desk, d, Command.CANCEL, dice.uniform(0, SPREAD_SECONDS)) for d in deals)
    )
    for view in await desk.ends(*deals):
        assert view.status in {DealStatus.COMPLETED, DealStatus.UNWOUND}
        assert view.account is not None
        assert node.holdings(view.account) == {}
        desk.books.check_exactly_once(view, node)


async def test_the_same_request_at_any_moment_of_its_deal_gets_the_same_answer(desk: Desk) -> None:
    request, dice = desk.request(), random.Random(7)  # noqa: S311

    async def started(after: float) -> DealView:
        await asyncio.sleep(after)  # the moment is the test
        return await desk.begin(request)

    moments = [dice.uniform(0, SPREAD_SECONDS) for _ in range(40)]
    answers = await asyncio.gather(*(started(at) for at in moments))
    # How far the deal is differs; which deal it is, and what it does, never.
    told = [(answer.request, answer.sizing) for answer in answers]
    assert told == [(request, answers[0].sizing)] * len(answers)
    assert (await desk.end(request.deal_id)).status is DealStatus.COMPLETED


async def test_two_chain_workers_never_give_one_nonce_to_two_transactions(
    slow_desk: Desk,
) -> None:
    stack, node = slow_desk.stack, slow_desk.node()
    usual = measured_workers(stack.chains)
    again = replace(next(spec for spec in usual if spec.name == "chain"), name="chain-again")
    both = Stack(
        stack.folder, stack.block_time, stack.chains, worker_specs=(*usual, again), with_api=False
    )
    node.release()
    before = Treasury.of(node, slow_desk)
    await asyncio.to_thread(both.up)
    try:
        views = await asyncio.gather(*(slow_desk.start() for _ in range(10)))
        await check_all(slow_desk, [view.request.deal_id for view in views], before)
    finally:
        await asyncio.to_thread(both.stop, again.name)
