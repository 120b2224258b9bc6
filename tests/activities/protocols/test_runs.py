"""The batch of a pipelined deal, built, simulated and mined on the real chain."""

import time
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pytest

from activities.protocols import aave, erc20, redemption, uniswap, weth
from activities.protocols.abi import Function
from activities.protocols.calls import SWAP_DEADLINE_SECONDS
from activities.protocols.drafts import Call, Draft
from activities.protocols.steps import StepBuilder
from activities.signing.interface import DealAccounts, SignBatch
from activities.signing.policy import check_batch
from activities.signing.records import DealRecord
from activities.transactions.interface import DeliverBatch
from domain.deals import ExecutionMode, Step
from domain.errors import DealError, LimitExceeded, NotAllowed, RedemptionFrozen
from domain.exits import debt_bound
from domain.identifiers import ChainId
from domain.transactions import Asset, Bound, StepOutcome
from tests.activities.chain import CHAIN, DOLLAR, ETHER, OWNER
from tests.activities.desk import BORROWED, MODULE, WRAPPED, Desk
from tests.activities.rpc.front import front_of

FUNCTIONS: dict[str, Function] = {
    function.selector.hex(): function
    for function in (
        *(weth.DEPOSIT, weth.WITHDRAW, erc20.APPROVE, redemption.REDEEM),
        *(uniswap.EXACT_OUTPUT_SINGLE, aave.SUPPLY, aave.BORROW, aave.REPAY, aave.WITHDRAW),
    )
}
CYCLE = ["approve", "exactOutputSingle", "approve", "approve", "redeem"]
ENTRY = ["deposit", "approve", "supply", "borrow"]
EXIT = ["approve", "repay", "withdraw", "withdraw"]


@pytest.fixture
async def funded(desk: Desk) -> Desk:
    """A pipelined deal that has its ether."""
    pipelined = desk.asking(mode=ExecutionMode.PIPELINED)
    await pipelined.run(Step.FUND)
    return pipelined


async def draft_of(desk: Desk) -> Draft:
    return await StepBuilder(desk.reader, desk.treasury).build(desk.order(Step.RUN))


async def refusal_of(desk: Desk, kind: type[DealError]) -> DealError:
    """The error of preparing the run, which leaves nothing behind."""
    with pytest.raises(kind) as caught:
        await desk.prepare(Step.RUN)
    assert await desk.store.batch(desk.order(Step.RUN).key) is None
    return caught.value


def names(calls: Sequence[Call]) -> list[str]:
    return [FUNCTIONS[call.data[2:10]].name for call in calls]


def arguments(call: Call) -> tuple[Any, ...]:
    return FUNCTIONS[call.data[2:10]].decode_arguments(bytes.fromhex(call.data[2:]))


def loan_and_purchases(draft: Draft) -> tuple[int, list[tuple[int, int]]]:
    """What is borrowed, and of every purchase what is bought for how much at the most."""
    borrow = next(call for call in draft.calls if names([call]) == ["borrow"])
    swaps = [arguments(call)[0] for call in draft.calls if names([call]) == ["exactOutputSingle"]]
    return int(arguments(borrow)[1]), [(swap[5], swap[6]) for swap in swaps]


def quote(desk: Desk, amount: int) -> int:
    tokens = (desk.profile.contract("usdt"), desk.profile.contract("usdtz"))
    found = desk.node.read("uniswap_quoter", "quoteExactInputSingle", (*tokens, amount, 100, 0))
    return int(found[0])


async def test_a_run_joins_the_calls_of_the_steps(funded: Desk) -> None:
    draft = await draft_of(funded)
    assert names(draft.calls) == [*ENTRY, *CYCLE, *EXIT]
    wrap, allow_supply, supply, borrow = draft.calls[:4]
    pool, router = (funded.profile.contract(name) for name in ("aave_pool", "uniswap_router"))
    assert (draft.sender, wrap.value) == (funded.account, WRAPPED)
    assert arguments(allow_supply) == (pool.lower(), WRAPPED)
    assert arguments(supply)[1] == WRAPPED
    assert arguments(borrow)[1] == BORROWED
    allow, buy, take_back, allow_redemption, redeem = draft.calls[4:9]
    ((_, _, fee, recipient, deadline, bought, maximum, limit),) = arguments(buy)
    assert (fee, recipient, limit) == (100, funded.account.lower(), 0)
    assert deadline == draft.timestamp + SWAP_DEADLINE_SECONDS
    assert (arguments(allow), maximum) == ((router.lower(), BORROWED), BORROWED)
    assert arguments(take_back) == (router.lower(), 0)
    assert bought == quote(funded, BORROWED) * 9_950 // 10_000  # the request's slippage is 0.005
    module = funded.profile.contract("redemption")
    assert arguments(allow_redemption) == (module.lower(), bought)
    assert arguments(redeem) == (bought, funded.account.lower())
    allow_repayment, repay, withdraw, unwrap = draft.calls[9:]
    assert arguments(allow_repayment) == (pool.lower(), debt_bound(BORROWED))
    assert (arguments(repay)[1], arguments(withdraw)[1]) == (aave.ALL, aave.ALL)
    assert arguments(unwrap) == (WRAPPED,)


