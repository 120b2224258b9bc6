"""The calls of each step, built on the real chain, and what is refused."""

from decimal import Decimal
from typing import Any

import pytest

from activities.protocols import aave, erc20, redemption, uniswap, weth
from activities.protocols.abi import Function
from activities.protocols.calls import SWAP_DEADLINE_SECONDS
from activities.protocols.drafts import Call, Draft
from activities.protocols.steps import StepBuilder
from domain.amounts import UINT256_MAX
from domain.deals import Step
from domain.errors import DealError, LimitExceeded, NotAllowed, RedemptionFrozen, Unavailable
from domain.exits import debt_bound, topped_up
from domain.market import RedemptionTerms
from domain.swaps import break_even
from domain.transactions import Asset, Bound, Fees
from tests.activities.chain import DOLLAR, ETHER, GWEI, OWNER, Node
from tests.activities.desk import (
    BORROWED,
    RESERVE,
    UP_TO_BORROW,
    UP_TO_REDEEM,
    UP_TO_SWAP,
    WRAPPED,
    Desk,
)

REDEEM = 0


async def draft_of(desk: Desk, step: Step) -> Draft:
    return await StepBuilder(desk.reader, desk.treasury).build(desk.order(step))


async def refusal_of(desk: Desk, step: Step, kind: type[DealError]) -> DealError:
    with pytest.raises(kind) as caught:
        await draft_of(desk, step)
    return caught.value


def arguments(call: Call, function: Function) -> tuple[Any, ...]:
    return function.decode_arguments(bytes.fromhex(call.data[2:]))


def exactly(asset: Asset, change: int) -> Bound:
    return Bound(asset=asset, minimum=change, maximum=change)


def frozen(node: Node, *, on: bool) -> None:
    node.send("redemption", "setFrozen", REDEEM, on)


def allow(desk: Desk, token: str, spender: str, amount: int) -> None:
    """Leave an allowance behind, as an earlier attempt of the step would."""
    node = desk.node
    node.send_as(desk.account, token, "approve", node.manifest[spender], amount)


def approvals(draft: Draft) -> list[int]:
    """The amounts that the draft approves, in order."""
    selector = "0x" + erc20.APPROVE.selector.hex()
    calls = [call for call in draft.calls if call.data.startswith(selector)]
    return [arguments(call, erc20.APPROVE)[1] for call in calls]


async def test_fund_sends_liquidity_and_reserve_from_the_treasury(desk: Desk) -> None:
    draft = await draft_of(desk, Step.FUND)
    (call,) = draft.calls
    assert draft.sender == desk.treasury
    assert (call.to, call.data, call.value) == (desk.account, "0x", WRAPPED + RESERVE)
    assert draft.bounds == (exactly(Asset.ETHER, WRAPPED + RESERVE),)
    assert draft.mined_nonce == desk.node.nonce(desk.treasury)


async def test_a_draft_says_what_it_was_built_from(desk: Desk) -> None:
    await desk.run(Step.FUND)
    draft = await draft_of(desk, Step.WRAP)
    assert draft.sender == desk.account
    assert draft.mined_nonce == 0
    assert draft.balance_wei == WRAPPED + RESERVE
    assert draft.block_number == desk.node.head()
    assert 0 <= draft.timestamp - int(desk.node.block()["timestamp"], 16) <= 60
    assert draft.fees == draft.level.maximum


async def test_wrap_deposits_the_liquidity(desk: Desk) -> None:
    await desk.run(Step.FUND)
    draft = await draft_of(desk, Step.WRAP)
    (call,) = draft.calls
    assert (call.to, call.value) == (desk.profile.contract("weth"), WRAPPED)
    assert arguments(call, weth.DEPOSIT) == ()
    assert set(draft.bounds) == {exactly(Asset.WETH, WRAPPED), exactly(Asset.ETHER, -WRAPPED)}


async def test_collateralize_approves_and_supplies_the_same_amount(desk: Desk) -> None:
    await desk.walk((Step.FUND, Step.WRAP))
    draft = await draft_of(desk, Step.COLLATERALIZE)
    approve, supply = draft.calls
    pool, token = desk.profile.contract("aave_pool"), desk.profile.contract("weth")
    assert (approve.to, supply.to) == (token, pool)
    assert arguments(approve, erc20.APPROVE) == (pool.lower(), WRAPPED)
    assert arguments(supply, aave.SUPPLY) == (token.lower(), WRAPPED, desk.account.lower(), 0)
    assert exactly(Asset.WETH, -WRAPPED) in draft.bounds


