"""From a step to a numbered batch, on the real chain and the real database."""

import asyncio
import time
from itertools import pairwise
from typing import Any

import pytest

from activities.protocols.steps import StepBuilder
from activities.signing.interface import DealAccounts, SignBatch
from activities.signing.policy import check_batch
from activities.signing.records import DealRecord
from domain.deals import Step
from domain.errors import (
    Conflict,
    DealError,
    InvalidConfiguration,
    LimitExceeded,
    PostConditionFailed,
    RedemptionFrozen,
    SimulationFailed,
    Unavailable,
)
from domain.identifiers import ChainId
from domain.transactions import Asset, PreparedBatch
from tests.activities.chain import CHAIN, DOLLAR, ETHER, GWEI, OWNER
from tests.activities.desk import BORROWED, MODULE, UP_TO_BORROW, UP_TO_REDEEM, UP_TO_SWAP, Desk
from tests.activities.rpc.front import front_of

WHOLE_DEAL = (*UP_TO_REDEEM, Step.SETTLE, Step.SWEEP)


async def refusal_of(desk: Desk, step: Step, kind: type[DealError]) -> DealError:
    """The error of preparing a step, which leaves nothing behind."""
    with pytest.raises(kind) as caught:
        await desk.prepare(step, attempt=9)
    assert await desk.store.batch(desk.order(step, attempt=9).key) is None
    return caught.value


def nonces(batch: PreparedBatch) -> list[int]:
    return [intent.nonce for intent in batch.intents]


async def test_simulated_changes_are_those_of_the_receipts_in_every_step(desk: Desk) -> None:
    seen: set[Asset] = set()
    for step in WHOLE_DEAL:
        batch = await desk.prepare(step)
        delivery = await desk.deliver(await desk.signed(batch))
        assert delivery.outcome is not None
        assert delivery.outcome.problem is None
        changes, simulated = dict(delivery.outcome.changes), dict(batch.simulated_changes)
        if step is Step.SETTLE:
            # Interest goes on until the very block, so the repayment may differ by some units.
            difference = changes.pop(Asset.PAR) - simulated.pop(Asset.PAR)
            assert abs(difference) < 100
        assert changes == simulated, step
        seen |= batch.simulated_changes.keys()
    assert seen == set(Asset)


async def test_the_course_of_a_step_is_where_it_ended_and_what_it_swapped(desk: Desk) -> None:
    for step in WHOLE_DEAL:
        outcome = await desk.run(step)
        course, position = outcome.course, outcome.position
        assert course is not None
        if step is not Step.SETTLE:  # before which it owed
            assert course.max_ltv_bps == position.ltv_bps
        swaps = [(swap.spent, swap.received, swap.selling) for swap in course.swaps]
        received = outcome.changes.get(Asset.DISCOUNT, 0)
        assert swaps == ([(BORROWED, received, False)] if step is Step.SWAP else []), step


async def test_every_batch_is_one_that_the_signer_accepts(desk: Desk) -> None:
    deal = DealRecord(DealAccounts(account=desk.account, treasury=desk.treasury))

    async def check(step: Step, number: int = 1) -> None:
        batch = await desk.prepare(step, number=number)
        order = SignBatch(
            chain_id=ChainId(CHAIN), module=MODULE, batch=batch, digest=batch.digest()
        )
        check_batch(order, desk.policy, deal, int(time.time()))
        await desk.deliver(await desk.signed(batch))

    for step in UP_TO_REDEEM:
        await check(step)
    desk.node.send("usdtz", "mint", desk.account, 10 * DOLLAR)
    await check(Step.UNWIND)
    desk.node.send("usdtz", "mint", desk.account, 10 * DOLLAR)
    desk.node.send("redemption", "setFrozen", 0, True)  # noqa: FBT003 - the ABI's order
    await check(Step.UNWIND, 2)
    spent = (await desk.position()).par
    desk.node.send_as(desk.account, "usdt", "transfer", OWNER, spent)
    for step in (Step.TOP_UP, Step.SETTLE, Step.SWEEP):
        await check(step)
    assert (await desk.position()).is_empty