async def test_every_segment_is_held_to_bounds_of_its_own(funded: Desk) -> None:
    draft = await draft_of(funded)
    segments = [(0, 1), (1, 3), (3, 4), (4, 7), (7, 9), (9, 11), (11, 12), (12, 13)]
    assert sorted({(bound.first, bound.end) for bound in draft.bounds}) == segments
    (_, ((bought, _),)) = loan_and_purchases(draft)
    purchase = [bound for bound in draft.bounds if bound.first == 4]
    assert Bound(asset=Asset.DISCOUNT, minimum=bought, maximum=bought, first=4, end=7) in purchase
    assert Bound(asset=Asset.PAR, minimum=-BORROWED, maximum=-1, first=4, end=7) in purchase
    batch = await funded.prepare(Step.RUN)
    assert batch.bounds == draft.bounds


async def run_in_one_block(desk: Desk) -> StepOutcome:
    """Prepare and deliver the run."""
    return await mined_at_once(desk, await desk.signed(await desk.prepare(Step.RUN)))


async def mined_at_once(desk: Desk, order: DeliverBatch) -> StepOutcome:
    """Deliver what is mined in one block, as on a chain that does not mine each by itself."""
    outcome = (await desk.deliver_in_one_block(order)).outcome
    assert outcome is not None
    return outcome


@pytest.mark.parametrize("cycles", [1, 3, 10])
async def test_all_of_it_is_mined_in_one_block_and_leaves_ether_and_the_profit(
    funded: Desk, cycles: int
) -> None:
    desk = funded.sized(cycles=cycles)
    outcome = await run_in_one_block(desk)
    assert outcome.problem is None
    assert len({inclusion.block_number for inclusion in outcome.inclusions}) == 1
    assert len(outcome.inclusions) == 8 + 5 * cycles
    assert set(outcome.changes) == {Asset.PAR}
    position = outcome.position
    assert position.par == outcome.changes[Asset.PAR] > 90 * DOLLAR * cycles
    left = position.model_copy(update={"wei": 0, "par": 0})
    assert left.is_empty
    for token, spender in (
        ("usdt", "uniswap_router"),
        ("usdtz", "redemption"),
        ("weth", "aave_pool"),
    ):
        allowed = desk.node.read(token, "allowance", desk.account, desk.node.manifest[spender])
        assert allowed == 0
    await desk.run(Step.SWEEP)
    assert (await desk.position()).is_empty


async def test_what_a_run_owed_held_and_swapped_in_between_is_told(funded: Desk) -> None:
    outcome = await run_in_one_block(funded.sized(cycles=3))
    course = outcome.course
    assert course is not None
    assert (outcome.position.ltv_bps, outcome.position.exposure_bps) == (0, 0)
    assert course.max_ltv_bps == 2_334  # 7,000 of 30,000 USD
    assert 1_900 < course.max_exposure_bps <= 2_500
    assert len(course.swaps) == 3
    gained = sum(swap.received - swap.spent for swap in course.swaps)
    fees = 3 * 7_000 * DOLLAR // 100
    assert 0 <= gained - outcome.changes[Asset.PAR] < fees
    assert not any(swap.selling for swap in course.swaps)


async def test_the_gas_limits_are_what_was_simulated_and_the_margin(funded: Desk) -> None:
    batch = await funded.prepare(Step.RUN)
    delivery = await funded.deliver(await funded.signed(batch))
    assert delivery.outcome is not None
    for intent, inclusion in zip(batch.intents, delivery.outcome.inclusions, strict=True):
        assert 1.3 < intent.gas_limit / inclusion.gas_used < 1.7, intent.purpose
    units = funded.profile.module(MODULE).gas_units
    assert delivery.outcome.gas_used < sum(units.values()) - units[Step.FUND]