async def test_borrow_takes_the_size_at_the_variable_rate(desk: Desk) -> None:
    await desk.walk((Step.FUND, Step.WRAP, Step.COLLATERALIZE))
    draft = await draft_of(desk, Step.BORROW)
    (call,) = draft.calls
    usdt = desk.profile.contract("usdt").lower()
    assert arguments(call, aave.BORROW) == (usdt, BORROWED, 2, 0, desk.account.lower())
    assert exactly(Asset.PAR, BORROWED) in draft.bounds


class TestBorrowWithinTheLimit:
    """Borrowing 7,000 USD against 10 ETH, with a slippage of 0.5 %."""

    @pytest.fixture
    async def supplied(self, desk: Desk) -> Desk:
        await desk.walk((Step.FUND, Step.WRAP, Step.COLLATERALIZE))
        return desk

    async def borrowing(self, desk: Desk) -> int:
        (call,) = (await draft_of(desk, Step.BORROW)).calls
        return int(arguments(call, aave.BORROW)[1])

    async def test_a_price_at_which_the_limit_just_holds_changes_nothing(
        self, supplied: Desk
    ) -> None:
        # 7,000 of 23,333.33333334 USD
        supplied.node.send("eth_usd_feed", "setAnswer", 233_333_333_334)
        assert await self.borrowing(supplied) == BORROWED

    @pytest.mark.parametrize("price", [233_333_333_333, 232_500_000_000])
    async def test_a_price_a_little_lower_borrows_as_much_as_the_limit_allows(
        self, supplied: Desk, price: int
    ) -> None:
        supplied.node.send("eth_usd_feed", "setAnswer", price)
        amount = await self.borrowing(supplied)
        collateral_usd8 = 10 * price
        # 1e-8 USD and 1e-6 tokens; the next unit would be over it.
        assert amount * 100 <= collateral_usd8 * 3 // 10 < (amount + 1) * 100
        await supplied.run(Step.BORROW)
        assert (await supplied.position()).ltv_bps <= 3_000

    async def test_a_price_lower_by_more_than_the_slippage_is_refused(self, supplied: Desk) -> None:
        supplied.node.send("eth_usd_feed", "setAnswer", 232_166_666_700)  # 0.5 % lower
        await draft_of(supplied, Step.BORROW)
        supplied.node.send("eth_usd_feed", "setAnswer", 232_166_000_000)
        error = await refusal_of(supplied, Step.BORROW, LimitExceeded)
        problem = error.problem
        assert (problem.field, problem.limit, problem.actual) == ("max_ltv", "3000", "3016")
        assert not error.retryable

    async def test_the_deals_own_limit_counts_if_it_is_lower(self, supplied: Desk) -> None:
        assert await self.borrowing(supplied.asking(max_ltv=Decimal("0.2334"))) == BORROWED
        lower = supplied.asking(max_ltv=Decimal("0.2333"))
        assert await self.borrowing(lower) == 6_999 * DOLLAR
        lowest = supplied.asking(max_ltv=Decimal("0.2321"))
        problem = (await refusal_of(lowest, Step.BORROW, LimitExceeded)).problem
        assert (problem.limit, problem.actual) == ("2321", "2334")

    async def test_what_is_owed_already_counts(self, supplied: Desk) -> None:
        await supplied.run(Step.BORROW)
        problem = (await refusal_of(supplied, Step.BORROW, LimitExceeded)).problem
        assert problem.actual in {"4667", "4668"}

    async def test_a_dearer_par_token_counts(self, supplied: Desk) -> None:
        supplied.node.send("usdt_usd_feed", "setAnswer", 130_000_000)
        problem = (await refusal_of(supplied, Step.BORROW, LimitExceeded)).problem
        assert problem.actual == "3034"

    async def test_without_any_collateral_it_is_refused(self, desk: Desk) -> None:
        await desk.run(Step.FUND)
        problem = (await refusal_of(desk, Step.BORROW, LimitExceeded)).problem
        assert problem.field == "max_ltv"


