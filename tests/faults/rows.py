"""The rows of the fault model that have to do with the node, the pool and concurrent workers.

Each row injects its fault from outside and returns what the chain says afterwards; what else the
row promises is noted where it does not hold.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

from eth_account.typed_transactions import TypedTransaction
from hexbytes import HexBytes

from domain.deals import DealStatus, Step
from domain.errors import Conflict
from tests.activities.rpc.front import Front, always
from tests.faults.crashes import Crash
from tests.faults.recovery import recoveries
from tests.faults.results import Group
from tests.faults.rig import Lane, batch_keys, eventually
from tests.faults.setting import Setting, start_many
from tests.faults.verdict import Call, Verdict, calls_of, of_deal

Row = Callable[[Setting], Awaitable[Group]]
GWEI: Final = 10**9
CAP: Final = 100 * GWEI
"""The cap of the local chain's profile."""

_TWINS: Final = 3
_IDENTICAL: Final = 50
_PASSED_OVER: Final = 6
_TOLD_SECONDS: Final = 60.0
"""An alert is taken back some time after what it tells of was last seen."""
_SEND: Final = "eth_sendRawTransaction"
_RECEIPT: Final = "eth_getTransactionReceipt"
_AN_ERROR: Final = {"code": -32000, "message": "internal error"}


async def reply_lost(at: Setting) -> Group:
    """The node accepts, the reply is lost: the same hash is sent again; one execution."""
    group = Group("reply lost", cases=3)
    async with at.lane("lost") as (lane, (front,)):
        front.lose_reply_to = {_SEND}
        handles = await start_many(lane, "lost", group.cases)
        await eventually(lambda: len(set(front.sent())) >= 3 * len(handles), "all is sent")
        front.lose_reply_to = set()
        group.verdict = await at.verdict(*handles)
        _expect_same_bytes(group.verdict, front, 3 * len(handles))
    return group


async def same_account(at: Setting) -> Group:
    """Two workers handle one account at once: one nonce, one calldata, one execution."""
    group = Group("two workers, one account", cases=2 * _TWINS + _TWINS)
    async with at.lane("one", copies=2) as (lane, _), at.lane("two", copies=2) as (other, _):
        shared = [
            *await start_many(lane, "one", _TWINS, step=Step.FUND, batches=2),
            *await start_many(other, "two", _TWINS, step=Step.FUND, batches=2),
        ]
        # The same orders twice: both lanes prepare, sign and deliver the same intents.
        mine, theirs = await asyncio.gather(
            start_many(lane, "twin", _TWINS), start_many(other, "twin", _TWINS)
        )
        group.verdict = await at.verdict(*shared, batches=2, step=Step.FUND)
        group.verdict += await at.verdict(*mine)
        for handle in theirs:
            await handle.result()
    return group


