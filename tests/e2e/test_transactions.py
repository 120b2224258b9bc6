"""`deal tx` and `deal chain` on a whole stack: bumped, and cancelled in both orders."""

from __future__ import annotations

import asyncio
import json
import sys
from asyncio.subprocess import Process
from typing import Any
from uuid import uuid4

import pytest
from psycopg.types.json import Jsonb

from activities.transactions.interface import Action
from domain.deals import DealStatus, Step
from domain.errors import LimitExceeded, OutcomeUnknown
from domain.identifiers import DealId
from domain.views import DealView
from tests.e2e.test_commands import walk_to
from tests.e2e.test_kills import killed
from tests.support.answers import Answer
from tests.support.books import IntentRow
from tests.support.commands import deal, environment_of
from tests.support.desk import WITHIN, Desk, eventually
from tests.support.node import Node
from workflows.deal.messages import TransactionMessage

CHAIN = "138"


async def started(desk: Desk, *arguments: str) -> Process:
    """Start the command, for what it prints before it ends."""
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "starters.cli.main", *arguments),
        env=environment_of(desk.stack),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


def asked(action: str, intent: str, *options: str) -> tuple[str, ...]:
    """A command about one transaction."""
    return ("tx", action, intent, "--why", "a test", "--yes", *options)


async def act(desk: Desk, action: str, intent: str, *options: str) -> Answer:
    """Give a command about one transaction."""
    return await deal(desk.stack, *asked(action, intent, *options))


def wrap_of(desk: Desk, deal_id: str) -> IntentRow:
    """The one transaction of the first step that the deal's own account sends."""
    (intent,) = desk.books.of_step(deal_id, Step.WRAP)[:1]
    return intent


async def in_the_pool(desk: Desk, deal_id: str, attempts: int) -> list[str]:
    """Wait until there are so many attempts and the node has the newest; return their hashes."""

    def sent() -> bool:
        hashes = wrap_of(desk, deal_id).attempts or []
        return len(hashes) == attempts and desk.node().knows(hashes[-1])

    await eventually(sent, f"attempt {attempts} of {deal_id} is sent")
    return wrap_of(desk, deal_id).attempts or []


async def mine_the_first(desk: Desk, node: Node, hashes: list[str]) -> None:
    """Mine the first attempt although the newest has taken its place in the pool.

    The engine would send the newest again as soon as it is not in the pool.
    """
    query = "SELECT raw FROM transactions.attempts WHERE transaction_hash = %s"
    ((raw,),) = desk.books.rows(query, hashes[0])
    async with killed(desk.stack, "chain"):
        node.ask("anvil_dropTransaction", hashes[-1])
        assert node.ask("eth_sendRawTransaction", "0x" + bytes(raw).hex()) == hashes[0]
        node.mine()


async def bump_for_ever(desk: Desk, deal_id: DealId, intent: str) -> None:
    """Bid more and more, until that is refused."""
    message = TransactionMessage(intent_id=intent, action=Action.BUMP, who="on-call", why="a test")
    async with asyncio.timeout(WITHIN):
        while True:
            await desk.deals.transact(deal_id, message, uuid4().hex)


async def completed(desk: Desk, deal_id: str) -> DealView:
    """The deal at its end, with everything sent exactly once."""
    view = await desk.end(deal_id)
    assert view.status is DealStatus.COMPLETED
    desk.books.check_exactly_once(view, desk.node())
    assert view.account is not None
    assert desk.node().holdings(view.account) == {}
    return view


async def test_a_transaction_that_waits_is_listed_shown_and_bumped_once(desk: Desk) -> None:
    node = desk.node()
    with node.held():
        deal_id = await walk_to(desk, Step.WRAP)
        wrap, fund = (await deal(desk.stack, "tx", "list", "--deal", deal_id)).document[
            "transactions"
        ]
        assert (wrap["state"], wrap["nonce"], wrap["block_number"]) == ("BROADCAST", 0, None)
        assert (wrap["attempt_count"], fund["block_number"] is None) == (1, False)
        name = wrap["intent_id"]
        (first,) = await in_the_pool(desk, deal_id, 1)
        shown = (await deal(desk.stack, "tx", "show", first)).document
        assert (shown["intent_id"], shown["call"], shown["to_name"]) == (name, "deposit()", "weth")

        bumped = await act(desk, "bump", name, "--command-id", "bump-1")
        again = await act(desk, "bump", name, "--command-id", "bump-1")
        assert (bumped.code, bumped.document) == (0, again.document)
        hashes = await in_the_pool(desk, deal_id, 2)
        assert (hashes[0], hashes[-1]) == (first, bumped.document["transaction_hash"])
        dear, cheap = [
            int(attempt["max_fee_per_gas"])
            for attempt in (await deal(desk.stack, "tx", "show", name)).document["attempts"][::-1]
        ]
        assert dear * 10 >= cheap * 11

        waiting = await started(desk, *asked("rebroadcast", name, "--wait"))
        assert waiting.stdout is not None
        assert json.loads(await waiting.stdout.readline())["action"] == "rebroadcast"
        assert json.loads(await waiting.stdout.readline())["state"] == "BROADCAST"
        node.mine()
        last = json.loads((await waiting.stdout.read()).splitlines()[-1])
        assert (await waiting.wait(), last["mined_hash"]) == (0, hashes[-1])
    await completed(desk, deal_id)
    over = await act(desk, "bump", name)
    assert (over.code, over.problem["code"]) == (4, "not_allowed")