async def test_swap_sells_the_size_for_the_quote_less_the_slippage(desk: Desk) -> None:
    await desk.walk(UP_TO_BORROW)
    draft = await draft_of(desk, Step.SWAP)
    approve, swap = draft.calls
    router = desk.profile.contract("uniswap_router")
    assert arguments(approve, erc20.APPROVE) == (router.lower(), BORROWED)
    ((give, get, fee, recipient, deadline, amount, minimum, limit),) = arguments(
        swap, uniswap.EXACT_INPUT_SINGLE
    )
    pair = (desk.profile.contract("usdt").lower(), desk.profile.contract("usdtz").lower())
    assert (swap.to, give, get, fee) == (router, *pair, 100)
    assert (recipient, amount, limit) == (desk.account.lower(), BORROWED, 0)
    assert deadline == draft.timestamp + SWAP_DEADLINE_SECONDS
    tokens = (desk.profile.contract("usdt"), desk.profile.contract("usdtz"))
    asked = (*tokens, BORROWED, 100, 0)
    quote = desk.node.read("uniswap_quoter", "quoteExactInputSingle", asked)[0]
    assert minimum == quote * 9_950 // 10_000  # the request's slippage is 0.005
    assert Bound(asset=Asset.DISCOUNT, minimum=minimum, maximum=UINT256_MAX) in draft.bounds
    assert exactly(Asset.PAR, -BORROWED) in draft.bounds


async def test_swap_never_accepts_less_than_redeems_for_what_it_costs(desk: Desk) -> None:
    await desk.walk(UP_TO_BORROW)
    patient = desk.asking(max_slippage=desk.request.max_slippage * 10)  # 5 %, above the discount
    draft = await draft_of(patient, Step.SWAP)
    ((*_, minimum, _),) = arguments(draft.calls[-1], uniswap.EXACT_INPUT_SINGLE)
    redeemed = desk.node.contract("redemption").functions.quoteRedeem
    assert redeemed(minimum).call() == BORROWED + 1
    assert redeemed(minimum - 1).call() <= BORROWED


async def test_swap_is_refused_when_it_would_not_pay(desk: Desk) -> None:
    await desk.walk(UP_TO_BORROW)
    # The discount is 1.5 % less the pool's fee: redeeming at 1.48 % pays, at 1.49 % no more.
    desk.node.send("redemption", "setFeeBps", 148)
    await draft_of(desk, Step.SWAP)
    desk.node.send("redemption", "setFeeBps", 149)
    error = await refusal_of(desk, Step.SWAP, LimitExceeded)
    assert error.problem.field == "profit"
    assert not error.retryable


@pytest.mark.parametrize(
    ("fee_bps", "spent", "fewest"),
    [(0, 100, 101), (5, 10_000, 10_007), (10_000, 1, UINT256_MAX), (9_999, 1, 20_000)],
)
def test_breaking_even_is_the_fewest_tokens_that_redeem_for_more(
    fee_bps: int, spent: int, fewest: int
) -> None:
    terms = RedemptionTerms(fee_bps=fee_bps, frozen=False, remaining_today=0)
    assert break_even(terms, spent) == fewest
    if fee_bps < 10_000:
        assert terms.paid(fewest) > spent >= terms.paid(fewest - 1)


async def test_a_swap_a_little_too_large_for_the_exposure_is_made_smaller(desk: Desk) -> None:
    # Of S bought for 0.985 S the exposure is about S / (30,000 + 0.015 S): a quarter at 7,415.
    large = desk.sized(borrow=7_430 * DOLLAR)
    await large.walk(UP_TO_BORROW)
    sold = arguments((await draft_of(large, Step.SWAP)).calls[0], erc20.APPROVE)[1]
    assert 7_430 * 0.995 * DOLLAR <= sold < 7_416 * DOLLAR
    outcome = await large.run(Step.SWAP)
    assert outcome.position.exposure_bps <= 2_500


async def test_a_swap_takes_no_more_than_was_borrowed(desk: Desk) -> None:
    await desk.walk(UP_TO_BORROW)
    larger = desk.sized(borrow=BORROWED + 5 * DOLLAR)
    sold = arguments((await draft_of(larger, Step.SWAP)).calls[0], erc20.APPROVE)[1]
    assert sold == BORROWED


def swapped(draft: Draft) -> int:
    """The par tokens that the draft spends."""
    ((*_, amount, _, _),) = arguments(draft.calls[-1], uniswap.EXACT_INPUT_SINGLE)
    return int(amount)


