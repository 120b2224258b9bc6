"""The rows of the fault model in which the chain turns: reorgs, reverts, foreign nonces, cancels.

Blocks are held, so that what is in which block is the row's decision and not chance.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

from temporalio.client import WorkflowUpdateFailedError

from activities.protocols import erc20
from activities.protocols.abi import Function
from activities.transactions.interface import Action, ReleaseChain, TransactionView
from domain.deals import Command, DealStatus, Step
from domain.identifiers import ChainId
from tests.faults.batches import LedgerBatches
from tests.faults.results import Group
from tests.faults.rig import CHAIN, Lane, batch_keys, eventually
from tests.faults.rows import one_deal
from tests.faults.rows_of_deals import ended, is_prepared, walk_to
from tests.faults.setting import Batches, Setting, account_of
from tests.faults.verdict import Verdict, executions, of_account, of_intents
from tests.support.node import OWNER
from workflows.chain.release import ReleaseChainWorkflow
from workflows.chain.release import workflow_id as release_id
from workflows.deal.messages import CommandMessage, TransactionMessage

DEEPEST: Final = 10
ISSUE: Final = Function("issue(uint256)")
_SETTLED: Final = 45.0
"""Seconds within which the chain has come to rest again, finality included."""


async def reorgs(at: Setting) -> Group:
    """1 to 10 blocks are undone, with and without our transactions: each is mined again, once."""
    group = Group("reorgs of 1 to 10 blocks", cases=2 * DEEPEST)
    names = [f"fork-{depth}" for depth in range(1, DEEPEST + 1)]
    async with at.lane("fork") as (lane, _):
        for depth, name in enumerate(names, start=1):
            with at.held():
                handle = await lane.start_batches(name, batches=2)
                await at.in_pool(name)
                await _mine_slowly(at, depth)
                await at.reach(name, "INCLUDED")
                at.reorg(depth)
            group.verdict += await _at_rest(at, handle, batches=2)
        for depth in range(1, DEEPEST + 1):
            with at.held():
                # Its ether is given before the blocks, which are mined before its transactions.
                mine = partial(_mine_first, at, depth)
                handle = await lane.start_batches(f"calm-{depth}", before=mine)
                await at.in_pool(f"calm-{depth}")
                at.reorg(depth)
            group.verdict += await _at_rest(at, handle)
            sent = len(at.hashes(f"calm-{depth}"))
            group.verdict.expect(sent == 3, f"calm-{depth}: {sent} attempts for 3 intents")
        for name in names:
            await _all_final(at, group.verdict, name)
    return group


async def reorg_in_a_deal(at: Setting) -> Group:
    """Blocks of a deal under way are undone: its later steps wait, and it ends as ever."""
    group = Group("reorg in a deal", cases=3)
    async with at.lane("dig") as (lane, _):
        due = await one_deal(at, lane, "dig-0")
        for number, depth in enumerate((1, 2, 4), start=1):
            name, first = f"dig-{number}", at.rig.node.head()
            with at.held():
                await lane.start(lane.request(name))
                await walk_to(at, name, Step.SWAP)
                at.reorg(depth)
            group.verdict += await ended(at, lane, name, first, due)
    return group


async def revert_undone(at: Setting) -> Group:
    """A transaction reverts, and succeeds on the branch that takes the place of its block."""
    group = Group("reverted, then mined on another branch", cases=1)
    async with at.lane("turn") as (lane, _):
        with at.held():
            handle = await _fragile(at, lane, "turn-0")
            _allow(at, await account_of(handle, at.rig), 0)
            at.mine()
            await at.reach("turn-0", "REVERTED", 1)
            at.reorg(1)  # the allowance is back
        await eventually(
            lambda: at.states("turn-0")[1] in ("INCLUDED", "FINALIZED"),
            "the reverted one is mined again",
            _SETTLED,
        )
        group.verdict += of_intents(at.rig, _ids("turn-0", [0]))
        row = at.rig.books.intents("turn-0")[1]
        receipt = at.rig.node.receipt(str(row.mined_hash))
        group.verdict.expect(receipt and receipt["status"] == "0x1", "turn-0/1 did not succeed")
        group.verdict += of_account(at.rig, await account_of(handle, at.rig))
    return group


async def below_finality(at: Setting) -> Group:
    """What was final is undone: nothing is signed until a person clears the chain."""
    group = Group("reorg below finality", cases=1)
    async with at.lane("deep") as (lane, _):
        handle = await lane.start_batches("deep-0")
        await handle.result()
        await _all_final(at, group.verdict, "deep-0")
        with at.held():
            block = at.rig.node.receipt(at.hashes("deep-0")[0])
            assert block is not None
            at.reorg(at.rig.node.head() - int(block["blockNumber"], 16) + 1)
        await eventually(lambda: _latched(at), "the chain is latched")
        new = await lane.start_batches("deep-1")
        await asyncio.sleep(3)
        signed = at.rig.books.rows(
            "SELECT count(*) FROM signing.journal"
            " WHERE decision = 'signed' AND starts_with(batch, 'deep-1/')"
        )
        group.verdict.expect(signed[0][0] == 0, "it was signed on a latched chain")
        group.verdict.expect(at.alerts("latch"), "no alert latch")
        order = ReleaseChain(chain_id=ChainId(CHAIN), who="on-call", why="the row is over")
        released = await lane.client.execute_workflow(
            ReleaseChainWorkflow.run, order, id=release_id(CHAIN), task_queue="deals"
        )
        group.verdict.expect(released.cleared, "there was nothing to release")
        group.verdict += await _at_rest(at, handle)
        await asyncio.wait_for(new.result(), _SETTLED)
        again = await lane.start_batches("deep-2")
        group.verdict += await at.verdict(again)
        group.verdict += of_account(at.rig, await account_of(new, at.rig))
    return group


async def foreign_nonce(at: Setting) -> Group:
    """Somebody else uses the account's nonce: told, and taken for lost only past finality."""
    group = Group("foreign use of a nonce", cases=1)
    async with at.lane("theft") as (lane, _):
        with at.held():
            handle = await lane.start_batches("theft-0", batches=2)
            await at.in_pool("theft-0")
            account = await account_of(handle, at.rig)
            at.rig.node.ask("anvil_dropTransaction", at.hashes("theft-0")[0])
            theft = {"to": OWNER, "value": "0x1", "gas": hex(21_000), "nonce": "0x0"}
            _as(at, account, theft)
            head = at.rig.node.head()
        await _soon(lambda: at.states("theft-0")[:1] == ["REPLACED"])
        past = at.rig.node.head() - head
        group.verdict.expect(past >= at.depth, f"taken for lost after {past} blocks")
        group.verdict.expect(at.alerts("foreign_nonce"), "no alert foreign_nonce")
        once = [*_ids("theft-0", [1, 2]), *_ids("theft-0", [0, 1, 2], number=2)]
        group.verdict += await _rest(at, handle, once=once, never=_ids("theft-0", [0]))
    return group