async def test_a_cancelled_transaction_becomes_a_no_op_and_its_step_is_built_anew(
    desk: Desk,
) -> None:
    node = desk.node()
    with node.held():
        deal_id = await walk_to(desk, Step.WRAP)
        name = wrap_of(desk, deal_id).intent_id
        cancelling = asyncio.create_task(act(desk, "cancel", name, "--wait"))
        hashes = await in_the_pool(desk, deal_id, 2)
        node.mine()
        answer = await cancelling
    assert answer.code == 0, answer.err
    assert answer.last_document["mined_hash"] == hashes[-1]
    assert [attempt["no_op"] for attempt in answer.last_document["attempts"]] == [False, True]
    ended = await completed(desk, deal_id)
    wraps = [step.outcome for step in ended.steps if step.outcome.key.step is Step.WRAP]
    assert [outcome.problem is None for outcome in wraps] == [False, True]


async def test_a_transaction_that_was_quicker_than_its_cancellation_stands(desk: Desk) -> None:
    node = desk.node()
    with node.held():
        deal_id = await walk_to(desk, Step.WRAP)
        name = wrap_of(desk, deal_id).intent_id
        cancelling = asyncio.create_task(act(desk, "cancel", name, "--wait"))
        hashes = await in_the_pool(desk, deal_id, 2)
        await mine_the_first(desk, node, hashes)
        answer = await cancelling
    assert (answer.code, answer.problem["code"]) == (1, "failed")
    assert answer.problem["value"] == hashes[0]
    ended = await completed(desk, deal_id)
    assert [step.outcome.key.step for step in ended.steps].count(Step.WRAP) == 1


async def test_no_bid_goes_above_the_deals_own_cap(desk: Desk) -> None:
    node = desk.node()
    history = node.ask("eth_feeHistory", "0x1", "latest", [])
    cap = int(history["baseFeePerGas"][-1], 16) * 5 // 4 + 2 * 10**9
    with node.held():
        view = await desk.start(max_fee_per_gas_wei=cap)
        deal_id = view.request.deal_id
        await desk.sent(deal_id, Step.FUND)
        (fund,) = desk.books.of_step(deal_id, Step.FUND)
        with pytest.raises(LimitExceeded):
            await bump_for_ever(desk, deal_id, fund.intent_id)
        refused = await act(desk, "bump", fund.intent_id)
        assert (refused.code, refused.problem["code"]) == (5, "limit_exceeded")
        assert refused.problem["limit"] == str(cap)
        shown = (await deal(desk.stack, "tx", "show", fund.intent_id)).document
        assert max(int(each["max_fee_per_gas"]) for each in shown["attempts"]) <= cap
    # The signer holds it too, whatever it is told later.
    recorded = "SELECT max_fee_per_gas FROM signing.accounts WHERE deal_id = %s"
    assert desk.books.rows(recorded, deal_id) == [(cap,)]
    await completed(desk, deal_id)


async def test_a_chain_tells_how_it_stands_and_has_nothing_to_release(desk: Desk) -> None:
    node = desk.node()
    await desk.run()
    head = node.head()

    async def seen() -> dict[str, Any]:
        answer = await deal(desk.stack, "chain", "status", CHAIN)
        (chain,) = answer.document["chains"]
        return dict(chain)

    chain = await seen()
    async with asyncio.timeout(60):
        while (chain["observed"] or {}).get("head", -1) < head:
            await asyncio.sleep(0.5)
            chain = await seen()
    assert (chain["stale"], chain["latches"]) == (False, [])
    assert [endpoint["healthy"] for endpoint in chain["observed"]["endpoints"]] == [True]
    treasury = next(a for a in chain["observed"]["accounts"] if a["address"] == desk.treasury)
    assert (treasury["mined_nonce"], treasury["gap"]) == (node.nonce(desk.treasury), [])
    released = await deal(desk.stack, "chain", "release", CHAIN, "--why", "a test", "--yes")
    assert (released.code, released.document["cleared"]) == (0, False)


async def test_a_latched_chain_signs_nothing_until_a_person_releases_it(desk: Desk) -> None:
    latched = OutcomeUnknown("block 7 is another now", next_action="look at it, then release")
    desk.books.rows(
        "INSERT INTO signing.latches (chain_id, problem) VALUES (%s, %s) RETURNING latch_id",
        desk.node().chain_id,
        Jsonb(latched.problem.model_dump()),
    )
    deal_id = (await desk.start()).request.deal_id
    await desk.prepared(deal_id, Step.FUND)
    (chain,) = (await deal(desk.stack, "chain", "status", CHAIN)).document["chains"]
    told = [latch["problem"]["message"] for latch in chain["latches"]]
    assert told == ["block 7 is another now"]
    (fund,) = desk.books.intents(deal_id)
    assert (fund.state, fund.attempts) == ("PREPARED", None)

    release = ("chain", "release", CHAIN, "--why", "it is right", "--yes")
    released = (await deal(desk.stack, *release)).document
    assert (released["cleared"], released["problem"]["message"]) == (True, told[0])
    await completed(desk, deal_id)
    query = "SELECT cleared_by, cleared_why FROM signing.latches ORDER BY latch_id DESC LIMIT 1"
    assert desk.books.rows(query) == [("desk", "it is right")]
    assert (await deal(desk.stack, *release)).document["cleared"] is False
