"""Deals that go well, on the real chain: settled to the wei, every transaction once."""

from __future__ import annotations

import asyncio

import pytest

from domain.deals import DealStatus, Step
from domain.errors import Conflict
from tests.support.desk import Desk
from tests.support.treasury import Treasury, check_home

ONE_CYCLE = (
    Step.FUND,
    Step.WRAP,
    Step.COLLATERALIZE,
    Step.BORROW,
    Step.SWAP,
    Step.REDEEM,
    Step.SETTLE,
    Step.SWEEP,
)


@pytest.mark.parametrize("chain_id", [138, 651940])
async def test_one_deal_completes_and_its_settlement_is_what_the_treasury_gained(
    desk: Desk, chain_id: int
) -> None:
    node = desk.node(chain_id)
    before = Treasury.of(node, desk)
    view = await desk.run(chain_id=chain_id)

    assert view.status is DealStatus.COMPLETED
    assert tuple(step.outcome.key.step for step in view.steps) == ONE_CYCLE
    assert view.settlement is not None
    assert view.settlement.profit_usd8 > 0
    assert view.settlement.par > 0 > view.settlement.ether_wei
    check_home(desk, before, view)


async def test_a_deal_keeps_its_limits_at_every_step(desk: Desk) -> None:
    view = await desk.run(max_ltv="0.2")
    assert view.sizing is not None
    assert view.sizing.bound_by == "max_ltv"
    borrowed = next(s.outcome for s in view.steps if s.outcome.key.step is Step.BORROW)
    assert 1_990 < borrowed.position.ltv_bps <= 2_000
    assert all(step.outcome.position.ltv_bps <= 2_000 for step in view.steps)
    assert all(step.outcome.position.exposure_bps <= 2_500 for step in view.steps)


async def test_three_cycles_earn_about_three_times_as_much(desk: Desk) -> None:
    node = desk.node()
    once = await desk.run(cycles=1)
    before = Treasury.of(node, desk)
    view = await desk.run(cycles=3)

    assert view.status is DealStatus.COMPLETED
    swaps = [s.outcome.key.round for s in view.steps if s.outcome.key.step is Step.SWAP]
    redeems = [s.outcome.key.round for s in view.steps if s.outcome.key.step is Step.REDEEM]
    assert swaps == redeems == [1, 2, 3]
    assert once.settlement is not None
    assert view.settlement is not None
    assert view.settlement.par == pytest.approx(3 * once.settlement.par, rel=0.01)
    check_home(desk, before, view)


async def test_twenty_deals_at_once_have_the_effect_of_twenty_deals(desk: Desk) -> None:
    node = desk.node()
    before, nonce_before = Treasury.of(node, desk), node.nonce(desk.treasury)
    views = await asyncio.gather(*(desk.run() for _ in range(20)))

    assert {view.status for view in views} == {DealStatus.COMPLETED}
    assert len({view.account for view in views}) == 20
    check_home(desk, before, *views)
    # The treasury sent one transaction a deal, and has no nonce given out and not used.
    assert node.nonce(desk.treasury) - nonce_before == 20
    assert desk.books.next_nonce(desk.treasury, 138) == node.nonce(desk.treasury)


async def test_the_same_request_again_gets_the_same_answer(desk: Desk) -> None:
    request = desk.request()
    ids = [f"{request.deal_id}-{number}" for number in range(20)]
    first, *others = await asyncio.gather(*(desk.begin(request, each) for each in ids))
    # Whoever asks by a command of his own may find the deal further on, but it is the same one.
    assert {each.created_at for each in others} == {first.created_at}
    assert {each.account for each in others} == {first.account}

    ended = await desk.end(request.deal_id)
    assert await desk.begin(request, ids[7]) == first  # the same command
    assert await desk.begin(request) == ended  # another one, for a deal that is there
    desk.books.check_exactly_once(ended, desk.node())


async def test_the_same_id_with_another_body_is_a_conflict_that_names_the_difference(
    desk: Desk,
) -> None:
    request = desk.request()
    other = request.model_copy(update={"cycles": 2})
    await desk.begin(request)
    with pytest.raises(Conflict) as running:
        await desk.begin(other)
    ended = await desk.end(request.deal_id)
    with pytest.raises(Conflict) as over:
        await desk.begin(other)
    for caught in (running, over):
        assert caught.value.problem.field == "cycles"
        assert (caught.value.problem.value, caught.value.problem.limit) == ("2", "1")
    assert (await desk.deals.view(request.deal_id)) == ended