async def middle_fails(at: Setting) -> Group:
    """The second of three reverts: the third becomes a no-op at its nonce; others go on."""
    group = Group("the second of three reverts", cases=2)
    async with at.lane("mid") as (lane, _):
        for number in range(group.cases):
            name = f"mid-{number}"
            with at.held():
                handle = await _fragile(at, lane, name)
                other = await lane.start_batches(f"other-{number}")
                await at.in_pool(f"other-{number}")
                account = await account_of(handle, at.rig)
                at.rig.node.ask("anvil_dropTransaction", at.hashes(name)[2])
                _allow(at, account, 0)
                at.mine()
                await at.reach(name, "REVERTED", 1)
            group.verdict += await at.verdict(other)
            await asyncio.wait_for(handle.result(), _SETTLED)
            # The second one is no entry of the Ledger: what it did is told by its receipt.
            group.verdict += of_intents(at.rig, _ids(name, [0]), never=_ids(name, [2]))
            group.verdict += of_account(at.rig, account)
            states = at.states(name)
            group.verdict.expect(states[2] in ("REPLACED", "FINALIZED"), f"{name}: {states}")
    return group


async def cancels(at: Setting) -> Group:
    """A cancel is a no-op at the same nonce; what is mined decides, in both orders."""
    group = Group("cancel, and its race with inclusion", cases=3)
    async with at.lane("stop") as (lane, _):
        # The no-op is first.
        with at.held():
            handle = await lane.start_batches("stop-0", intents=1, batches=2)
            await at.in_pool("stop-0", 1)
            await _cancel(handle, "stop-0/wrap/1/1/0")
            at.mine()
        group.verdict += await _rest(
            at, handle, once=_ids("stop-0", [0], number=2), never=_ids("stop-0", [0])
        )
        # The original is first, although the no-op was signed and sent.
        with at.held():
            handle = await lane.start_batches("stop-1", intents=1, batches=2)
            await at.in_pool("stop-1", 1)
            raw = _raw(at, at.hashes("stop-1")[0])
            view = await _cancel(handle, "stop-1/wrap/1/1/0")
            at.rig.node.ask("anvil_dropTransaction", view.transaction_hash)
            at.rig.node.ask("eth_sendRawTransaction", raw)
            at.mine()
        group.verdict += await _rest(
            at, handle, once=[*_ids("stop-1", [0]), *_ids("stop-1", [0], number=2)]
        )
        # Too late.
        with at.held():
            handle = await lane.start_batches("stop-2", intents=1, batches=2)
            await at.in_pool("stop-2", 1)
            at.mine()
            await at.in_pool("stop-2", 2)
            try:
                view = await _cancel(handle, "stop-2/wrap/1/1/0")
            except WorkflowUpdateFailedError:
                pass
            else:
                group.verdict.notes.append(f"what was mined could be cancelled: {view}")
        group.verdict += await _rest(
            at, handle, once=[*_ids("stop-2", [0]), *_ids("stop-2", [0], number=2)]
        )
    return group


