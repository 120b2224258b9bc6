"""Servers die for some seconds while deals are under way: nothing is lost, nothing is doubled."""

from __future__ import annotations

import asyncio
import json
from typing import Final

import pytest

from domain.identifiers import DealId
from tests.e2e.test_deals import ONE_CYCLE
from tests.e2e.test_kills import (
    all_sent,
    check_all,
    killed,
    one_deal_in_every_step,
)
from tests.support.desk import Desk, eventually
from tests.support.treasury import Treasury

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


@pytest.mark.parametrize("servers", [("temporal",), ("postgres", "redis")], ids="+".join)
async def test_a_server_that_dies_holds_deals_up_and_no_more(
    slow_desk: Desk, servers: tuple[str, ...]
) -> None:
    before = Treasury.of(slow_desk.node(), slow_desk)
    deals = await deals_under_way(slow_desk)
    async with killed(slow_desk.stack, *servers):
        await asyncio.sleep(AWAY_SECONDS)  # the outage itself
    await check_all(slow_desk, deals, before)


async def test_blocks_that_a_killed_node_forgets_are_made_up_with_the_same_transactions(
    slow_desk: Desk,
) -> None:
    """The stack promises to lose no more than the last seconds of a chain whose node is killed."""
    node, stack = slow_desk.node(), slow_desk.stack
    before = Treasury.of(node, slow_desk)
    kept = stack.folder / ANVIL / "kept.json"
    async with one_deal_in_every_step(slow_desk, ONE_CYCLE[:3]) as deals:

        def all_is_kept() -> bool:
            return int(json.loads(kept.read_bytes())["block"]["number"], 16) == node.head()

        await eventually(all_is_kept, "the keeper has saved the newest block")
        async with killed(stack, "keeper"):
            # Otherwise the same transactions may make the very same blocks again.
            node.ask("evm_increaseTime", 7)
            for step in ONE_CYCLE[3:5]:
                node.mine()
                await all_sent(slow_desk, deals, step)
            blocks = blocks_of(slow_desk, deals)
            async with killed(stack, ANVIL):
                pass
    await slow_desk.ends(*deals)
    await eventually(lambda: all_final(slow_desk, deals), "what was forgotten is mined again")
    await check_all(slow_desk, deals, before, exact=False)
    # What had been mined in the blocks that are gone is in others now, for the books as well.
    after = blocks_of(slow_desk, deals)
    moved = {key[1] for key, block in blocks.items() if after[key] != block}
    assert "Fund the deal's account from the treasury" in moved
    assert "Borrow at the variable rate" in moved


def blocks_of(desk: Desk, deals: list[DealId]) -> dict[tuple[str, str], str]:
    """The block of every mined intent, by its id and purpose."""
    intents = [intent for deal_id in deals for intent in desk.books.intents(deal_id)]
    return {(i.intent_id, i.purpose): str(i.block_hash) for i in intents if i.block_hash}


def all_final(desk: Desk, deals: list[DealId]) -> bool:
    """Whether the books call every transaction of these deals final."""
    intents = [intent for deal_id in deals for intent in desk.books.intents(deal_id)]
    return {intent.state for intent in intents} <= {"FINALIZED", "ABANDONED"}
