"""A dry run says what the real deal then does, is refused what that would be, and keeps nothing."""

import time
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from typing import Any

import psycopg
import pytest

from activities.dryrun.activities import throwaway
from activities.dryrun.interface import DryRun, DryRunResult
from activities.dryrun.snapshot import Snapshot
from activities.protocols import timelock
from activities.rpc.calls import RpcCall
from domain.amounts import Amount
from domain.chains import Multisig
from domain.deals import ExecutionMode, Step
from domain.errors import (
    DealError,
    InvalidInput,
    LimitExceeded,
    NoPrediction,
    NotAllowed,
    NotFound,
    RedemptionFrozen,
    SimulationFailed,
    SizingRefused,
    Unavailable,
)
from domain.exits import next_exit_step
from domain.identifiers import ModuleId
from domain.predictions import Comparison, Prediction, Realised, realised
from domain.settlement import settle
from domain.transactions import StepOutcome
from tests.activities.chain import DOLLAR, ETHER, GWEI, Node
from tests.activities.desk import Desk
from tests.activities.dryrun.conftest import Runner
from tests.activities.protocols.pushing import push
from tests.activities.rpc.front import front_of
from tests.support.postgres import Database

PIPELINED = ExecutionMode.PIPELINED
STEPWISE = ExecutionMode.STEPWISE


def frozen(node: Node) -> None:
    node.send("redemption", "setFrozen", 0, True)  # noqa: FBT003 - the ABI's order


async def real_deal(desk: Desk, result: DryRunResult) -> list[StepOutcome]:
    """The same deal by the engine, each batch mined in one block, as its workflow goes."""
    desk, outcomes = replace(desk, sizing=result.sizing), list[StepOutcome]()
    rounds: dict[Step, int] = {}

    async def step(step: Step) -> None:
        rounds[step] = rounds.get(step, 0) + 1
        order = await desk.signed(await desk.prepare(step, number=rounds[step]))
        outcome = (await desk.deliver_in_one_block(order)).outcome
        assert outcome is not None
        assert outcome.problem is None, outcome.problem
        outcomes.append(outcome)

    await step(Step.FUND)
    if desk.request.mode is PIPELINED:
        await step(Step.RUN)
    else:
        for each in (Step.WRAP, Step.COLLATERALIZE, Step.BORROW):
            await step(each)
        for _ in range(result.sizing.cycles):
            await step(Step.SWAP)
            await step(Step.REDEEM)
    while (following := next_exit_step(outcomes[-1].position)) is not None:
        await step(following)
    return outcomes


def what_came_of_it(outcomes: list[StepOutcome], prediction: Prediction) -> Realised:
    return realised(
        outcomes,
        settle(outcomes, outcomes[-1].position),
        price_e18=prediction.pool_price_e18,
        duration_seconds=prediction.duration_seconds,
    )


@pytest.mark.parametrize("mode", [STEPWISE, PIPELINED])
@pytest.mark.parametrize("cycles", [1, 3])
async def test_on_a_chain_that_nobody_moves_it_says_what_the_deal_then_does(
    desk: Desk, dry_run: Runner, mode: ExecutionMode, cycles: int
) -> None:
    desk = desk.asking(mode=mode, cycles=cycles)
    result = await dry_run(desk, account=desk.account)
    predicted = result.prediction
    outcomes = await real_deal(desk, result)
    actual = what_came_of_it(outcomes, predicted)
    assert desk.node.ether(desk.account) == 0
    # The same batches, and the same transactions in each.
    assert [(s.step, s.round, s.transactions) for s in predicted.steps] == [
        (s.step, s.round, s.transactions) for s in actual.steps
    ]
    # Gas: the account and the calls are the real ones, so only the calldata of amounts that grow
    # with the seconds (interest, deadlines) differs: a byte that is zero or not is 12 gas.
    for foreseen, done in zip(predicted.steps, actual.steps, strict=True):
        assert abs(foreseen.gas - done.gas) <= 100, foreseen.step
        assert abs(foreseen.ltv_bps - done.ltv_bps) <= 1  # interest, rounded up
        assert foreseen.slippage_bps == done.slippage_bps
    assert abs(predicted.gas - actual.gas) / actual.gas < 0.0005
    assert abs(predicted.max_ltv_bps - actual.max_ltv_bps) <= 1
    assert abs(predicted.max_exposure_bps - actual.max_exposure_bps) <= 1
    assert predicted.max_slippage_bps == actual.max_slippage_bps
    # The base fee falls by at most an eighth a block where blocks are nearly empty, and rises after
    # full ones; the prediction takes it to stay.
    price = outcomes[0].inclusions[0].effective_gas_price
    assert predicted.gas_price_wei == price
    assert 0.4 < actual.gas_cost_wei / predicted.gas_cost_wei <= 1.05
    # So the profit is right but for the price of gas, and the interest of a few seconds.
    dearer = predicted.gas_cost_wei - actual.gas_cost_wei
    gas_usd8 = dearer * 3_000 * 10**8 // ETHER
    assert abs(actual.profit_usd8 - predicted.profit_usd8 - gas_usd8) < 10**6  # 0.01 USD