class TestExposure:
    """Of S bought for 0.985 S it is about S / (30,000 + 0.015 S): a quarter at 7,415."""

    async def test_a_swap_within_the_limit_is_the_one_that_was_sized(self, desk: Desk) -> None:
        small = desk.sized(borrow=7_414 * DOLLAR)
        await small.walk(UP_TO_BORROW)
        assert swapped(await draft_of(small, Step.SWAP)) == 7_414 * DOLLAR

    async def test_a_swap_a_little_too_large_is_made_smaller(self, desk: Desk) -> None:
        large = desk.sized(borrow=7_430 * DOLLAR)
        await large.walk(UP_TO_BORROW)
        draft = await draft_of(large, Step.SWAP)
        assert approvals(draft) == [swapped(draft)]
        assert 7_400 * DOLLAR < swapped(draft) <= 7_415 * DOLLAR
        await large.run(Step.SWAP)
        position = await large.position()
        assert 2_490 < position.exposure_bps <= 2_500
        assert position.par == 7_430 * DOLLAR - swapped(draft)

    async def test_one_that_is_larger_by_more_than_the_slippage_is_refused(
        self, desk: Desk
    ) -> None:
        huge = desk.sized(borrow=7_500 * DOLLAR)
        await huge.walk(UP_TO_BORROW)
        error = await refusal_of(huge, Step.SWAP, LimitExceeded)
        problem = error.problem
        assert (problem.field, problem.limit, problem.actual) == ("exposure", "2500", "2529")
        assert not error.retryable

    async def test_what_was_not_borrowed_is_not_swapped(self, desk: Desk) -> None:
        await desk.walk((Step.FUND, Step.WRAP, Step.COLLATERALIZE))
        desk.node.send("eth_usd_feed", "setAnswer", 232_500_000_000)
        borrowed = (await desk.walk((Step.BORROW,))).par
        assert borrowed < BORROWED
        desk.node.send("eth_usd_feed", "setAnswer", 300_000_000_000)
        assert swapped(await draft_of(desk, Step.SWAP)) == borrowed


async def test_what_is_held_already_counts_as_exposure(desk: Desk) -> None:
    await desk.walk(UP_TO_BORROW)
    desk.node.send("usdtz", "mint", desk.account, 2_000 * DOLLAR)
    problem = (await refusal_of(desk, Step.SWAP, LimitExceeded)).problem
    assert problem.field == "exposure"


async def test_redeem_hands_in_everything_that_is_held(desk: Desk) -> None:
    held = (await desk.walk(UP_TO_SWAP)).discount
    draft = await draft_of(desk, Step.REDEEM)
    approve, redeem = draft.calls
    module = desk.profile.contract("redemption")
    assert arguments(approve, erc20.APPROVE) == (module.lower(), held)
    assert arguments(redeem, redemption.REDEEM) == (held, desk.account.lower())
    paid = desk.node.read("redemption", "quoteRedeem", held)
    assert set(draft.bounds) == {exactly(Asset.DISCOUNT, -held), exactly(Asset.PAR, paid)}


async def test_redeem_waits_while_redemption_is_frozen(desk: Desk) -> None:
    await desk.walk(UP_TO_SWAP)
    frozen(desk.node, on=True)
    problem = (await refusal_of(desk, Step.REDEEM, RedemptionFrozen)).problem
    assert (problem.field, problem.actual) == ("redemption", "frozen")
    frozen(desk.node, on=False)
    await draft_of(desk, Step.REDEEM)


async def test_redeem_waits_when_the_daily_cap_is_used_up(desk: Desk) -> None:
    held = (await desk.walk(UP_TO_SWAP)).discount
    desk.node.send("redemption", "setDailyCap", held - 1)
    problem = (await refusal_of(desk, Step.REDEEM, RedemptionFrozen)).problem
    assert (problem.field, problem.limit) == ("redemption_cap", str(held - 1))
    assert problem.actual == str(held)
    desk.node.send("redemption", "setDailyCap", held)
    await draft_of(desk, Step.REDEEM)


async def test_redeem_waits_while_the_reserve_is_short(desk: Desk) -> None:
    held = (await desk.walk(UP_TO_SWAP)).discount
    paid = desk.node.read("redemption", "quoteRedeem", held)
    reserve = desk.node.balance("usdt", desk.node.manifest["redemption"])
    desk.node.send("redemption", "withdrawReserve", reserve - paid + 1, OWNER)
    problem = (await refusal_of(desk, Step.REDEEM, RedemptionFrozen)).problem
    assert (problem.field, problem.limit) == ("redemption_reserve", str(paid - 1))
    assert problem.actual == str(paid)
    assert "wait for its reserve" in problem.next_action
    desk.node.send("usdt", "transfer", desk.node.manifest["redemption"], 1)
    await desk.run(Step.REDEEM)