async def test_what_is_promised_is_what_the_builder_allows_and_holds_to_the_receipts(
    desk: Desk,
) -> None:
    for step in WHOLE_DEAL:
        draft = await StepBuilder(desk.reader, desk.treasury).build(desk.order(step))
        batch = await desk.prepare(step)
        allowed = {bound.asset: bound for bound in draft.bounds}
        for bound in batch.bounds:
            assert bound.minimum <= batch.simulated_changes.get(bound.asset, 0) <= bound.maximum
            if step is Step.SWEEP and bound.asset is Asset.ETHER:
                assert bound.minimum == bound.maximum == -batch.intents[-1].value
                continue
            # The debt grows between the two looks.
            assert abs(bound.minimum - allowed[bound.asset].minimum) < 100
            assert abs(bound.maximum - allowed[bound.asset].maximum) < 100
        # Nothing changes that is not spoken of.
        assert batch.simulated_changes.keys() <= {bound.asset for bound in batch.bounds}
        delivery = await desk.deliver(await desk.signed(batch))
        assert delivery.outcome is not None
        assert delivery.outcome.problem is None
        for bound in batch.bounds:
            assert bound.minimum <= delivery.outcome.changes.get(bound.asset, 0) <= bound.maximum


async def test_an_intent_is_typed_priced_and_numbered(desk: Desk) -> None:
    await desk.walk((Step.FUND, Step.WRAP))
    before = desk.node.nonce(desk.account)
    batch = await desk.prepare(Step.COLLATERALIZE)
    approve, supply = batch.intents
    assert nonces(batch) == [before, before + 1]
    assert 0 <= time.time() - batch.prepared_at <= 10  # the engine's clock, not the chain's
    assert [i.intent_id for i in batch.intents] == [f"{batch.key}/0", f"{batch.key}/1"]
    assert {intent.sender for intent in batch.intents} == {desk.account} == {batch.account}
    assert (approve.to, supply.to) == (
        desk.profile.contract("weth"),
        desk.profile.contract("aave_pool"),
    )
    assert approve.fees == supply.fees
    assert approve.fees.max_priority_fee_per_gas == GWEI
    delivery = await desk.deliver(await desk.signed(batch))
    assert delivery.outcome is not None
    for intent, inclusion in zip(batch.intents, delivery.outcome.inclusions, strict=True):
        # The profile's margin is a half; what is not used is given back.
        assert 1.4 < intent.gas_limit / inclusion.gas_used <= 1.51


async def test_a_plain_transfer_has_exactly_the_gas_that_it_costs(desk: Desk) -> None:
    batch = await desk.prepare(Step.FUND)
    assert [intent.gas_limit for intent in batch.intents] == [21_000]


async def test_the_same_key_gives_the_same_batch_even_when_the_world_has_changed(
    desk: Desk,
) -> None:
    await desk.walk(UP_TO_BORROW)
    first = await desk.prepare(Step.SWAP)
    desk.node.mine(3)
    desk.node.send("redemption", "setFeeBps", 200)  # anew it would be refused
    again = await desk.prepare(Step.SWAP)
    assert again == first
    assert again.digest() == first.digest()
    following = await desk.prepare(Step.SWEEP)
    assert following.intents[0].nonce == first.intents[-1].nonce + 1


async def test_the_same_key_with_another_order_is_a_conflict_that_names_both(desk: Desk) -> None:
    first = await desk.prepare(Step.FUND)
    other = desk.sized(wrap_wei=desk.sizing.wrap_wei + 1)
    with pytest.raises(Conflict) as caught:
        await other.prepare(Step.FUND)
    problem = caught.value.problem
    assert (problem.value, problem.limit, problem.actual) == (
        str(first.key),
        desk.order(Step.FUND).digest(),
        other.order(Step.FUND).digest(),
    )
    assert not caught.value.retryable
    assert await desk.prepare(Step.FUND) == first


async def test_the_same_key_at_once_gives_one_batch_and_takes_one_set_of_nonces(
    desk: Desk,
) -> None:
    await desk.walk((Step.FUND, Step.WRAP))
    batches = await asyncio.gather(*(desk.prepare(Step.COLLATERALIZE) for _ in range(8)))
    assert len({batch.digest() for batch in batches}) == 1
    following = await desk.prepare(Step.SWEEP)
    assert following.intents[0].nonce == batches[0].intents[-1].nonce + 1