async def test_at_the_same_price_of_gas_the_profit_is_right_to_a_cent(
    desk: Desk, dry_run: Runner
) -> None:
    async with desk.over(fees={"kind": "legacy"}) as legacy:
        result = await dry_run(legacy, account=desk.account)
        price = result.prediction.gas_price_wei
        outcomes = await real_deal(legacy, result)
    paid = {i.effective_gas_price for outcome in outcomes for i in outcome.inclusions}
    actual = what_came_of_it(outcomes, result.prediction)
    dearer = result.prediction.gas * price - sum(
        i.gas_used * i.effective_gas_price for o in outcomes for i in o.inclusions
    )
    assert max(paid) <= price
    difference = actual.profit_usd8 - result.prediction.profit_usd8
    assert abs(difference - dearer * 3_000 * 10**8 // ETHER) < 10**6


async def test_a_market_that_moves_afterwards_shows_in_the_comparison(
    desk: Desk, dry_run: Runner
) -> None:
    result = await dry_run(desk, account=desk.account)
    push(desk.node, Fraction(9_860, 10_000))  # from 0.9850
    outcomes = await real_deal(desk, result)
    actual = what_came_of_it(outcomes, result.prediction)
    found = Comparison(predicted=result.prediction, realised=actual).differences
    moved = {difference.name: difference for difference in found}
    assert 9 <= moved["max_slippage_bps"].difference <= 12
    lost = result.prediction.profit_usd8 - actual.profit_usd8
    assert lost > 10**8
    assert moved["profit_usd8"].difference == -lost
    assert moved["gas"].ratio is not None
    assert abs(moved["gas"].ratio - 1) < Decimal("0.05")


async def rows(database: Database) -> dict[str, int]:
    """How many rows every table has."""
    counts = {}
    async with await psycopg.AsyncConnection.connect(database.owner) as connection:
        tables = await (
            await connection.execute(
                "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables"
                " WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
            )
        ).fetchall()
        for (table,) in tables:
            found = await connection.execute(f"SELECT count(*) FROM {table}")  # type: ignore[arg-type]  # noqa: S608
            counts[table] = int((await found.fetchone() or (0,))[0])
    return counts


def state_of(desk: Desk, *accounts: str) -> dict[str, Any]:
    """Everything of the node that a deal would change."""
    node = desk.node
    known = (*accounts, desk.account, desk.treasury, node.manifest["usdt_usdtz_pool"])
    return {
        "block": node.block(),
        "waiting": node.ask("txpool_status"),
        "nonces": [node.nonce(account) for account in known],
        "ether": [node.ether(account) for account in known],
        "tokens": [
            node.balance(token, account)
            for token in ("usdt", "usdtz", "weth", "a_weth", "variable_debt_usdt")
            for account in known
        ],
    }


@pytest.mark.parametrize("mode", [STEPWISE, PIPELINED])
async def test_nothing_is_kept_of_it(
    desk: Desk, dry_run: Runner, engine_database: Database, mode: ExecutionMode
) -> None:
    desk = desk.asking(mode=mode, cycles=2)
    stand_in = throwaway(DryRun(request=desk.request), desk.node.block()["hash"])
    before = state_of(desk, stand_in), await rows(engine_database)
    first = await dry_run(desk)
    assert (state_of(desk, stand_in), await rows(engine_database)) == before
    assert len(before[1]) > 20
    # And so it can be repeated: the same block, the same request, the same answer.
    assert await dry_run(desk) == first
    assert desk.node.nonce(stand_in) == desk.node.ether(stand_in) == 0


async def test_it_costs_a_fraction_of_a_second(desk: Desk, dry_run: Runner) -> None:
    await dry_run(desk)
    took = []
    for _ in range(3):
        began = time.perf_counter()
        await dry_run(desk)
        took.append(time.perf_counter() - began)
    assert min(took) < 1.0


async def test_it_asks_for_the_price_of_gas_once_and_sends_nothing(
    desk: Desk, dry_run: Runner
) -> None:
    async with front_of(desk.node.url) as front, desk.over(front.url) as other:
        await dry_run(other)
    asked = [method for methods in front.requests for method in methods]
    assert set(asked) <= {
        "eth_getCode",
        "eth_getBlockByNumber",
        "eth_feeHistory",
        "eth_call",
        "eth_simulateV1",
        "eth_getTransactionCount",
    }
    assert asked.count("eth_feeHistory") == 1


class TestRefusals:
    """What a real deal would meet is what the dry run says."""

    async def test_a_frozen_redemption_is_refused_when_the_deal_is_sized(
        self, desk: Desk, dry_run: Runner
    ) -> None:
        frozen(desk.node)
        with pytest.raises(SizingRefused) as caught:
            await dry_run(desk)
        assert caught.value.problem.field == "redemption_frozen"

    @pytest.mark.parametrize("mode", [STEPWISE, PIPELINED])
    async def test_one_that_was_sized_before_it_froze_meets_what_the_real_one_meets(
        self, desk: Desk, dry_run: Runner, mode: ExecutionMode
    ) -> None:
        desk = desk.asking(mode=mode)
        sizing = (await dry_run(desk)).sizing
        frozen(desk.node)
        with pytest.raises(RedemptionFrozen) as caught:
            await dry_run(desk, sizing=sizing)
        real = replace(desk, sizing=sizing)
        with pytest.raises(RedemptionFrozen) as met:
            await real_deal(real, await _with(sizing))
        assert caught.value.problem == met.value.problem

    async def test_a_pool_that_has_moved_is_refused_as_the_swap_would_be(
        self, desk: Desk, dry_run: Runner
    ) -> None:
        sizing = (await dry_run(desk)).sizing
        push(desk.node, Fraction(105, 100))
        with pytest.raises(LimitExceeded) as caught:
            await dry_run(desk, sizing=sizing)
        with pytest.raises(LimitExceeded) as met:
            await real_deal(replace(desk, sizing=sizing), await _with(sizing))
        assert caught.value.problem == met.value.problem

    async def test_a_later_cycle_that_does_not_pay_is_left_out(
        self, desk: Desk, dry_run: Runner
    ) -> None:
        more = {"cycles": 20, "gas_reserve_wei": ETHER}
        sizing = (await dry_run(desk)).sizing.model_copy(update=more)
        push(desk.node, Fraction(99_939, 100_000))
        prediction = (await dry_run(desk, sizing=sizing)).prediction
        swaps = [step for step in prediction.steps if step.step is Step.SWAP]
        assert 1 <= len(swaps) < 20
        assert prediction.steps[-1].step is Step.SWEEP

    async def test_a_treasury_that_cannot_pay(self, desk: Desk, dry_run: Runner) -> None:
        sizing = (await dry_run(desk)).sizing
        desk.node.give_ether(desk.treasury, 5 * ETHER)
        with pytest.raises(SizingRefused) as caught:
            await dry_run(desk)
        assert caught.value.problem.field == "treasury"
        with pytest.raises(SimulationFailed) as poor:
            await dry_run(desk, sizing=sizing)
        assert poor.value.problem.field == "sender"

    async def test_a_treasury_that_can_pay_all_but_the_gas(
        self, desk: Desk, dry_run: Runner
    ) -> None:
        sizing = (await dry_run(desk)).sizing
        desk.node.give_ether(desk.treasury, sizing.wrap_wei + sizing.gas_reserve_wei)
        with pytest.raises(SimulationFailed) as caught:
            await dry_run(desk, sizing=sizing)
        assert caught.value.problem.value == desk.treasury
        assert "gas" in caught.value.problem.message

    async def test_an_account_whose_reserve_does_not_pay_its_gas(
        self, desk: Desk, dry_run: Runner
    ) -> None:
        sizing = (await dry_run(desk)).sizing.model_copy(update={"gas_reserve_wei": 10})
        with pytest.raises(SimulationFailed) as caught:
            await dry_run(desk, sizing=sizing, account=desk.account)
        assert caught.value.problem.value == desk.account

    async def test_gas_above_the_deals_own_cap(self, desk: Desk, dry_run: Runner) -> None:
        with pytest.raises(Unavailable) as caught:
            await dry_run(desk.asking(max_fee_per_gas_wei=1))
        assert caught.value.problem.field == "max_fee_per_gas_wei"

    async def test_a_destination_that_the_registry_forbids(
        self, desk: Desk, dry_run: Runner
    ) -> None:
        pool = desk.node.manifest["aave_pool"]
        call = {
            "from": desk.node.timelock,
            "to": desk.node.manifest["desk_registry"],
            "data": timelock.SET_DESTINATION.encode(pool, False),  # noqa: FBT003 - the ABI's order
        }
        desk.node.web3.eth.wait_for_transaction_receipt(
            desk.node.ask("eth_sendTransaction", call), poll_latency=0.005
        )
        with pytest.raises(NotAllowed) as caught:
            await dry_run(desk)
        assert caught.value.problem.field == "registry.allowed.aave_pool"

    async def test_more_than_the_collateral_carries(self, desk: Desk, dry_run: Runner) -> None:
        sizing = (await dry_run(desk)).sizing.model_copy(update={"borrow": 20_000 * DOLLAR})
        with pytest.raises(LimitExceeded) as caught:
            await dry_run(desk, sizing=sizing)
        assert caught.value.problem.field == "max_ltv"

    async def test_a_module_that_there_is_not(self, desk: Desk, dry_run: Runner) -> None:
        with pytest.raises(NotFound):
            await dry_run(desk.asking(module=ModuleId("nothing")))

    async def test_a_mode_that_the_module_does_not_run(self, desk: Desk, dry_run: Runner) -> None:
        modules = {
            name: module.model_copy(update={"pipelined": False})
            for name, module in desk.profile.modules.items()
        }
        async with desk.over(modules=modules) as other:
            with pytest.raises(InvalidInput) as caught:
                await dry_run(other.asking(mode=PIPELINED))
        assert caught.value.problem.field == "mode"

    async def test_one_wei_is_no_deal(self, desk: Desk, dry_run: Runner) -> None:
        with pytest.raises(SizingRefused):
            await dry_run(desk.asking(working_liquidity=Amount(units=1, decimals=18)))


async def _with(sizing: Any) -> DryRunResult:
    """A result of which only the sizes are looked at."""
    return DryRunResult.model_construct(sizing=sizing)


class TestNodes:
    async def test_nodes_that_cannot_simulate_give_no_prediction(
        self, desk: Desk, dry_run: Runner
    ) -> None:
        unknown = {"code": -32601, "message": "the method eth_simulateV1 does not exist"}
        async with front_of(desk.node.url) as front, desk.over(front.url) as other:
            front.errors["eth_simulateV1"] = unknown
            with pytest.raises(NoPrediction) as caught:
                await dry_run(other)
        problem = caught.value.problem
        assert (problem.code, problem.limit) == ("no_prediction", "eth_simulateV1")
        assert not caught.value.retryable

    async def test_a_node_that_fails_is_asked_again_later(
        self, desk: Desk, dry_run: Runner
    ) -> None:
        async with front_of(desk.node.url) as front, desk.over(front.url) as other:
            front.errors["eth_simulateV1"] = {"code": -32000, "message": "header not found"}
            with pytest.raises(Unavailable):
                await dry_run(other)

    async def test_a_block_that_is_undone_meanwhile_predicts_nothing(
        self, desk: Desk, dry_run: Runner
    ) -> None:
        seen: list[Any] = []

        def undone(params: Any, block: Any) -> Any:
            seen.append(params)
            return block if params[0] == "latest" else {**block, "hash": "0x" + "ee" * 32}

        async with front_of(desk.node.url) as front, desk.over(front.url) as other:
            front.lies["eth_getBlockByNumber"] = undone
            with pytest.raises(Unavailable) as caught:
                await dry_run(other)
        assert caught.value.problem.actual == "0x" + "ee" * 32
        assert len(seen) == 2

    async def test_what_counts_as_mined_and_then_reverts_is_told(
        self, desk: Desk, dry_run: Runner
    ) -> None:
        def failing(_: Any, blocks: Any) -> Any:
            if len(blocks) > 2:
                blocks[1]["calls"][0] |= {"status": "0x0", "returnData": "0x"}
            return blocks

        async with front_of(desk.node.url) as front, desk.over(front.url) as other:
            front.lies["eth_simulateV1"] = failing
            with pytest.raises(SimulationFailed) as caught:
                await dry_run(other)
        assert caught.value.problem.field == "Wrap ETH"

    async def test_reads_that_revert_are_an_error_of_the_node(
        self, desk: Desk, dry_run: Runner
    ) -> None:
        def reverting(_: Any, blocks: Any) -> Any:
            if len(blocks[-1]["calls"]) > 2:
                blocks[-1]["calls"][-1] |= {"status": "0x0", "returnData": "0x"}
            return blocks

        async with front_of(desk.node.url) as front, desk.over(front.url) as other:
            front.lies["eth_simulateV1"] = reverting
            with pytest.raises(Unavailable):
                await dry_run(other)

    async def test_the_price_of_gas_that_is_not_told_is_asked_for_again(self, desk: Desk) -> None:
        async with front_of(desk.node.url) as front, desk.over(front.url) as other:
            front.errors["eth_gasPrice"] = {"code": -32000, "message": "busy"}
            snapshot = await Snapshot.taken(other.profile, other.rpc)
            with pytest.raises(Unavailable):
                await snapshot.call("eth_gasPrice")
            front.errors.clear()
            price = await snapshot.call("eth_gasPrice")
            desk.node.next_base_fee(77 * GWEI)
            assert await snapshot.call("eth_gasPrice") == price

    async def test_a_snapshot_is_asked_for_nothing_else(self, desk: Desk) -> None:
        snapshot = await Snapshot.taken(desk.profile, desk.rpc)
        with pytest.raises(NotImplementedError):
            await snapshot.batch([RpcCall("eth_sendRawTransaction", ("0x",))])


async def test_a_large_deal_is_paid_by_the_safe_at_the_gas_of_its_profile(
    desk: Desk, dry_run: Runner
) -> None:
    safe = desk.profile.contract("treasury_safe")
    desk.node.give_ether(safe, 100 * ETHER)
    async with desk.over(multisig=Multisig(threshold_usd=Decimal(1))) as other:
        result = await dry_run(other)
    assert result.reading is not None
    assert result.reading.market.treasury_wei == 100 * ETHER
    fund = result.prediction.steps[0]
    assert (fund.step, fund.gas, fund.estimated) == (Step.FUND, 150_000, True)
    assert not any(step.estimated for step in result.prediction.steps[1:])
    small = await dry_run(desk)
    dearer = result.prediction.gas_cost_wei - small.prediction.gas_cost_wei
    assert dearer >= 129_000 * result.prediction.gas_price_wei
    # The profit is that of the small one, less the gas of being funded by a Safe.
    lost = small.prediction.profit_usd8 - result.prediction.profit_usd8
    assert abs(lost - dearer * 3_000 * 10**8 // ETHER) < 10**6


async def test_the_errors_of_a_dry_run_are_the_domains(desk: Desk, dry_run: Runner) -> None:
    async with desk.over("http://127.0.0.1:9") as away:
        with pytest.raises(DealError) as caught:
            await dry_run(away)
    assert isinstance(caught.value, Unavailable)