async def test_top_up_makes_up_what_is_missing_to_repay(desk: Desk) -> None:
    position = await desk.walk(UP_TO_SWAP)
    assert position.par == 0
    draft = await draft_of(desk, Step.TOP_UP)
    (call,) = draft.calls
    recipient, amount = arguments(call, erc20.TRANSFER)
    assert (draft.sender, call.to) == (desk.treasury, desk.profile.contract("usdt"))
    assert recipient == desk.account.lower()
    assert 0 <= amount - topped_up(position.debt) < DOLLAR  # interest of a moment
    desk.node.send("usdt", "transfer", desk.account, 5_000 * DOLLAR)
    less = arguments((await draft_of(desk, Step.TOP_UP)).calls[0], erc20.TRANSFER)[1]
    assert 0 <= less - (amount - 5_000 * DOLLAR) < DOLLAR
    desk.node.send("usdt", "transfer", desk.account, less + DOLLAR)
    await refusal_of(desk, Step.TOP_UP, NotAllowed)


async def test_unwind_redeems_while_redemption_is_open(desk: Desk) -> None:
    held = (await desk.walk(UP_TO_SWAP)).discount
    draft = await draft_of(desk, Step.UNWIND)
    assert arguments(draft.calls[-1], redemption.REDEEM) == (held, desk.account.lower())
    assert approvals(draft) == [held]


@pytest.mark.parametrize("closed", ["frozen", "cap", "reserve"])
async def test_unwind_sells_back_at_a_bounded_loss_when_redemption_is_closed(
    desk: Desk, closed: str
) -> None:
    held = (await desk.walk(UP_TO_SWAP)).discount
    if closed == "frozen":
        frozen(desk.node, on=True)
    elif closed == "cap":
        desk.node.send("redemption", "setDailyCap", held - 1)
    else:
        reserve = desk.node.balance("usdt", desk.node.manifest["redemption"])
        left = desk.node.read("redemption", "quoteRedeem", held) - 1
        desk.node.send("redemption", "withdrawReserve", reserve - left, OWNER)
    draft = await draft_of(desk, Step.UNWIND)
    ((give, get, _, recipient, _, amount, minimum, _),) = arguments(
        draft.calls[-1], uniswap.EXACT_INPUT_SINGLE
    )
    usdt, usdtz = (desk.profile.contract(name).lower() for name in ("usdt", "usdtz"))
    assert (give, get, recipient, amount) == (usdtz, usdt, desk.account.lower(), held)
    assert 0.979 < minimum / held < 0.981
    assert Bound(asset=Asset.PAR, minimum=minimum, maximum=UINT256_MAX) in draft.bounds
    await desk.run(Step.UNWIND)
    position = await desk.position()
    assert position.discount == 0
    assert position.par >= minimum


async def test_settle_repays_withdraws_and_unwraps(desk: Desk) -> None:
    await desk.walk(UP_TO_REDEEM)
    draft = await draft_of(desk, Step.SETTLE)
    approve, repay, withdraw, unwrap = draft.calls
    debt = (await desk.position()).debt
    usdt, token = desk.profile.contract("usdt").lower(), desk.profile.contract("weth").lower()
    approved = arguments(approve, erc20.APPROVE)[1]
    assert debt < approved <= debt_bound(debt)
    assert arguments(repay, aave.REPAY) == (usdt, aave.ALL, 2, desk.account.lower())
    assert arguments(withdraw, aave.WITHDRAW) == (token, aave.ALL, desk.account.lower())
    assert arguments(unwrap, weth.WITHDRAW) == (WRAPPED,)
    assert exactly(Asset.ETHER, WRAPPED) in draft.bounds


async def test_settle_does_what_of_it_there_is_to_do(desk: Desk) -> None:
    def called(draft: Draft) -> list[str]:
        names = {
            function.selector.hex(): function.name
            for function in (erc20.APPROVE, aave.REPAY, aave.WITHDRAW, weth.WITHDRAW)
        }
        return [names[call.data[2:10]] for call in draft.calls]

    await desk.walk((Step.FUND, Step.WRAP))
    draft = await draft_of(desk, Step.SETTLE)
    assert called(draft) == ["withdraw"]
    assert draft.calls[0].to == desk.profile.contract("weth")
    await desk.run(Step.COLLATERALIZE)
    assert called(await draft_of(desk, Step.SETTLE)) == ["withdraw", "withdraw"]
    await desk.run(Step.BORROW)
    assert called(await draft_of(desk, Step.SETTLE)) == ["approve", "repay", "withdraw", "withdraw"]


