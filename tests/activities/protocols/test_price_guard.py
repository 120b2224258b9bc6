"""Swaps on the real chain whose pool or feed has been moved, and honest ones."""

from fractions import Fraction

import pytest

from activities.protocols import uniswap
from activities.protocols.steps import Draft, StepBuilder
from domain.deals import Step
from domain.errors import DealError, LimitExceeded, Problem
from tests.activities.desk import BORROWED, MODULE, UP_TO_BORROW, UP_TO_SWAP, Desk
from tests.activities.protocols.pushing import push, spot

PAR = 10**8
HIGH, HONEST, LOW = Fraction("1.05"), Fraction("0.985"), Fraction("0.95")


async def draft_of(desk: Desk, step: Step) -> Draft:
    return await StepBuilder(desk.reader, desk.treasury).build(desk.order(step))


async def refusal_of(desk: Desk, step: Step) -> Problem:
    with pytest.raises(DealError) as caught:
        await draft_of(desk, step)
    assert isinstance(caught.value, LimitExceeded)
    return caught.value.problem


def minimum(draft: Draft) -> int:
    data = bytes.fromhex(draft.calls[-1].data[2:])
    ((*_, least, _),) = uniswap.EXACT_INPUT_SINGLE.decode_arguments(data)
    return int(least)


def freeze(desk: Desk) -> None:
    desk.node.send("redemption", "setFrozen", 0, True)  # noqa: FBT003 - the ABI's order


async def test_an_honest_deal_buys_and_sells_back(desk: Desk) -> None:
    await desk.walk(UP_TO_SWAP)
    freeze(desk)
    outcome = await desk.run(Step.UNWIND)
    assert outcome.position.discount == 0


async def test_a_pool_pushed_up_before_the_swap_is_not_bought_from(desk: Desk) -> None:
    await desk.walk(UP_TO_BORROW)
    push(desk.node, HIGH)
    assert spot(desk.node) > 1.03
    problem = await refusal_of(desk, Step.SWAP)
    assert (problem.field, problem.limit) == ("price_deviation", "300")
    assert int(problem.actual or 0) > 300


async def test_a_pool_pushed_down_is_suspicious_however_cheap_it_is(desk: Desk) -> None:
    await desk.walk(UP_TO_BORROW)
    push(desk.node, LOW)
    assert spot(desk.node) < 0.97
    assert (await refusal_of(desk, Step.SWAP)).field == "price_deviation"


async def test_a_pool_pushed_down_before_selling_back_is_not_sold_to(desk: Desk) -> None:
    await desk.walk(UP_TO_SWAP)
    freeze(desk)
    push(desk.node, LOW)
    problem = await refusal_of(desk, Step.UNWIND)
    assert (problem.field, problem.limit) == ("price_deviation", "300")
    push(desk.node, HONEST)  # the attacker takes back what was put in
    outcome = await desk.run(Step.UNWIND)
    assert outcome.position.discount == 0


async def test_redeeming_needs_no_price(desk: Desk) -> None:
    await desk.walk(UP_TO_SWAP)
    push(desk.node, LOW)
    desk.node.send("usdtz_usd_feed", "setAnswer", 0)
    await draft_of(desk, Step.UNWIND)


@pytest.mark.parametrize(
    ("feed", "answer"),
    [("usdtz_usd_feed", PAR * 95 // 100), ("usdt_usd_feed", PAR * 105 // 100)],
)
async def test_a_feed_that_has_moved_away_from_the_pool_stops_both_ways(
    desk: Desk, feed: str, answer: int
) -> None:
    await desk.walk(UP_TO_BORROW)
    desk.node.send(feed, "setAnswer", answer)
    assert (await refusal_of(desk, Step.SWAP)).field == "price_deviation"
    desk.node.send("usdtz", "mint", desk.account, BORROWED)
    freeze(desk)
    assert (await refusal_of(desk, Step.UNWIND)).field == "price_deviation"
    desk.node.send(feed, "setAnswer", PAR)
    await draft_of(desk, Step.UNWIND)


async def test_a_limit_is_the_modules_own(desk: Desk) -> None:
    await desk.walk(UP_TO_BORROW)
    for limit, passes in ((151, True), (149, False)):
        module = desk.profile.module(MODULE).model_copy(update={"max_price_deviation_bps": limit})
        async with desk.over(modules={MODULE: module}) as other:
            if passes:
                await draft_of(other, Step.SWAP)
            else:
                problem = await refusal_of(other, Step.SWAP)
                assert (problem.field, problem.actual) == ("price_deviation", "151")


async def test_the_least_accepted_is_within_the_limit_even_if_the_slippage_is_not(
    desk: Desk,
) -> None:
    held = (await desk.walk(UP_TO_SWAP)).discount
    freeze(desk)
    patient = desk.asking(max_slippage=desk.request.max_slippage * 10)  # 5 %
    assert minimum(await draft_of(patient, Step.UNWIND)) == -(-held * 97 // 100)


@pytest.mark.parametrize("feed", ["usdt_usd_feed", "usdtz_usd_feed"])
async def test_a_feed_that_is_too_old_stops_both_ways(desk: Desk, feed: str) -> None:
    await desk.walk(UP_TO_SWAP)
    freeze(desk)
    now = int(desk.node.block()["timestamp"], 16)
    desk.node.send(feed, "setRound", PAR, now - 90_100)
    problem = await refusal_of(desk, Step.UNWIND)
    assert (problem.field, problem.value, problem.limit) == ("price_age", feed, "90000 seconds")
    problem = await refusal_of(desk, Step.SWAP)
    assert problem.field == "price_age"
    desk.node.send(feed, "setRound", PAR, now - 80_000)
    await draft_of(desk, Step.UNWIND)


async def test_a_feed_without_a_price_is_refused(desk: Desk) -> None:
    await desk.walk(UP_TO_BORROW)
    desk.node.send("usdtz_usd_feed", "setAnswer", 0)
    problem = await refusal_of(desk, Step.SWAP)
    assert (problem.field, problem.actual) == ("price_feed", "0")


async def test_without_feeds_the_pool_is_held_against_what_redemption_pays(desk: Desk) -> None:
    await desk.walk(UP_TO_BORROW)
    module = desk.profile.module(MODULE).model_copy(
        update={"par_feed": None, "discount_feed": None, "max_price_deviation_bps": 146}
    )
    async with desk.over(modules={MODULE: module}) as other:
        await draft_of(other, Step.SWAP)  # 0.985 of 0.9995: 145.1 basis points
        desk.node.send("redemption", "setFeeBps", 3)
        assert (await refusal_of(other, Step.SWAP)).field == "price_deviation"


async def test_a_pool_that_somebody_has_emptied_is_refused_and_does_not_keep_from_redeeming(
    desk: Desk,
) -> None:
    await desk.walk(UP_TO_BORROW)
    push(desk.node, Fraction("1.3"))  # beyond all its liquidity
    assert (await refusal_of(desk, Step.SWAP)).field == "price_deviation"
    desk.node.send("usdtz", "mint", desk.account, BORROWED)
    await desk.run(Step.UNWIND)


async def test_selling_back_to_a_pool_that_cannot_pay_is_refused(desk: Desk) -> None:
    await desk.walk(UP_TO_SWAP)
    freeze(desk)
    push(desk.node, Fraction("0.7"))
    assert (await refusal_of(desk, Step.UNWIND)).field == "price_deviation"