async def cancelled_deals(at: Setting) -> Group:
    """A deal is cancelled between prepare and sign, and between sign and send: no gap, no rest."""
    group = Group("deal cancelled at a boundary", cases=2)
    async with at.lane("quit") as (lane, (front,)):
        for number, before_signing in enumerate((True, False)):
            name = f"quit-{number}"
            with at.held():
                await lane.start(lane.request(name))
                await walk_to(at, name, Step.WRAP)
                if before_signing:
                    at.rig.dismiss("quit-signer")
                    await asyncio.sleep(1)
                else:
                    front.errors["eth_sendRawTransaction"] = {"code": -32000, "message": "away"}
                at.mine()
                state = "PREPARED" if before_signing else "BROADCAST"
                await is_prepared(at, name, Step.COLLATERALIZE, state)
                message = CommandMessage(who="on-call", why="a row")
                await lane.deals.command(
                    lane.request(name).deal_id, Command.CANCEL, message, f"cancel-{name}"
                )
                front.errors.clear()
                at.rig.enrol("quit-signer", "signer", lane.environment)
            view = await asyncio.wait_for(lane.deal(name).result(), 120)
            group.verdict.expect(view.status is DealStatus.UNWOUND, f"{name} is {view.status}")
            assert view.account is not None
            held = at.rig.node.holdings(view.account)
            group.verdict.expect(not held, f"{name} still holds {held}")
            group.verdict += of_account(at.rig, view.account)
        group.verdict += await at.verdict(await lane.start_batches("quit-next"))
    return group


async def never_mined(at: Setting) -> Group:
    """Nobody mines it although it bids enough: at the deadline a no-op takes its nonce."""
    group = Group("never mined: a no-op at the deadline", cases=1)
    async with at.lane("void") as (lane, _):
        handle = await lane.start_batches("void-0", intents=1, batches=2)
        dropping = asyncio.create_task(_swallow(at, "void-0"))
        try:
            await asyncio.wait_for(handle.result(), 90)
        finally:
            dropping.cancel()
        group.verdict += await _rest(at, handle)
        first = at.rig.books.intents("void-0")[0]
        count = executions(at.rig, first.intent_id)
        group.verdict.expect(count <= 1, f"{first.intent_id} was executed {count} times")
        group.verdict += of_intents(at.rig, _ids("void-0", [0], number=2))
    return group


async def _swallow(at: Setting, deal_id: str) -> None:
    """Take the first intent's own attempts out of the pool as soon as they are there."""
    while True:
        rows = at.rig.books.rows(
            "SELECT transaction_hash FROM transactions.attempts WHERE intent_id = %s AND NOT no_op",
            f"{deal_id}/wrap/1/1/0",
        )
        for (each,) in rows:
            at.rig.node.ask("anvil_dropTransaction", each)
        await asyncio.sleep(0.02)


# -- what the rows are made of ---------------------------------------------------------------------


