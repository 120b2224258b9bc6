"""SIGKILL of any worker in the middle of any step: the same deals complete, each transaction once.

The deals walk in a row, one step apart, on a chain that mines nothing by itself: so one kill finds
a deal in the middle of every step.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

import pytest

from domain.deals import DealStatus, Step
from domain.identifiers import DealId
from domain.views import DealView
from starters.local.processes import marked
from starters.local.stack import Stack
from tests.e2e.test_deals import ONE_CYCLE
from tests.support.desk import Desk
from tests.support.stacks import left_behind
from tests.support.treasury import Treasury, check_home, total

WORKERS: Final = ("deals", "chain", "signer")
GAS_OF_FUNDING_WEI: Final = 21_000 * 10**10
IN_A_ROW: Final = tuple(reversed(ONE_CYCLE))
"""The steps that the deals are in: the first is about to sweep, the last about to be funded."""


@asynccontextmanager
async def killed(stack: Stack, *names: str) -> AsyncIterator[None]:
    """SIGKILL these components, all at once, and start them again when this ends."""
    await asyncio.gather(*(asyncio.to_thread(stack.kill, name) for name in names))
    try:
        yield
    finally:
        for name in names:
            await asyncio.to_thread(stack.start, name)


@asynccontextmanager
async def one_deal_in_every_step(
    desk: Desk, steps: Sequence[Step] = ONE_CYCLE
) -> AsyncIterator[list[DealId]]:
    """Deals whose transactions wait in the node, one in each step; mined when this ends.

    The first deal is in the last of the steps, the last one is being funded.
    """
    node, deals = desk.node(), list[DealId]()
    with node.held():
        for number in range(len(steps)):
            if number:
                node.mine()
            deals.append((await desk.start()).request.deal_id)
            await all_sent(desk, deals, steps[number])
        yield deals


async def all_sent(desk: Desk, deals: Sequence[DealId], step: Step) -> None:
    """Wait until the first deal's step waits in the node, and each next deal's step before it."""
    reached = ONE_CYCLE.index(step)
    for number, deal_id in enumerate(deals):
        await desk.sent(deal_id, ONE_CYCLE[reached - number])


async def check_all(
    desk: Desk, deals: Sequence[DealId], before: Treasury, *, exact: bool = True
) -> None:
    """Each deal completed, each transaction happened once, nothing is missing.

    Not `exact`, the settlements may differ from what the treasury gained by the price of some gas.
    """
    node, views = desk.node(), await desk.ends(*deals)
    assert {view.status for view in views} == {DealStatus.COMPLETED}
    for view in views:
        assert tuple(step.outcome.key.step for step in view.steps) == ONE_CYCLE
        assert [step.outcome.problem for step in view.steps] == [None] * len(ONE_CYCLE)
        assert view.account is not None
        assert node.holdings(view.account) == {}
        desk.books.check_exactly_once(view, node)
    gained, settled = Treasury.of(node, desk) - before, total(views)
    assert settled.par == gained.par
    assert abs(settled.wei - gained.wei) <= (0 if exact else len(deals) * GAS_OF_FUNDING_WEI)


@pytest.mark.parametrize(
    ("victims", "mined_meanwhile"),
    [(("deals",), False), (("chain",), True), (("signer",), False), (WORKERS, False)],
    ids=["deals", "chain", "signer", "all"],
)
async def test_killed_while_transactions_are_out_every_step_is_brought_to_its_end(
    slow_desk: Desk, victims: tuple[str, ...], *, mined_meanwhile: bool
) -> None:
    node, before = slow_desk.node(), Treasury.of(slow_desk.node(), slow_desk)
    async with one_deal_in_every_step(slow_desk) as deals, killed(slow_desk.stack, *victims):
        if mined_meanwhile:
            node.mine()
        for deal_id, step in zip(deals, IN_A_ROW, strict=True):
            batch = slow_desk.books.of_step(deal_id, step)
            assert {intent.state for intent in batch} == {"BROADCAST"}
            receipts = [node.receipt(str(i.attempts and i.attempts[-1])) for i in batch]
            assert all(receipts) if mined_meanwhile else not any(receipts)
    await check_all(slow_desk, deals, before)


async def test_killed_before_anything_is_signed_every_step_is_signed_once(
    slow_desk: Desk,
) -> None:
    """The next step of each deal is numbered and cannot be signed when all workers are killed."""
    before, stack = Treasury.of(slow_desk.node(), slow_desk), slow_desk.stack
    async with one_deal_in_every_step(slow_desk) as deals, killed(stack, "signer"):
        slow_desk.node().mine()
        for deal_id, step in zip(deals[1:], IN_A_ROW, strict=False):
            await slow_desk.prepared(deal_id, step)
        async with killed(stack, "deals", "chain"):
            pass
    await check_all(slow_desk, deals, before)


@pytest.mark.parametrize("mined_meanwhile", [False, True], ids=["pending", "mined"])
async def test_killed_while_a_run_is_out_it_is_brought_to_its_end(
    slow_desk: Desk, *, mined_meanwhile: bool
) -> None:
    node, before = slow_desk.node(), Treasury.of(slow_desk.node(), slow_desk)
    with node.held():
        deal_id = (await slow_desk.start(mode="pipelined")).request.deal_id
        await slow_desk.sent(deal_id, Step.FUND)
        node.mine()
        await slow_desk.sent(deal_id, Step.RUN)
        async with killed(slow_desk.stack, *WORKERS):
            if mined_meanwhile:
                node.mine()
    await check_pipelined(slow_desk, deal_id, before)


async def test_killed_before_a_run_is_signed_it_is_signed_once(slow_desk: Desk) -> None:
    node, before = slow_desk.node(), Treasury.of(slow_desk.node(), slow_desk)
    with node.held():
        deal_id = (await slow_desk.start(mode="pipelined")).request.deal_id
        await slow_desk.sent(deal_id, Step.FUND)
        async with killed(slow_desk.stack, "signer"):
            node.mine()
            await slow_desk.prepared(deal_id, Step.RUN)
            async with killed(slow_desk.stack, "deals", "chain"):
                pass
        await slow_desk.sent(deal_id, Step.RUN)
    await check_pipelined(slow_desk, deal_id, before)


async def check_pipelined(desk: Desk, deal_id: DealId, before: Treasury) -> None:
    """The deal completed by one run, each transaction happened once, nothing is missing."""
    view = await desk.end(deal_id)
    assert view.status is DealStatus.COMPLETED
    assert [str(step.outcome.key.step) for step in view.steps] == ["fund", "run", "sweep"]
    check_home(desk, before, view)


async def test_killed_at_random_again_and_again_deals_complete(slow_desk: Desk) -> None:
    """At a block a second, four deals, one worker after the other killed at any moment."""
    before, dice = Treasury.of(slow_desk.node(), slow_desk), random.Random(138)  # noqa: S311
    slow_desk.node().ask("evm_setIntervalMining", 1)
    started = await asyncio.gather(*(slow_desk.start() for _ in range(4)))
    deals = [view.request.deal_id for view in started]
    for victim in dice.sample(WORKERS * 2, 4):
        await asyncio.sleep(dice.uniform(0, 1))  # the moment is the test
        async with killed(slow_desk.stack, victim):
            pass
    await check_all(slow_desk, deals, before)


async def test_a_stack_that_goes_down_with_deals_under_way_lets_go_of_everything(
    slow_desk: Desk,
) -> None:
    """And brings them to their end when it comes up again."""
    stack, node = slow_desk.stack, slow_desk.node()
    before = Treasury.of(node, slow_desk)
    node.ask("evm_setIntervalMining", 1)
    views: list[DealView] = await asyncio.gather(*(slow_desk.start() for _ in range(3)))
    deals = [view.request.deal_id for view in views]
    await slow_desk.until(deals[0], lambda view: len(view.steps) > 1)
    await asyncio.to_thread(stack.down)
    assert left_behind(stack) == []
    assert marked(stack.folder) == []
    await asyncio.to_thread(stack.up)
    await check_all(slow_desk, deals, before)
