"""The rows of the fault model that need whole deals: outages, a freeze, a state that has moved."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Final

from domain.deals import Command, DealStatus, Step
from domain.errors import DealError
from domain.hashing import keccak
from domain.views import DealView
from tests.faults.matrix import STEPS
from tests.faults.results import Group
from tests.faults.rig import Lane, eventually
from tests.faults.rows import one_deal
from tests.faults.setting import Setting
from tests.faults.verdict import Call, Verdict, of_account, of_deal
from workflows.deal.messages import CommandMessage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.activities.rpc.front import Front

_WITHIN: Final = 240.0
_SERVERS: Final = ("endpoints", "postgres", "redis", "temporal")
_USUAL_PRICE: Final = 3_000 * 10**8
_HIGHER_FEE: Final = 300
"""Of redemption, in basis points: more than a deal tolerates."""
_LATER_SECONDS: Final = 4.0
"""Some blocks: what was simulated before them is looked at again."""


async def outages(at: Setting) -> Group:
    """A server is away while a deal is in every step: no loss, no double effect, a reason."""
    group = Group(f"a server away for {at.away_seconds:.0f} s", cases=len(_SERVERS) * len(STEPS))
    async with at.lane("out") as (lane, fronts):
        due = await one_deal(at, lane, "out-0")
        for server in _SERVERS:
            at.say(f"{server} away for {at.away_seconds:.0f} s")
            first, deals = at.rig.node.head(), list[str]()
            for number in range(len(STEPS)):  # a step takes a block, so each is in another one
                deals.append(f"{server}-{number}")
                await lane.start(lane.request(deals[-1]))
                await asyncio.sleep(1)
            async with _away(at, server, fronts):
                began = asyncio.get_running_loop().time()
                verdict = await _refused_or_waiting(lane, server)
                spent = asyncio.get_running_loop().time() - began
                await asyncio.sleep(max(0.0, at.away_seconds - spent))
            for deal_id in deals:
                verdict += await ended(at, lane, deal_id, first, due)
            verdict += of_account(at.rig, at.rig.treasury)
            verdict.notes = [f"{server}: {note}" for note in verdict.notes]
            group.verdict += verdict
    return group


@asynccontextmanager
async def _away(at: Setting, server: str, fronts: list[Front]) -> AsyncIterator[None]:
    """SIGKILL the server, and start it again when this ends."""
    if server == "endpoints":
        for front in fronts:
            front.down = True
        yield
        for front in fronts:
            front.down = False
        return
    await asyncio.to_thread(at.rig.stack.kill, server)
    try:
        yield
    finally:
        await asyncio.to_thread(at.rig.stack.start, server)


async def _refused_or_waiting(lane: Lane, server: str) -> Verdict:
    """A new deal meanwhile waits, or is refused with a reason; it is never half accepted."""
    verdict = Verdict()
    try:
        async with asyncio.timeout(10):
            view = await lane.start(lane.request(f"{server}-new"))
    except (TimeoutError, DealError):
        return verdict
    denied = view.status is DealStatus.DENIED
    verdict.expect(not denied or view.problem, f"{server}: a new deal was denied without a reason")
    return verdict


async def ended(at: Setting, lane: Lane, deal_id: str, first: int, due: list[Call]) -> Verdict:
    try:
        async with asyncio.timeout(_WITHIN):
            view = await lane.deal(deal_id).result()
    except TimeoutError:
        return Verdict(lost=1, notes=[f"{deal_id} did not end: {at.states(deal_id)}"])
    assert view.account is not None
    verdict = of_deal(at.rig, view.account, first, due)
    verdict.expect(view.status is DealStatus.COMPLETED, f"{deal_id}: {view.status} {view.problem}")
    return verdict


async def freeze(at: Setting) -> Group:
    """Redemption is frozen while a deal holds the tokens: others go on, each way out works."""
    group = Group("redemption frozen", cases=3)
    async with at.lane("ice") as (lane, _):
        due = await one_deal(at, lane, "ice-0")
        first = at.rig.node.head()
        async with _frozen(at, lane, "ice-1"):
            other = await lane.start_batches("ice-other")
            group.verdict += await at.verdict(other)
            view = await lane.deals.view(lane.request("ice-1").deal_id)
            group.verdict.expect(view.status is DealStatus.FROZEN, f"ice-1 is {view.status}")
        group.verdict += await ended(at, lane, "ice-1", first, due)
        async with _frozen(at, lane, "ice-2"):
            message = CommandMessage(who="on-call", why="a freeze")
            deal_id = lane.request("ice-2").deal_id
            await lane.deals.command(deal_id, Command.CANCEL, message, "cancel-ice-2")
            view = await lane.deal("ice-2").result()
        group.verdict.expect(view.status is DealStatus.UNWOUND, f"ice-2 is {view.status}")
        assert view.account is not None
        held = at.rig.node.holdings(view.account)
        group.verdict.expect(not held, f"ice-2 still holds {held}")
        group.verdict += of_account(at.rig, view.account)
    return group


@asynccontextmanager
async def _frozen(at: Setting, lane: Lane, deal_id: str) -> AsyncIterator[None]:
    """A deal that holds the discount token and cannot redeem it, until this ends."""
    try:
        with at.held():
            await lane.start(lane.request(deal_id))
            await walk_to(at, deal_id, Step.SWAP)
            at.rig.node.freeze()  # in the block of the swap
        await until(lane, deal_id, lambda view: view.status is DealStatus.FROZEN)
        yield
    finally:
        at.rig.node.thaw()


async def state_moved(at: Setting) -> Group:
    """The state moves between simulating and signing: what was simulated before is never sent."""
    group = Group("state moved before signing", cases=2)
    async with at.lane("moved") as (lane, (front,)):
        node = at.rig.node
        group.verdict += await _moved(
            at, lane, "moved-0", Step.SWAP, lambda: node.redemption_fee(_HIGHER_FEE)
        )
        sent = {f"0x{keccak(bytes.fromhex(raw[2:])).hex()}" for raw in front.sent()}
        old = set(_signed_for(at, "moved-0/redeem/1/1")) & sent
        group.verdict.expect(not old, f"what was simulated before the fee rose was sent: {old}")
        group.verdict += await _moved(at, lane, "moved-1", Step.COLLATERALIZE, lambda: _cheaper(at))
    return group


async def _moved(
    at: Setting,
    lane: Lane,
    name: str,
    before: Step,
    move: Callable[[], AbstractContextManager[None]],
) -> Verdict:
    """A deal whose step after `before` is prepared, then the state moves, then it can be signed."""
    step = STEPS[STEPS.index(before) + 1]
    with at.held():
        await lane.start(lane.request(name))
        await walk_to(at, name, before)
        at.rig.dismiss("moved-signer")
        await asyncio.sleep(1)
        at.mine()
        await is_prepared(at, name, step)
    with move():
        await asyncio.sleep(_LATER_SECONDS)
        at.rig.enrol("moved-signer", "signer", lane.environment)
        view = await asyncio.wait_for(lane.deal(name).result(), _WITHIN)
    assert view.account is not None
    verdict = of_account(at.rig, view.account)
    held = at.rig.node.holdings(view.account)
    verdict.expect(not held, f"{name} {view.status} still holds {held}")
    return verdict


@contextmanager
def _cheaper(at: Setting) -> Iterator[None]:
    """Ether at nine tenths of its usual price."""
    at.rig.node.ether_price(_USUAL_PRICE * 9 // 10)
    try:
        yield
    finally:
        at.rig.node.ether_price(_USUAL_PRICE)


def _signed_for(at: Setting, batch_key: str) -> list[str]:
    """The hashes of what was signed for a batch, no-ops left out."""
    rows = at.rig.books.rows(
        "SELECT transaction_hash FROM signing.journal"
        " WHERE decision = 'signed' AND NOT no_op AND batch = %s",
        batch_key,
    )
    return [str(row[0]) for row in rows]


async def walk_to(at: Setting, deal_id: str, last: Step) -> None:
    """Mine step by step, until this step's transactions wait in the node."""
    for step in STEPS[: STEPS.index(last) + 1]:
        await eventually(lambda step=step: _is_out(at, deal_id, step), f"{deal_id} sends {step}")
        if step is not last:
            at.mine()


def _is_out(at: Setting, deal_id: str, step: Step) -> bool:
    batch = at.rig.books.of_step(deal_id, step)
    return bool(batch) and all(
        intent.attempts and at.rig.node.knows(intent.attempts[-1]) for intent in batch
    )


async def is_prepared(at: Setting, deal_id: str, step: Step, state: str = "PREPARED") -> None:
    """Wait until all transactions of a step have this state."""

    def there() -> bool:
        return {i.state for i in at.rig.books.of_step(deal_id, step)} == {state}

    await eventually(there, f"{step} of {deal_id} is {state}")


async def until(lane: Lane, deal_id: str, holds: Callable[[DealView], bool]) -> None:
    """Wait until the deal's view is like that."""
    async with asyncio.timeout(_WITHIN):
        while not holds(await lane.deals.view(lane.request(deal_id).deal_id)):  # noqa: ASYNC110 - nobody tells us
            await asyncio.sleep(0.2)


ROWS: Final[tuple[Callable[[Setting], Awaitable[Group]], ...]] = (outages, freeze, state_moved)
