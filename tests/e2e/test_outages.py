"""Servers die for some seconds while deals are under way: nothing is lost, nothing is doubled."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Final

import pytest

from domain.deals import Step
from domain.identifiers import DealId
from starters.local.state import load_state
from tests.e2e.test_commands import walk_to
from tests.e2e.test_deals import Treasury
from tests.e2e.test_kills import check_all, kill, start
from tests.support.desk import Desk, eventually

AWAY_SECONDS: Final = 3.0
ANVIL: Final = "chain-138"


async def deals_under_way(desk: Desk, count: int = 3) -> list[DealId]:
    """Deals at a block a second, one step apart, none of them near its end."""
    desk.node().ask("evm_setIntervalMining", 1)
    deals: list[DealId] = []
    for number in range(1, count + 1):
        deals.append((await desk.start()).request.deal_id)
        await desk.until(deals[0], lambda view, steps=number: len(view.steps) >= steps)
    return deals


@pytest.mark.parametrize("server", ["temporal", "postgres", "redis"])
async def test_a_server_that_dies_holds_deals_up_and_no_more(slow_desk: Desk, server: str) -> None:
    before = Treasury.of(slow_desk.node(), slow_desk)
    deals = await deals_under_way(slow_desk)
    await kill(slow_desk.stack, [server])
    await asyncio.sleep(AWAY_SECONDS)  # the outage itself
    await start(slow_desk.stack, [server])
    await check_all(slow_desk, deals, before)


async def test_blocks_that_a_killed_node_forgets_are_made_up_with_the_same_transactions(
    slow_desk: Desk,
) -> None:
    """The stack promises to lose no more than the last seconds of a chain whose node is killed."""
    node, stack = slow_desk.node(), slow_desk.stack
    before = Treasury.of(node, slow_desk)
    deals = await deals_under_way(slow_desk)
    await kill(stack, ["keeper"])  # nothing is kept from here on
    grown = node.head() + 2
    await eventually(lambda: node.head() >= grown, "two more blocks")
    await kill(stack, [ANVIL])
    await start(stack, [ANVIL, "keeper"])
    assert node.head() < grown
    await check_all(slow_desk, deals, before, exact=False)
    # Something had been mined before, in a block that is gone.
    intents = [intent for deal_id in deals for intent in slow_desk.books.intents(deal_id)]
    assert [i for i in intents if node.block_of(i.mined_hash) != i.block_hash]


async def test_a_lost_reply_never_sends_twice(slow_desk: Desk) -> None:
    """The node takes the transactions, and the worker dies before it hears of it."""
    node, stack = slow_desk.node(), slow_desk.stack
    before = Treasury.of(node, slow_desk)
    anvil = load_state(stack.folder).processes[ANVIL].pid
    with node.held():
        deal_id = await walk_to(slow_desk, Step.WRAP)
        await kill(stack, ["signer"])
        node.mine()
        await slow_desk.prepared(deal_id, Step.COLLATERALIZE)
        os.kill(anvil, signal.SIGSTOP)
        try:
            await start(stack, ["signer"])

            def saved() -> bool:
                batch = slow_desk.books.of_step(deal_id, Step.COLLATERALIZE)
                return {intent.state for intent in batch} == {"BROADCAST"}

            await eventually(saved, "the signed bytes are saved")
            await kill(stack, ["chain"])
        finally:
            os.kill(anvil, signal.SIGCONT)
        await start(stack, ["chain"])
    await check_all(slow_desk, [deal_id], before)