@pytest.mark.parametrize("cycles", [1, 2, 10])
@pytest.mark.parametrize("left", [False, True], ids=["as new", "with old allowances"])
async def test_the_signer_accepts_every_run(funded: Desk, cycles: int, *, left: bool) -> None:
    desk = funded.sized(cycles=cycles)
    if left:
        for token, spender in (
            ("usdt", "uniswap_router"),
            ("usdt", "aave_pool"),
            ("usdtz", "redemption"),
            ("weth", "aave_pool"),
        ):
            manifest = desk.node.manifest
            desk.node.send_as(desk.account, token, "approve", manifest[spender], 7)
    batch = await desk.prepare(Step.RUN)
    order = SignBatch(chain_id=ChainId(CHAIN), module=MODULE, batch=batch, digest=batch.digest())
    deal = DealRecord(DealAccounts(account=desk.account, treasury=desk.treasury))
    check_batch(order, desk.policy, deal, int(time.time()))
    assert len(batch.intents) == 8 + 5 * cycles + (4 if left else 0)
    outcome = await desk.run(Step.RUN)
    assert outcome.position.debt == outcome.position.collateral == 0


async def test_where_its_gas_cannot_be_simulated_it_is_not_begun(funded: Desk) -> None:
    async with front_of(funded.node.url) as front:
        front.errors["eth_simulateV1"] = {"code": -32601, "message": "does not exist"}
        async with funded.over(front.url) as other:
            problem = (await refusal_of(other, NotAllowed)).problem
            assert (problem.field, problem.limit) == ("mode", "nodes with eth_simulateV1")
            assert "stepwise" in str(problem.next_action)
            await other.run(Step.WRAP)


class TestRefusals:
    """What a stepwise deal is refused in the middle, a run is refused before it begins."""

    async def test_a_loan_above_the_limit(self, funded: Desk) -> None:
        funded.node.send("eth_usd_feed", "setAnswer", 231_000_000_000)
        problem = (await refusal_of(funded, LimitExceeded)).problem
        assert (problem.field, problem.limit) == ("max_ltv", "3000")
        lower = funded.asking(max_ltv=Decimal("0.2"))
        assert (await refusal_of(lower, LimitExceeded)).problem.limit == "2000"

    async def test_a_purchase_above_the_exposure(self, funded: Desk) -> None:
        huge = funded.sized(borrow=7_600 * DOLLAR)
        problem = (await refusal_of(huge, LimitExceeded)).problem
        assert (problem.field, problem.limit) == ("exposure", "2500")

    async def test_one_that_does_not_pay(self, funded: Desk) -> None:
        funded.node.send("redemption", "setFeeBps", 149)
        assert (await refusal_of(funded, LimitExceeded)).problem.field == "profit"

    async def test_a_price_too_far_from_the_feed(self, funded: Desk) -> None:
        funded.node.send("usdtz_usd_feed", "setAnswer", 106_000_000)
        assert (await refusal_of(funded, LimitExceeded)).problem.field == "price_deviation"

    async def test_a_frozen_redemption_and_a_used_up_cap(self, funded: Desk) -> None:
        (_, ((bought, _),)) = loan_and_purchases(await draft_of(funded))
        funded.node.send("redemption", "setDailyCap", bought - 1)
        problem = (await refusal_of(funded, RedemptionFrozen)).problem
        assert (problem.field, problem.actual) == ("redemption_cap", str(bought))
        funded.node.send("redemption", "setFrozen", 0, True)  # noqa: FBT003 - the ABI's order
        assert (await refusal_of(funded, RedemptionFrozen)).problem.field == "redemption"

    async def test_a_fee_above_the_cap_waits(self, funded: Desk) -> None:
        async with funded.over(fees={"max_fee_per_gas_wei": 10**9}) as poor:
            with pytest.raises(DealError) as caught:
                await draft_of(poor)
        assert caught.value.problem.field == "max_fee_per_gas_wei"


