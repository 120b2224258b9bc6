"""Servers die for some seconds while deals are under way: nothing is lost, nothing is doubled."""

from __future__ import annotations

import asyncio
import json
from typing import Final
from uuid import uuid4

import psycopg
import pytest

from domain.deals import DealStatus
from domain.identifiers import DealId
from starters.local import postgres
from tests.control.people import CAUSE, add_principal
from tests.e2e.test_deals import ONE_CYCLE
from tests.e2e.test_kills import (
    all_sent,
    check_all,
    killed,
    one_deal_in_every_step,
)
from tests.support.commands import answer, deal
from tests.support.desk import Desk, eventually
from tests.support.postgres import Database
from tests.support.treasury import Treasury
from workflows.deal.workflow import workflow_id

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


def queued_cancel(desk: Desk, deal_id: DealId, bank: str) -> str:
    """A cancel that was given while Temporal was away, as the command line writes it down."""
    database = Database(postgres.url(desk.stack.folder, postgres.OWNER))
    who = f"oncall-{uuid4().hex[:8]}"
    add_principal(database, who, "oncall")
    command_id = f"cancel-{uuid4().hex}"
    with psycopg.connect(database.role("deal_control")) as connection:
        cause = json.dumps(CAUSE | {"who": who})
        connection.execute("SELECT set_config('deal.cause', %s, true)", (cause,))
        connection.execute(
            "INSERT INTO control.commands (command_id, kind, subject, deal_id, bank, body,"
            " body_digest, principal_id, via, why)"
            " VALUES (%s, 'deal.cancel', %s, %s, %s, '{}', %s, %s, 'cli', 'the market moves')",
            (command_id, deal_id, deal_id, bank, "0" * 64, who),
        )
        connection.execute(
            "UPDATE control.commands SET state = 'QUEUED' WHERE command_id = %s", (command_id,)
        )
    return command_id


async def test_while_temporal_is_away_lists_answer_and_a_cancel_waits_for_it(
    slow_desk: Desk,
) -> None:
    (deal_id,) = await deals_under_way(slow_desk, 1)
    view = await slow_desk.until(deal_id, lambda view: len(view.steps) >= 2)
    async with killed(slow_desk.stack, "temporal"):
        for arguments, things in (
            (("list", "--limit", "1"), "deals"),
            (("tx", "list", "--deal", deal_id), "transactions"),
        ):
            listed = await answer(slow_desk.stack, *arguments)
            assert listed["source"] == "records"
            assert listed[things]
            assert listed["age_seconds"] >= 0
        shown = await answer(slow_desk.stack, "show", deal_id)
        assert shown["source"] == "records"
        assert shown["age_seconds"] >= 0
        assert len(shown["steps"]) >= 2
        status = await answer(slow_desk.stack, "chain", "status", "138")
        assert status["source"] == "records"
        command_id = queued_cancel(slow_desk, deal_id, view.request.bank)

    def state() -> str:
        query = "SELECT state FROM control.commands WHERE command_id = %s"
        return str(slow_desk.books.rows(query, command_id)[0][0])

    await eventually(lambda: state() == "APPLIED", "the cancel is delivered")
    ended = await slow_desk.end(deal_id)
    assert ended.status is DealStatus.UNWOUND
    handle = slow_desk.client.get_workflow_handle(workflow_id(deal_id))
    history = await handle.fetch_history()
    taken = [
        e
        for e in history.events
        if e.HasField("workflow_execution_update_accepted_event_attributes")
    ]
    ids = [
        e.workflow_execution_update_accepted_event_attributes.accepted_request.meta.update_id
        for e in taken
    ]
    assert ids.count(command_id) == 1


async def test_while_postgres_is_away_nothing_is_signed_or_saved(slow_desk: Desk) -> None:
    """The journal comes before the signature, the attempt before the sending."""
    deals = await deals_under_way(slow_desk)
    node = slow_desk.node()
    accounts = [slow_desk.treasury, *[str((await slow_desk.deals.view(d)).account) for d in deals]]
    async with killed(slow_desk.stack, "postgres"):
        await asyncio.sleep(2)  # what was in the pool is mined by then
        sent_before = {each: node.nonce(each, "pending") for each in accounts}
        await asyncio.sleep(AWAY_SECONDS)
        assert {each: node.nonce(each, "pending") for each in sent_before} == sent_before
        denied = await deal(slow_desk.stack, "list", "-o", "json")
        assert (denied.code, denied.problem["code"]) == (1, "unavailable")
        assert denied.problem["next_action"]
    for view in await slow_desk.ends(*deals):
        assert view.status is DealStatus.COMPLETED
        slow_desk.books.check_exactly_once(view, node)