async def test_with_nothing_to_settle_it_is_not_allowed(desk: Desk) -> None:
    await desk.run(Step.FUND)
    await refusal_of(desk, Step.SETTLE, NotAllowed)


async def test_sweep_pays_the_tokens_then_the_rest_of_the_ether(desk: Desk) -> None:
    await desk.run(Step.FUND)
    draft = await draft_of(desk, Step.SWEEP)
    (ether,) = draft.calls
    assert (ether.to, ether.spends_rest, ether.value) == (desk.treasury, True, 0)
    desk.node.send("usdt", "transfer", desk.account, 11)
    draft = await draft_of(desk, Step.SWEEP)
    tokens, ether = draft.calls
    assert arguments(tokens, erc20.TRANSFER) == (desk.treasury.lower(), 11)
    assert ether.spends_rest
    assert draft.fees == draft.level.maximum_exact
    assert draft.fees.max_priority_fee_per_gas == draft.fees.max_fee_per_gas


class TestAllowanceOfAnEarlierAttempt:
    """USDT accepts a new allowance only after zero; what is approved has to be used up."""

    async def test_one_that_is_right_is_used_as_it_is(self, desk: Desk) -> None:
        await desk.walk(UP_TO_BORROW)
        allow(desk, "usdt", "uniswap_router", BORROWED)
        assert approvals(await draft_of(desk, Step.SWAP)) == []
        await desk.run(Step.SWAP)

    @pytest.mark.parametrize("left", [1, BORROWED - 1, BORROWED + 1])
    async def test_another_one_is_cleared_first(self, desk: Desk, left: int) -> None:
        await desk.walk(UP_TO_BORROW)
        allow(desk, "usdt", "uniswap_router", left)
        assert approvals(await draft_of(desk, Step.SWAP)) == [0, BORROWED]
        await desk.run(Step.SWAP)
        spender = desk.node.manifest["uniswap_router"]
        assert desk.node.read("usdt", "allowance", desk.account, spender) == 0

    async def test_so_it_is_in_every_step_that_approves(self, desk: Desk) -> None:
        await desk.walk((Step.FUND, Step.WRAP))
        allow(desk, "weth", "aave_pool", 7)
        assert approvals(await draft_of(desk, Step.COLLATERALIZE)) == [0, WRAPPED]
        held = (await desk.walk((Step.COLLATERALIZE, Step.BORROW, Step.SWAP))).discount
        allow(desk, "usdtz", "redemption", 7)
        assert approvals(await draft_of(desk, Step.REDEEM)) == [0, held]
        assert approvals(await draft_of(desk, Step.UNWIND)) == [0, held]
        allow(desk, "usdtz", "uniswap_router", 9)
        frozen(desk.node, on=True)
        assert approvals(await draft_of(desk, Step.UNWIND)) == [0, held]
        frozen(desk.node, on=False)
        await desk.run(Step.REDEEM)
        allow(desk, "usdt", "aave_pool", 7)
        assert len(approvals(await draft_of(desk, Step.SETTLE))) == 2
        await desk.run(Step.SETTLE)


async def test_above_the_fee_cap_every_step_waits(desk: Desk) -> None:
    await desk.run(Step.FUND)
    async with desk.over(fees={"max_fee_per_gas_wei": GWEI}) as poor:
        for step in (Step.FUND, Step.WRAP, Step.SWEEP):
            error = await refusal_of(poor, step, Unavailable)
            assert error.problem.field == "max_fee_per_gas_wei"


async def test_the_fees_of_a_draft_stay_under_the_cap(desk: Desk) -> None:
    level = (await draft_of(desk, Step.FUND)).level
    cap = level.expected_price + 1
    async with desk.over(fees={"max_fee_per_gas_wei": cap}) as close:
        assert (await draft_of(close, Step.FUND)).fees == Fees(
            max_fee_per_gas=cap, max_priority_fee_per_gas=level.priority_fee
        )


def test_the_owner_is_nobody_of_the_deal(desk: Desk) -> None:
    assert OWNER not in {desk.account, desk.treasury}
    assert desk.node.ether(desk.treasury) > 100 * ETHER