async def test_twenty_at_once_of_one_account_get_every_nonce_once(desk: Desk) -> None:
    desks = [await desk.another() for _ in range(20)]
    first = desk.node.nonce(desk.treasury)
    batches = await asyncio.gather(*(each.prepare(Step.FUND) for each in desks))
    taken = sorted(nonce for batch in batches for nonce in nonces(batch))
    assert taken == list(range(first, first + 20))
    rows = await desk.sql("SELECT nonce FROM transactions.intents ORDER BY nonce")
    assert [row[0] for row in rows] == taken


async def test_several_transactions_of_a_batch_are_never_torn_apart(desk: Desk) -> None:
    await desk.walk((Step.FUND, Step.WRAP))
    batches = await asyncio.gather(
        *(desk.prepare(Step.COLLATERALIZE, attempt=attempt) for attempt in range(1, 11))
    )
    for batch in batches:
        assert all(after == before + 1 for before, after in pairwise(nonces(batch)))
    assert len({nonce for batch in batches for nonce in nonces(batch)}) == 20


async def test_above_the_fee_cap_it_waits_and_stores_nothing(desk: Desk) -> None:
    async with desk.over(fees={"max_fee_per_gas_wei": GWEI}) as poor:
        error = await refusal_of(poor, Step.FUND, Unavailable)
    assert error.retryable
    assert await desk.sql("SELECT * FROM transactions.accounts") == []


async def test_a_refusal_takes_no_nonce(desk: Desk) -> None:
    await desk.walk((Step.FUND, Step.WRAP, Step.COLLATERALIZE))
    before = await desk.sql("SELECT * FROM transactions.accounts ORDER BY address")
    desk.node.send("eth_usd_feed", "setAnswer", 2_000 * 10**8)
    await refusal_of(desk, Step.BORROW, LimitExceeded)
    assert await desk.sql("SELECT * FROM transactions.accounts ORDER BY address") == before


async def test_a_frozen_redemption_is_told_as_such(desk: Desk) -> None:
    await desk.walk(UP_TO_SWAP)
    desk.node.send("redemption", "setFrozen", 0, True)  # noqa: FBT003 - the ABI's order
    await refusal_of(desk, Step.REDEEM, RedemptionFrozen)


class TestReverts:
    """What would revert is refused before it is signed, with the reason in words."""

    @pytest.mark.parametrize(
        ("step", "setting", "token", "value", "reason"),
        [
            (Step.COLLATERALIZE, "setReserveFreeze", "weth", True, "28: the reserve is frozen"),
            (Step.COLLATERALIZE, "setReservePause", "weth", True, "29: the reserve is paused"),
            (Step.COLLATERALIZE, "setSupplyCap", "weth", 1, "51: the supply cap is exceeded"),
            (Step.BORROW, "setReserveBorrowing", "usdt", False, "30: borrowing is not enabled"),
            (Step.BORROW, "setBorrowCap", "usdt", 1, "50: the borrow cap is exceeded"),
            (Step.SETTLE, "setReservePause", "usdt", True, "29: the reserve is paused"),
        ],
    )
    async def test_aaves_numbers_are_told_in_words(  # noqa: PLR0913, PLR0917 - a table's columns
        self, desk: Desk, step: Step, setting: str, token: str, value: Any, reason: str
    ) -> None:
        await desk.walk(WHOLE_DEAL[: WHOLE_DEAL.index(step)])
        desk.node.send("aave_pool_configurator", setting, desk.node.manifest[token], value)
        error = await refusal_of(desk, step, SimulationFailed)
        assert str(error).endswith(f"would revert: Aave error {reason}")
        assert not error.retryable

    async def test_the_call_that_would_revert_is_named_with_its_contract(self, desk: Desk) -> None:
        await desk.walk(UP_TO_SWAP)
        module = desk.profile.contract("redemption")
        desk.node.send("usdtz", "setMinter", module, False)  # noqa: FBT003 - the ABI's order
        problem = (await refusal_of(desk, Step.REDEEM, SimulationFailed)).problem
        assert (problem.field, problem.value) == ("Redeem at par", module)
        reason = f"NotMinter({module.lower()})"
        assert problem.message == f"Redeem at par would revert: {reason}"

    async def test_what_the_account_lacks_is_told_in_the_contracts_words(self, desk: Desk) -> None:
        await desk.walk((Step.FUND, Step.WRAP, Step.COLLATERALIZE))
        error = await refusal_of(desk, Step.SWAP, SimulationFailed)
        assert str(error) == "Swap on Uniswap v3 would revert: STF"

    async def test_a_sender_without_the_ether_is_told_so(self, desk: Desk) -> None:
        desk.node.give_ether(desk.treasury, ETHER)
        error = await refusal_of(desk, Step.FUND, SimulationFailed)
        assert "insufficient funds" in str(error).lower()
        assert error.problem.value == desk.treasury

    async def test_a_revert_without_a_reason_is_told_as_such(self, desk: Desk) -> None:
        async with front_of(desk.node.url) as front:
            front.lies["eth_simulateV1"] = lambda _, __: [
                {"calls": [{"status": "0x0", "gasUsed": "0x1", "logs": [], "returnData": "0x"}]}
            ]
            async with desk.over(front.url) as lied_to:
                error = await refusal_of(lied_to, Step.FUND, SimulationFailed)
        assert str(error).endswith("would revert: no reason given")

    async def test_a_node_that_fails_to_simulate_is_no_revert(self, desk: Desk) -> None:
        async with front_of(desk.node.url) as front:
            front.errors["eth_simulateV1"] = {"code": -32000, "message": "out of memory"}
            async with desk.over(front.url) as other:
                await refusal_of(other, Step.FUND, Unavailable)


