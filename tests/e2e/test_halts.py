"""A halt on a real stack: running deals wait where they are, exits go on, and all end well."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from domain.deals import Command, DealStatus, Step
from domain.halts import RISK_INCREASING
from starters.local import postgres
from tests.e2e.test_commands import walk_to
from tests.e2e.test_deals import ONE_CYCLE
from tests.e2e.test_kills import one_deal_in_every_step
from tests.support.desk import Desk, eventually
from tests.support.halting import forget_halts, put_halt
from tests.support.treasury import Treasury, total

TOLD = "desk halted by risk-1: the market moves"


@contextmanager
def halts_of(desk: Desk) -> Iterator[str]:
    """The URL to halt with; afterwards nothing was ever halted."""
    folder = desk.stack.folder
    try:
        yield postgres.url(folder, "deal_control")
    finally:
        forget_halts(postgres.url(folder, postgres.OWNER))


def sent_since(desk: Desk, moment: object) -> list[tuple[str, bool]]:
    """Step, and whether it is a no-op, of every attempt that was saved since then."""
    return [
        (str(row[0]), bool(row[1]))
        for row in desk.books.rows(
            "SELECT split_part(i.batch_key, '/', 2), a.no_op FROM transactions.attempts a"
            " JOIN transactions.intents i USING (intent_id) WHERE a.created_at > %s"
            " ORDER BY a.created_at",
            moment,
        )
    ]


async def test_running_deals_wait_exits_go_on_and_no_deal_begins(slow_desk: Desk) -> None:
    """One deal in the middle of each step from funding to redeeming, when the halt comes."""
    node, before = slow_desk.node(), Treasury.of(slow_desk.node(), slow_desk)
    with halts_of(slow_desk) as url:
        async with one_deal_in_every_step(slow_desk, ONE_CYCLE[:6]) as deals:
            put_halt(url, "desk", "HALTED")
            ((since,),) = slow_desk.books.rows("SELECT since FROM control.halts")
        leaving, *waiting = deals
        assert (await slow_desk.end(leaving)).status is DealStatus.COMPLETED
        for deal_id in waiting[1:]:  # the first of them has swapped, or its swap became a no-op
            paused = await slow_desk.until(deal_id, lambda view: view.doing == TOLD)
            assert paused.status is DealStatus.PAUSED
        denied = await slow_desk.start()
        assert denied.status is DealStatus.DENIED
        assert denied.problem is not None
        assert (denied.problem.code, denied.problem.message) == ("halted", TOLD)
        sent = sent_since(slow_desk, since)
        assert {step for step, no_op in sent if not no_op}.isdisjoint(map(str, RISK_INCREASING))
        assert {"settle", "sweep"} <= {step for step, _ in sent}
        put_halt(url, "desk", "ACTIVE", who="risk-2")
        views = await slow_desk.ends(*deals)
    assert {view.status for view in views} == {DealStatus.COMPLETED}
    for view in views:
        slow_desk.books.check_exactly_once(view, node)
    assert total(views).par == (Treasury.of(node, slow_desk) - before).par


async def test_what_waits_to_be_mined_when_the_halt_comes_becomes_a_no_op(desk: Desk) -> None:
    node = desk.node()
    with halts_of(desk) as url, node.held():
        deal_id = await walk_to(desk, Step.BORROW)
        put_halt(url, f"bank={(await desk.deals.view(deal_id)).request.bank}", "HALTED")

        def outbid() -> bool:
            (intent,) = desk.books.of_step(deal_id, "borrow")
            return len(intent.attempts or ()) > 1 and node.knows((intent.attempts or [""])[-1])

        await eventually(outbid, "a no-op is out in place of the loan")
        node.mine()
        await desk.until(deal_id, lambda view: "halted by risk-1" in view.doing)
        (step,) = [
            s for s in (await desk.deals.view(deal_id)).steps if s.outcome.key.step == "borrow"
        ]
        assert step.outcome.inclusions[0].no_op
        assert step.outcome.problem is not None
        assert step.outcome.problem.code == "halted"
        put_halt(url, f"bank={(await desk.deals.view(deal_id)).request.bank}", "ACTIVE", "risk-2")
    ended = await desk.end(deal_id)
    assert ended.status is DealStatus.COMPLETED
    desk.books.check_exactly_once(ended, node)


async def test_a_halted_deal_can_be_unwound_and_reducing_unwinds_the_rest(slow_desk: Desk) -> None:
    node = slow_desk.node()
    node.ask("evm_setIntervalMining", 1)
    with halts_of(slow_desk) as url:
        views = await asyncio.gather(*(slow_desk.start() for _ in range(2)))
        deals = [view.request.deal_id for view in views]
        for deal_id in deals:
            await slow_desk.until(deal_id, lambda view: len(view.steps) >= 1)
        put_halt(url, "chain=138", "HALTED")
        for deal_id in deals:
            await slow_desk.status(deal_id, DealStatus.PAUSED)
        await slow_desk.command(deals[0], Command.CANCEL)
        put_halt(url, "chain=138", "REDUCING", "risk-2")
        ended = await slow_desk.ends(*deals)
    for view in ended:
        assert view.status is DealStatus.UNWOUND
        assert view.account is not None
        assert node.holdings(view.account) == {}
        slow_desk.books.check_exactly_once(view, node)


async def test_a_halt_is_set_and_holds_while_temporal_and_the_node_are_away(
    slow_desk: Desk,
) -> None:
    """Its way depends on neither; what it stops is stopped when they are back."""
    stack, node = slow_desk.stack, slow_desk.node()
    node.ask("evm_setIntervalMining", 1)
    with halts_of(slow_desk) as url:
        deal_id = (await slow_desk.start()).request.deal_id
        await slow_desk.until(deal_id, lambda view: len(view.steps) >= 1)
        for name in ("temporal", "redis"):
            await asyncio.to_thread(stack.kill, name)
        try:
            put_halt(url, "desk", "HALTED")
            ((since,),) = slow_desk.books.rows("SELECT since FROM control.halts")
        finally:
            for name in ("temporal", "redis"):
                await asyncio.to_thread(stack.start, name)
        await slow_desk.until(deal_id, lambda view: view.doing == TOLD)
        risky = {str(step) for step in RISK_INCREASING}
        assert not [s for s, no_op in sent_since(slow_desk, since) if s in risky and not no_op]
        put_halt(url, "desk", "ACTIVE", "risk-2")
        assert (await slow_desk.end(deal_id)).status is DealStatus.COMPLETED
