"""What was simulated, on a chain that has moved since."""

from fractions import Fraction

import pytest

from activities.transactions.recheck import is_due, recheck
from activities.transactions.simulation import Simulator
from domain.deals import Step
from domain.errors import LimitExceeded, Problem, SimulationFailed, Unavailable
from domain.transactions import Asset, Fees, PreparedBatch
from tests.activities.chain import ETHER
from tests.activities.desk import UP_TO_BORROW, UP_TO_REDEEM, UP_TO_SWAP, Desk
from tests.activities.protocols.pushing import push
from tests.activities.rpc.front import front_of

WHOLE_DEAL = (*UP_TO_REDEEM, Step.SETTLE, Step.SWEEP)


async def again(desk: Desk, batch: PreparedBatch) -> Problem | None:
    simulator = Simulator(desk.profile, desk.rpc)
    return await recheck(simulator, desk.reader, batch, desk.request)


async def refused(desk: Desk, batch: PreparedBatch) -> Problem:
    problem = await again(desk, batch)
    assert problem is not None
    assert problem.code == SimulationFailed.code  # of which the step is built anew
    return problem


@pytest.mark.parametrize("method", ["eth_simulateV1", "eth_call"])
async def test_in_a_market_that_stands_still_every_step_may_still_be_sent(
    desk: Desk, method: str
) -> None:
    async with front_of(desk.node.url) as front:
        if method == "eth_call":
            front.errors["eth_simulateV1"] = {"code": -32601, "message": "Method not found"}
        async with desk.over(front.url) as other:
            for number, step in enumerate((*WHOLE_DEAL, Step.SWEEP)):
                if (await desk.position()).is_empty and step is Step.SWEEP:
                    break
                batch = await other.prepare(step, number=number + 1)
                desk.node.mine(60)
                assert await again(other, batch) is None, step
                assert (await other.deliver(await other.signed(batch))).outcome is not None


async def test_one_that_would_revert_now_is_not_sent(desk: Desk) -> None:
    await desk.walk(UP_TO_SWAP)
    batch = await desk.prepare(Step.REDEEM)
    desk.node.send("redemption", "setFrozen", 0, True)  # noqa: FBT003 - the ABI's order
    problem = await refused(desk, batch)
    assert (problem.field, problem.message) == (
        "Redeem at par",
        "Redeem at par would revert: Frozen(0)",
    )


async def test_one_that_its_sender_cannot_pay_any_more_is_not_sent(desk: Desk) -> None:
    batch = await desk.prepare(Step.FUND)
    desk.node.give_ether(desk.treasury, ETHER)
    assert (await refused(desk, batch)).field == "sender"


async def test_one_that_would_break_its_bounds_now_is_not_sent(desk: Desk) -> None:
    await desk.walk(UP_TO_SWAP)
    batch = await desk.prepare(Step.REDEEM)
    desk.node.send("redemption", "setFeeBps", 6)
    problem = await refused(desk, batch)
    assert problem.field == Asset.PAR
    assert problem.limit is not None
    assert problem.next_action == "the deal gives the batch up and prepares it anew"


async def test_a_loan_that_is_too_large_by_now_is_not_sent(desk: Desk) -> None:
    """Its amounts are the same, and Aave would grant it."""
    await desk.walk(UP_TO_BORROW[:-1])
    batch = await desk.prepare(Step.BORROW)
    desk.node.send("eth_usd_feed", "setAnswer", 2_100 * 10**8)  # of 3,000 USD
    problem = await again(desk, batch)
    assert problem is not None
    assert (problem.code, problem.field) == (LimitExceeded.code, "max_ltv")
    assert int(str(problem.actual)) > int(str(problem.limit)) == desk.request.max_ltv_bps
    desk.node.send("eth_usd_feed", "setAnswer", 3_000 * 10**8)
    assert await again(desk, batch) is None


@pytest.mark.parametrize("price", ["0.9895", "0.9851", "0.9805"])
async def test_a_market_that_has_moved_within_the_tolerance_is_still_traded_with(
    desk: Desk, price: str
) -> None:
    await desk.walk(UP_TO_BORROW)
    batch = await desk.prepare(Step.SWAP)  # at 0.985, with a tolerance of 0.5 %
    push(desk.node, Fraction(price))
    assert await again(desk, batch) is None


async def test_one_that_is_cheaper_by_more_than_that_is_not_what_was_simulated(
    desk: Desk,
) -> None:
    await desk.walk(UP_TO_BORROW)
    batch = await desk.prepare(Step.SWAP)
    push(desk.node, Fraction("0.9795"))
    problem = await refused(desk, batch)
    assert problem.field == Asset.DISCOUNT
    promised = batch.simulated_changes[Asset.DISCOUNT]
    assert problem.limit == f"{promised - promised // 200} to {promised + promised // 200}"
    assert int(problem.actual or 0) > promised + promised // 200


async def test_a_dearer_market_fails_by_the_swaps_own_minimum(desk: Desk) -> None:
    await desk.walk(UP_TO_BORROW)
    batch = await desk.prepare(Step.SWAP)
    push(desk.node, Fraction("0.995"))
    assert "Too little received" in (await refused(desk, batch)).message


async def test_a_replacement_is_looked_at_with_the_value_that_it_has(desk: Desk) -> None:
    await desk.run(Step.FUND)
    batch = await desk.prepare(Step.SWEEP)
    fees = batch.intents[0].fees
    higher = Fees(
        max_fee_per_gas=2 * fees.max_fee_per_gas,
        max_priority_fee_per_gas=2 * fees.max_priority_fee_per_gas,
    )
    bumped = batch.with_fees({batch.intents[0].intent_id: higher})
    assert await again(desk, bumped) is None


async def test_without_an_answer_nothing_is_said(desk: Desk) -> None:
    batch = await desk.prepare(Step.FUND)
    async with front_of(desk.node.url, down=True) as front, desk.over(front.url) as other:
        with pytest.raises(Unavailable):
            await again(other, batch)


async def test_it_is_due_after_two_blocks_and_never_for_no_ops(desk: Desk) -> None:
    batch = await desk.prepare(Step.FUND)
    fresh, old = batch.prepared_at + 2, batch.prepared_at + 2.5
    assert not is_due(desk.profile, batch, fresh)
    assert is_due(desk.profile, batch, old)
    assert not is_due(desk.profile, batch.no_ops(), old)
    slow = desk.profile.model_copy(update={"block_time_seconds": 12})
    assert not is_due(slow, batch, batch.prepared_at + 24)