async def test_a_simulation_that_breaks_its_promise_is_refused_and_not_stored(desk: Desk) -> None:
    await desk.walk((Step.FUND, Step.WRAP, Step.COLLATERALIZE))
    # Watching another token for the debt, nothing seems to be owed afterwards.
    module = desk.profile.module(MODULE).model_copy(update={"debt_token": "usdtz"})
    async with desk.over(modules={MODULE: module}) as mistaken:
        error = await refusal_of(mistaken, Step.BORROW, PostConditionFailed)
    problem = error.problem
    assert (problem.field, problem.actual) == (Asset.DEBT, "0")


async def test_sweep_spends_what_is_left_after_the_gas_to_the_last_wei(desk: Desk) -> None:
    await desk.run(Step.FUND)
    held = desk.node.ether(desk.account)
    batch = await desk.prepare(Step.SWEEP)
    (intent,) = batch.intents
    price = intent.fees.max_fee_per_gas
    assert intent.fees.max_priority_fee_per_gas == price
    assert intent.value == held - 21_000 * price
    assert batch.simulated_changes == {Asset.ETHER: -intent.value}


async def test_sweep_of_less_than_its_gas_says_how_much_is_missing(desk: Desk) -> None:
    desk.node.give_ether(desk.account, 1)
    problem = (await refusal_of(desk, Step.SWEEP, LimitExceeded)).problem
    assert (problem.field, problem.limit) == ("gas", "1")
    assert problem.actual is not None
    assert f"send {int(problem.actual) - 1} wei" in problem.next_action
    desk.node.give_ether(desk.account, int(problem.actual))
    batch = await desk.prepare(Step.SWEEP)
    assert batch.intents[0].value == 0


async def test_nothing_is_prepared_on_a_chain_that_is_not_the_right_one(desk: Desk) -> None:
    async with desk.over(chain_id=ChainId(1)) as elsewhere:
        await refusal_of(elsewhere, Step.FUND, InvalidConfiguration)


async def test_nothing_is_prepared_upon_a_chain_that_has_forgotten_the_deals_last_step(
    desk: Desk,
) -> None:
    node = desk.node
    before = node.ask("evm_snapshot")
    outcome = await desk.run(Step.FUND)
    assert node.ask("evm_revert", before)
    node.automine(on=False)
    error = await refusal_of(desk, Step.WRAP, Unavailable)
    assert error.problem.value == outcome.inclusions[0].transaction_hash
    # The very transaction was sent again: once it is mined, the deal goes on.
    node.mine()
    assert node.receipt(outcome.inclusions[0].transaction_hash) is not None
    node.automine(on=True)
    await desk.run(Step.WRAP)
    assert node.nonce(desk.treasury) == outcome_nonce(outcome.inclusions[0].intent_id, desk) + 1


def outcome_nonce(intent_id: str, desk: Desk) -> int:
    """The one nonce that the treasury has used for the deal."""
    assert intent_id == f"{desk.request.deal_id}/fund/1/1/0"
    return desk.node.nonce(desk.treasury) - 1