def _mine_first(at: Setting, blocks: int, _account: str) -> None:
    at.mine(blocks)


async def _mine_slowly(at: Setting, blocks: int) -> None:
    """Mine, and let the engine look at each block."""
    for _ in range(blocks):
        at.mine()
        await asyncio.sleep(0.3)


async def _at_rest(at: Setting, handle: Batches, batches: int = 1) -> Verdict:
    """The verdict once everything is mined again, after the workflow's end as well."""
    name = handle.id.removeprefix("deal-")
    ids = [f"{key}/{i}" for key in batch_keys(name, batches) for i in range(3)]
    await _soon(lambda: all(executions(at.rig, each) for each in ids))
    return await at.verdict(handle, batches=batches)


async def _rest(
    at: Setting, handle: Batches, once: list[str] | None = None, never: list[str] | None = None
) -> Verdict:
    """The verdict of a workflow whose intents do not all take effect."""
    await asyncio.wait_for(handle.result(), _SETTLED)
    verdict = of_intents(at.rig, once or [], never or [])
    verdict += of_account(at.rig, await account_of(handle, at.rig))
    return verdict


async def _all_final(at: Setting, verdict: Verdict, deal_id: str) -> None:
    """In the end each intent is final under the hash that the chain has."""
    await _soon(lambda: set(at.states(deal_id)) == {"FINALIZED"})
    for intent in at.rig.books.intents(deal_id):
        mined = at.rig.node.block_of(intent.mined_hash)
        verdict.expect(
            intent.state == "FINALIZED" and mined == intent.block_hash,
            f"{intent.intent_id} is {intent.state} in {intent.block_hash}, the chain says {mined}",
        )


async def _soon(holds: Callable[[], bool]) -> None:
    """Wait for it; that it did not come is for the verdict to say."""
    try:
        await eventually(holds, "rest", _SETTLED)
    except AssertionError:
        return


async def _fragile(at: Setting, lane: Lane, name: str) -> Batches:
    """Three intents in the pool, the second of which takes what the owner allows."""

    def allowed(account: str) -> None:
        _order(at, ISSUE.encode(1))
        _allow(at, account, 1)
        at.mine()

    handle = await lane.start_batches(name, fragile=1, before=allowed)
    await at.in_pool(name)
    return handle


async def _cancel(handle: Batches, intent_id: str) -> TransactionView:
    message = TransactionMessage(
        who="on-call", why="a row", intent_id=intent_id, action=Action.CANCEL
    )
    return await handle.execute_update(LedgerBatches.transact, message)


def _allow(at: Setting, account: str, units: int) -> None:
    """Have the owner of the dollars allow an account to take some, before all that waits."""
    _order(at, erc20.APPROVE.encode(account, units))


def _order(at: Setting, data: str) -> None:
    fees = {"maxPriorityFeePerGas": hex(10**10), "maxFeePerGas": hex(10**11)}
    call = {"from": OWNER, "to": at.rig.node.contracts["usdt"], "gas": hex(200_000), "data": data}
    at.rig.node.ask("eth_sendTransaction", call | fees)


def _as(at: Setting, account: str, transaction: dict[str, Any]) -> None:
    """Send and mine something from an account whose key somebody else has as well."""
    node = at.rig.node
    node.ask("anvil_impersonateAccount", account)
    node.ask("eth_sendTransaction", {"from": account, **transaction})
    node.ask("anvil_stopImpersonatingAccount", account)
    node.mine()


def _raw(at: Setting, transaction: str) -> str:
    rows = at.rig.books.rows(
        "SELECT encode(raw, 'hex') FROM transactions.attempts WHERE transaction_hash = %s",
        transaction,
    )
    return f"0x{rows[0][0]}"


def _latched(at: Setting) -> bool:
    return bool(at.rig.books.rows("SELECT 1 FROM signing.latches WHERE cleared_at IS NULL"))


def _ids(deal_id: str, indexes: list[int], number: int = 1) -> list[str]:
    return [f"{deal_id}/{Step.WRAP}/{number}/1/{index}" for index in indexes]


ROWS: Final[tuple[Callable[[Setting], Awaitable[Group]], ...]] = (
    reorgs,
    reorg_in_a_deal,
    revert_undone,
    foreign_nonce,
    middle_fails,
    cancels,
    cancelled_deals,
    never_mined,
    below_finality,
)