class TestALittleSmaller:
    async def test_where_the_collateral_has_lost_a_little(self, funded: Desk) -> None:
        funded.node.send("eth_usd_feed", "setAnswer", 299_900_000_000)
        limited = funded.asking(max_ltv=Decimal("0.2333"))
        loan, ((bought, maximum),) = loan_and_purchases(await draft_of(limited))
        assert BORROWED * 995 // 1_000 <= loan < BORROWED
        assert loan == maximum < bought
        outcome = await limited.run(Step.RUN)
        assert outcome.problem is None

    async def test_where_the_exposure_would_be_a_little_too_much(self, funded: Desk) -> None:
        large = funded.sized(borrow=7_470 * DOLLAR)
        loan, ((bought, maximum),) = loan_and_purchases(await draft_of(large))
        assert 7_470 * DOLLAR * 995 // 1_000 <= loan < 7_470 * DOLLAR
        assert bought == quote(funded, loan) * 9_950 // 10_000
        assert maximum == loan

    async def test_by_the_cycles_that_the_daily_cap_does_not_take(self, funded: Desk) -> None:
        three = funded.sized(cycles=3)
        _, purchases = loan_and_purchases(await draft_of(three))
        assert len(purchases) == 3
        funded.node.send("redemption", "setDailyCap", sum(bought for bought, _ in purchases) - 1)
        _, fewer = loan_and_purchases(await draft_of(three))
        assert fewer == purchases[:2]


class TestTheWorldMoves:
    """Between the simulation and the block."""

    async def test_a_dearer_purchase_costs_no_more_than_the_loan_and_still_pays(
        self, funded: Desk
    ) -> None:
        order = await funded.signed(await funded.prepare(Step.RUN))
        buy(funded, 8_000_000)
        outcome = await mined_at_once(funded, order)
        assert outcome.problem is None
        assert 0 < outcome.position.par < 100 * DOLLAR

    async def test_a_segment_that_breaks_its_bound_is_a_problem_though_the_deal_has_gained(
        self, funded: Desk
    ) -> None:
        order = await funded.signed(await funded.prepare(Step.RUN))
        funded.node.send("redemption", "setFeeBps", 6)
        outcome = await mined_at_once(funded, order)
        assert all(inclusion.succeeded for inclusion in outcome.inclusions)
        assert outcome.changes[Asset.PAR] > 90 * DOLLAR
        assert outcome.problem is not None
        assert (outcome.problem.code, outcome.problem.field) == ("post_condition_failed", "par")

    @pytest.mark.parametrize("moved", ["price", "freeze"])
    async def test_whatever_reverts_everything_comes_home_by_the_way_out(
        self, funded: Desk, moved: str
    ) -> None:
        order = await funded.signed(await funded.prepare(Step.RUN))
        if moved == "price":
            buy(funded, 40_000_000)
        else:
            funded.node.send("redemption", "setFrozen", 0, True)  # noqa: FBT003 - the ABI's order
        outcome = await mined_at_once(funded, order)
        assert outcome.problem is not None
        assert outcome.problem.code == "transaction_reverted"
        if moved == "freeze":
            assert outcome.position.discount
            assert outcome.position.ltv_bps <= 3_000
            for step in (Step.UNWIND, Step.TOP_UP, Step.SETTLE):
                await funded.run(step)
        await funded.run(Step.SWEEP)
        assert (await funded.position()).is_empty

    async def test_collateral_that_earns_interest_leaves_a_rest_that_is_settled(
        self, funded: Desk
    ) -> None:
        lend_collateral(funded)
        draft = await draft_of(funded)
        assert arguments(draft.calls[-1]) == (WRAPPED - 1,)
        outcome = await run_in_one_block(funded)
        assert outcome.problem is None
        assert 0 <= outcome.position.weth <= 2
        if outcome.position.weth:
            await funded.run(Step.SETTLE)
        await funded.run(Step.SWEEP)
        assert (await funded.position()).is_empty


def buy(desk: Desk, dollars: int) -> None:
    """Somebody else buys the discount token for so many dollars."""
    node, amount = desk.node, dollars * DOLLAR
    node.send("usdt", "issue", amount)
    node.send("usdt", "approve", node.manifest["uniswap_router"], amount)
    pair = (node.manifest["usdt"], node.manifest["usdtz"])
    node.send("uniswap_router", "exactInputSingle", (*pair, 100, OWNER, 2**64, amount, 0, 0))


def lend_collateral(desk: Desk) -> None:
    """Somebody else supplies WETH and borrows a part of it, for a while."""
    node, pool = desk.node, desk.node.manifest["aave_pool"]
    token = node.manifest["weth"]
    node.give_ether(OWNER, 1_000 * ETHER)
    node.ask(
        "eth_sendTransaction",
        {"from": OWNER, "to": token, "value": hex(500 * ETHER), "gas": hex(100_000)},
    )
    node.send("weth", "approve", pool, 500 * ETHER)
    node.send("aave_pool", "supply", token, 500 * ETHER, OWNER, 0)
    node.send("aave_pool", "borrow", token, 100 * ETHER, aave.VARIABLE_RATE, 0, OWNER)
    node.mine(2, 3_600)