async def replacement_unrecorded(at: Setting) -> Group:
    """The worker dies after a replacement was sent: what is mined is found, under any hash."""
    group = Group("replacement sent, not recorded", cases=2)
    async with at.lane("bump") as (lane, _):
        for side in ("before", "after"):
            name = f"bump-{side}"
            with at.held():
                handle = await lane.start_batches(name)
                await at.in_pool(name)
                crash = Crash(name, "request", side, batch_keys(name, 1)[0])  # type: ignore[arg-type]
                at.rig.crashes.arm(crash)
                price = 2 * max(_bids(at, name))
                for _ in range(_PASSED_OVER):
                    at.mine_at(price)
                    await asyncio.sleep(0.3)
                await eventually(lambda n=name: at.rig.crashes.fired(n), f"{name} crashes")
                at.mine_at(price // 8)
            group.verdict += await at.verdict(handle)
            fired = at.rig.crashes.fired(name)
            assert fired is not None
            found = await recoveries(lane, f"deal-{name}", {name: fired})
            group.recoveries += [each.gone_on for each in found.values()]
            _expect_one_mined(at, group.verdict, name)
    return group


async def identical_requests(at: Setting) -> Group:
    """Fifty identical requests at once are one deal; another body is a conflict."""
    group = Group("fifty identical requests", cases=_IDENTICAL + 1)
    async with at.lane("same") as (lane, _):
        due = await one_deal(at, lane, "same-0")
        first = at.rig.node.head()
        request = lane.request("same-1")
        views = await asyncio.gather(*(lane.start(request) for _ in range(_IDENTICAL)))
        try:
            await lane.start(lane.request("same-1", working_liquidity="11"))
        except Conflict as conflict:
            named = conflict.problem.model_dump_json()
            group.verdict.expect("working_liquidity" in named, f"the conflict only says {named}")
        else:
            group.verdict.notes.append("another body under the same key was accepted")
        view = await lane.deal("same-1").result()
        group.verdict.expect(len({v.account for v in views}) == 1, "not one account")
        group.verdict.expect(view.status is DealStatus.COMPLETED, f"{view.status}: {view.problem}")
        assert view.account is not None
        group.verdict += of_deal(at.rig, view.account, first, due)
    return group


async def one_deal(at: Setting, lane: Lane, name: str) -> list[Call]:
    """The calls of a deal that nothing disturbs."""
    first = at.rig.node.head()
    await lane.start(lane.request(name))
    view = await lane.deal(name).result()
    assert view.account is not None
    return calls_of(at.rig, view.account, first)


async def receipts_away(at: Setting) -> Group:
    """The nonce is used, receipts are missing or errors: UNKNOWN, nothing new, then resolved."""
    group = Group("receipts missing or errors", cases=2)
    async with at.lane("blind") as (lane, (front,)):
        for kind in ("missing", "errors"):
            name = f"blind-{kind}"
            handle = await lane.start_batches(name)
            await at.in_pool(name)
            sent = len(set(front.sent()))
            if kind == "missing":
                front.lies[_RECEIPT] = lambda *_: None
                await at.reach(name, "UNKNOWN")
            else:
                front.errors[_RECEIPT] = _AN_ERROR
                await asyncio.sleep(3)
            group.verdict.expect(len(set(front.sent())) == sent, f"{name}: something new was sent")
            front.lies.clear()
            front.errors.clear()
            group.verdict += await at.verdict(handle)
            _expect_one_mined(at, group.verdict, name)
    return group


async def vanished(at: Setting) -> Group:
    """A pending transaction vanishes from the pool: the same bytes again by the next block."""
    group = Group("vanished from the pool", cases=4)
    async with at.lane("gone") as (lane, _):
        for number in range(group.cases):
            name = f"gone-{number}"
            with at.held():
                handle = await lane.start_batches(name)
                await at.in_pool(name)
                victims = at.hashes(name)[number % 3 :] if number < 3 else at.hashes(name)[1:2]
                for each in victims:
                    at.rig.node.ask("anvil_dropTransaction", each)
                blocks = await _blocks_until_back(at, victims)
                group.verdict.expect(blocks <= 2, f"{name}: back after {blocks} blocks")
                group.verdict.expect(len(at.hashes(name)) == 3, f"{name}: other bytes were made")
            group.verdict += await at.verdict(handle)
    return group


async def fee_spike(at: Setting) -> Group:
    """The base fee rises above the cap and falls: no bid above it, an alert, mined afterwards."""
    group = Group("base fee above the cap", cases=1)
    async with at.lane("spike") as (lane, (front,)):
        with at.held():
            handle = await lane.start_batches("spike-0")
            await at.in_pool("spike-0")
            for _ in range(2 * _PASSED_OVER):
                at.mine_at(2 * CAP)
                await asyncio.sleep(0.3)
            group.verdict.expect(at.alerts("fee_cap"), "no alert fee_cap")
            at.mine_at(GWEI, blocks=2)
        group.verdict += await at.verdict(handle)
        bids = [
            int(TypedTransaction.from_bytes(HexBytes(raw)).as_dict()["maxFeePerGas"])
            for raw in front.sent()
        ]
        group.verdict.expect(max(bids) <= CAP, f"a bid of {max(bids)}")
        _expect_one_mined(at, group.verdict, "spike-0")
        await _expect_cleared(at, group.verdict, "fee_cap")
    return group


async def bad_endpoints(at: Setting) -> Group:
    """One of three endpoints lags, lies about the chain or answers errors; the last one stays."""
    faults: dict[str, Callable[[Front], None]] = {
        "lags": _lag,
        "lies about the chain": _another_chain,
        "answers errors": _errors,
        "hangs": _hang,
    }
    group = Group("one of three endpoints is bad", cases=3 * len(faults) + 1)
    for number, (what, spoil) in enumerate(faults.items()):
        for which in range(3):
            name = f"bad{number}{which}"
            async with at.lane(name, endpoints=3) as (lane, fronts):
                spoil(fronts[which])
                handle = await lane.start_batches(name, batches=2)
                verdict = await at.verdict(handle, batches=2)
                verdict.notes = [f"endpoint {which + 1} {what}: {each}" for each in verdict.notes]
                group.verdict += verdict
    group.verdict += await _all_bad_for_a_while(at)
    return group


async def _all_bad_for_a_while(at: Setting) -> Verdict:
    """All fail at once, then one comes back: it was not given up."""
    async with at.lane("last", endpoints=3) as (lane, fronts):
        handle = await lane.start_batches("last-0")
        for front in fronts:
            _errors(front)
        await asyncio.sleep(5)
        fronts[at.dice.randrange(3)].answer = None
        return await at.verdict(handle)


def _lag(front: Front) -> None:
    """As a node that is five blocks behind: an older head, older nonces, no receipts."""
    front.lies["eth_blockNumber"] = lambda _, result: hex(max(0, int(result, 16) - 5))
    front.lies["eth_getTransactionCount"] = lambda _, result: hex(max(0, int(result, 16) - 1))
    front.lies[_RECEIPT] = lambda *_: None


def _another_chain(front: Front) -> None:
    front.lies["eth_chainId"] = lambda *_: hex(1)


def _errors(front: Front) -> None:
    front.answer = always(503, {"error": "away"})


def _hang(front: Front) -> None:
    front.delay_seconds = 20.0


async def _blocks_until_back(at: Setting, victims: list[str]) -> int:
    """How many blocks it takes until the node knows these again, sent by us."""
    for blocks in range(1, 6):
        at.mine()
        for _ in range(30):
            if all(map(at.rig.node.knows, victims)):
                return blocks
            await asyncio.sleep(0.05)
    return 99


def _bids(at: Setting, deal_id: str) -> list[int]:
    rows = at.rig.books.rows(
        "SELECT a.max_fee_per_gas_wei FROM transactions.attempts AS a"
        " JOIN transactions.intents USING (intent_id) WHERE deal_id = %s",
        deal_id,
    )
    return [int(row[0]) for row in rows]


def _expect_same_bytes(verdict: Verdict, front: Front, count: int) -> None:
    """As many different transactions as there are intents, however often each was sent."""
    different = len(set(front.sent()))
    verdict.expect(different == count, f"{different} different transactions for {count} intents")


def _expect_one_mined(at: Setting, verdict: Verdict, deal_id: str) -> None:
    """Every intent is recorded under the hash that the chain has, and under no other."""
    for intent in at.rig.books.intents(deal_id):
        mined = [h for h in intent.attempts or () if at.rig.node.receipt(h) is not None]
        verdict.expect(mined == [intent.mined_hash], f"{intent.intent_id} was mined as {mined}")


async def _expect_cleared(at: Setting, verdict: Verdict, kind: str) -> None:
    """The alert is taken back by itself when what it tells of is over."""
    try:
        await eventually(
            lambda: all(row[2] for row in at.alerts(kind)), f"{kind} is cleared", _TOLD_SECONDS
        )
    except AssertionError:
        verdict.notes.append(f"the alert {kind} is still open")


def problem_of(ended: Any) -> str:
    """Why a batch of a workflow ended without its effect, in short."""
    problem = ended.problem or (ended.outcome and ended.outcome.problem)
    return "" if problem is None else f"{problem.code}: {problem.message}"


ROWS: Final[tuple[Row, ...]] = (
    reply_lost,
    same_account,
    replacement_unrecorded,
    identical_requests,
    receipts_away,
    vanished,
    fee_spike,
    bad_endpoints,
)
