"""Nodes without eth_simulateV1: a real one behind a front that refuses it, step by step."""

from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import pytest

from activities.protocols import erc20
from activities.protocols.drafts import Call
from activities.protocols.steps import StepBuilder
from activities.transactions import simulation
from activities.transactions.planning import _trial
from activities.transactions.simulation import Simulator
from activities.transactions.trials import Simulation, Trial
from deploy.chain.executor import executor_text
from deploy.chain.paths import EXECUTOR_FILE
from domain.deals import Step
from domain.errors import DealError, SimulationFailed, Unavailable
from domain.transactions import Asset
from tests.activities.chain import DOLLAR, ETHER, OWNER
from tests.activities.desk import MODULE, UP_TO_BORROW, UP_TO_REDEEM, UP_TO_SWAP, Desk
from tests.activities.rpc.front import Front, front_of

METHOD = "eth_simulateV1"
UNKNOWN = {"code": -32601, "message": f"the method {METHOD} does not exist/is not available"}
WHOLE_DEAL = (*UP_TO_REDEEM, Step.SETTLE, Step.SWEEP)
SOMEBODY = "0x00000000000000000000000000000000000000AA"


@pytest.fixture
async def front(desk: Desk) -> AsyncIterator[Front]:
    """A node that does not know the method."""
    async with front_of(desk.node.url) as front:
        front.errors[METHOD] = UNKNOWN
        yield front


async def trial_of(desk: Desk, step: Step) -> Trial:
    order = desk.order(step)
    return _trial(order, await StepBuilder(desk.reader, desk.treasury).build(order))


async def trial(desk: Desk, *calls: Call) -> Trial:
    block = desk.node.block()
    number, time = int(block["number"], 16), int(block["timestamp"], 16)
    return Trial(desk.account, calls, desk.account, MODULE, number, time)


async def both(desk: Desk, front: Front, tried: Trial) -> tuple[Simulation, Simulation]:
    """The same by the method, and by a node that does not know it."""
    async with desk.over(front.url) as other:
        return (
            await Simulator(desk.profile, desk.rpc).simulate(tried),
            await Simulator(other.profile, other.rpc).simulate(tried),
        )


async def refusals(desk: Desk, front: Front, tried: Trial) -> list[DealError]:
    """How each of the two refuses the same."""
    async with desk.over(front.url) as other:
        found = []
        for profile, rpc in ((desk.profile, desk.rpc), (other.profile, other.rpc)):
            with pytest.raises(DealError) as caught:
                await Simulator(profile, rpc).simulate(tried)
            found.append(caught.value)
    return found


def agree(direct: Simulation, tried: Simulation, interest: int = 0) -> None:
    """Changes to the unit, but for interest that is repaid; gas never less, and within bounds."""
    assert tried.block_number == direct.block_number
    for ours, theirs in zip(tried.changes, direct.changes, strict=True):
        repaid = ours.get(Asset.PAR, 0) - theirs.get(Asset.PAR, 0)
        assert abs(repaid) <= interest
        assert {**ours, Asset.PAR: 0} == {**theirs, Asset.PAR: 0}
    for ours, theirs in zip(tried.gas_used, direct.gas_used, strict=True):
        assert theirs * 0.995 <= ours <= 1.5 * theirs + 22_000


def test_the_code_that_is_shipped_is_what_the_sources_give() -> None:
    assert EXECUTOR_FILE.read_text() == executor_text(), "run `python -m deploy.chain build`"


class TestAgreement:
    async def test_every_step_of_a_deal_is_simulated_alike(self, desk: Desk, front: Front) -> None:
        for step in WHOLE_DEAL:
            if step is Step.SETTLE:
                desk.node.mine(2, 86_400)  # with interest, which Aave's tokens log apart
            direct, tried = await both(desk, front, await trial_of(desk, step))
            agree(direct, tried, interest=100 if step is Step.SETTLE else 0)
            assert all(tried.changes[-1].values())
            await desk.run(step)

    async def test_so_are_those_of_a_way_out(self, desk: Desk, front: Front) -> None:
        await desk.walk(UP_TO_SWAP)
        agree(*await both(desk, front, await trial_of(desk, Step.TOP_UP)))
        agree(*await both(desk, front, await trial_of(desk, Step.UNWIND)))
        desk.node.send("redemption", "setFrozen", 0, True)  # noqa: FBT003 - the ABI's order
        agree(*await both(desk, front, await trial_of(desk, Step.UNWIND)))
        await desk.run(Step.UNWIND)

    async def test_so_are_allowances_of_earlier_attempts(self, desk: Desk, front: Front) -> None:
        await desk.walk(UP_TO_BORROW)
        desk.node.send_as(
            desk.account, "usdt", "approve", desk.profile.contract("uniswap_router"), 7
        )
        tried = await trial_of(desk, Step.SWAP)
        assert len(tried.calls) == 3
        agree(*await both(desk, front, tried))

    async def test_the_gas_of_a_first_call_is_exact(self, desk: Desk, front: Front) -> None:
        await desk.run(Step.FUND)
        for call in (
            Call(desk.treasury, "To somebody known", value=1),
            Call(SOMEBODY, "To somebody new", value=1),  # type: ignore[arg-type] - any text will do
            Call(desk.treasury, "Mostly zeros", data="0x" + "00" * 999 + "ff"),
            Call(desk.treasury, "No zeros", data="0x" + "ff" * 1_000),
        ):
            direct, tried = await both(desk, front, await trial(desk, call))
            assert tried.gas_used == direct.gas_used, call.purpose
        wrap = await trial_of(desk, Step.WRAP)
        direct, tried = await both(desk, front, wrap)
        assert tried.gas_used == direct.gas_used

    async def test_a_whole_deal_runs_with_hardly_a_margin_on_its_gas(
        self, desk: Desk, front: Front
    ) -> None:
        async with desk.over(front.url, fees={"gas_margin": Decimal("1.05")}) as tight:
            await tight.run(Step.FUND)
            for step, token, spender in (
                (Step.WRAP, None, None),
                (Step.COLLATERALIZE, "weth", "aave_pool"),
                (Step.BORROW, None, None),
                (Step.SWAP, "usdt", "uniswap_router"),
                (Step.REDEEM, "usdtz", "redemption"),
                (Step.SETTLE, "usdt", "aave_pool"),
                (Step.SWEEP, None, None),
            ):
                if token is not None:
                    address = desk.profile.contract(spender)
                    desk.node.send_as(desk.account, token, "approve", address, 7)
                await tight.run(step)
            # Refunds are not foreseen, so the tokens go first and the ether in a batch of its own.
            assert (await tight.position()).wei > 0
            await tight.run(Step.SWEEP, number=2)
            assert (await tight.position()).is_empty
        assert desk.node.ether(desk.account) == 0


class TestRefusals:
    async def test_the_first_call_that_reverts_is_named_with_its_reason(
        self, desk: Desk, front: Front
    ) -> None:
        await desk.walk((Step.FUND, Step.WRAP, Step.COLLATERALIZE))
        tried = await trial_of(desk, Step.SWAP)
        for error in await refusals(desk, front, tried):
            assert isinstance(error, SimulationFailed)
            assert str(error) == "Swap on Uniswap v3 would revert: STF"
            assert error.problem.value == desk.profile.contract("uniswap_router")
            assert str(error.problem.actual).startswith("0x08c379a0")

    async def test_nothing_after_it_is_looked_at(self, desk: Desk, front: Front) -> None:
        await desk.run(Step.FUND)
        usdt = desk.profile.contract("usdt")
        calls = [Call(usdt, f"Pay {n}", erc20.TRANSFER.encode(desk.treasury, n)) for n in (0, 1, 2)]
        for error in await refusals(desk, front, await trial(desk, *calls)):
            assert error.problem.field == "Pay 1"

    @pytest.mark.parametrize("step", [Step.FUND, Step.WRAP])
    async def test_a_sender_without_the_ether_is_told_so(
        self, desk: Desk, front: Front, step: Step
    ) -> None:
        tried = await trial_of(desk, step)
        desk.node.give_ether(tried.sender, ETHER)
        for error in await refusals(desk, front, tried):
            assert isinstance(error, SimulationFailed)
            assert "insufficient funds" in str(error).lower()
            assert error.problem.value == tried.sender

    async def test_a_revert_without_a_reason_is_told_as_such(
        self, desk: Desk, front: Front
    ) -> None:
        await desk.run(Step.FUND)
        call = Call(desk.profile.contract("usdt"), "Nothing it knows", "0x12345678")
        for error in await refusals(desk, front, await trial(desk, call)):
            assert "Nothing it knows would revert: " in str(error)

    async def test_a_reason_that_the_method_leaves_out_is_looked_for_by_a_call(
        self, desk: Desk
    ) -> None:
        await desk.walk((Step.FUND, Step.WRAP, Step.COLLATERALIZE))
        tried = await trial_of(desk, Step.SWAP)

        def silent(_: Any, told: Any) -> Any:
            told[0]["calls"][-1] |= {"returnData": "0x", "error": {"message": "failed"}}
            return told

        async with (
            front_of(desk.node.url, lies={METHOD: silent}) as front,
            desk.over(front.url) as other,
        ):
            simulator = Simulator(other.profile, other.rpc)
            with pytest.raises(SimulationFailed) as caught:
                await simulator.simulate(tried)
            assert str(caught.value) == "Swap on Uniswap v3 would revert: STF"
            front.errors["eth_call"] = {"code": -32000, "message": "busy"}
            with pytest.raises(SimulationFailed) as caught:
                await simulator.simulate(tried)
            assert str(caught.value) == "Swap on Uniswap v3 would revert: failed"


class TestNodes:
    @pytest.mark.parametrize(
        "error",
        [
            UNKNOWN,  # geth and erigon
            {"code": -32601, "message": "Method not found"},  # besu, reth
            {"code": -32604, "message": "Method not enabled"},  # besu
            {"code": -32601, "message": f"Method {METHOD} is not supported"},  # nethermind
            {"code": -32600, "message": f"Unsupported method: {METHOD}. See available methods"},
            {"code": -32000, "message": f"the method {METHOD} does not exist/is not available"},
            f"rpc method {METHOD} is not allowed",
        ],
    )
    async def test_a_method_that_is_missing_is_asked_for_once(
        self, desk: Desk, front: Front, error: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        front.errors[METHOD] = error
        tried = await trial_of(desk, Step.FUND)
        async with desk.over(front.url) as other:
            simulator = Simulator(other.profile, other.rpc)
            for _ in range(3):
                assert (await simulator.simulate(tried)).gas_used == (21_000,)
            assert front.count(METHOD) == 1
            # A node is upgraded now and then: after a while it is asked again.
            later = simulation.time.monotonic() + 601
            monkeypatch.setattr(simulation.time, "monotonic", lambda: later)
            front.errors.clear()
            await simulator.simulate(tried)
            await simulator.simulate(tried)
            assert front.count(METHOD) == 3

    async def test_another_error_is_no_reason_to_do_without(self, desk: Desk, front: Front) -> None:
        tried = await trial_of(desk, Step.FUND)
        front.errors[METHOD] = {"code": -32000, "message": "the block was not found"}
        async with desk.over(front.url) as other:
            with pytest.raises(Unavailable):
                await Simulator(other.profile, other.rpc).simulate(tried)

    async def test_a_node_without_overrides_cannot_simulate(self, desk: Desk, front: Front) -> None:
        tried = await trial_of(desk, Step.FUND)
        front.lies["eth_call"] = lambda _, __: "0x"  # as a call of an account without code returns
        async with desk.over(front.url) as other:
            with pytest.raises(Unavailable) as caught:
                await Simulator(other.profile, other.rpc).simulate(tried)
        assert "state override" in str(caught.value.problem.limit)

    async def test_a_failing_read_is_the_nodes_error_and_no_simulation(
        self, desk: Desk, front: Front
    ) -> None:
        tried = await trial_of(desk, Step.FUND)
        contracts = {**desk.profile.contracts, "a_weth": desk.profile.contract("usdt")}
        async with desk.over(front.url, contracts=contracts) as other:
            with pytest.raises(Unavailable):
                await Simulator(other.profile, other.rpc).simulate(tried)


async def test_what_was_received_before_can_be_spent_by_a_later_call(
    desk: Desk, front: Front
) -> None:
    await desk.run(Step.FUND)
    usdt, weth = desk.profile.contract("usdt"), desk.profile.contract("weth")
    desk.node.send("usdt", "issue", DOLLAR)
    desk.node.send("usdt", "transfer", desk.account, DOLLAR)
    held = desk.node.ether(desk.account)
    calls = [
        Call(weth, "Wrap", "0xd0e30db0", value=held // 2),
        Call(weth, "Unwrap", "0x2e1a7d4d" + f"{held // 2:064x}"),
        Call(usdt, "Pay", erc20.TRANSFER.encode(OWNER, DOLLAR)),
        Call(desk.treasury, "Send", value=held // 2 + 1),
    ]
    direct, tried = await both(desk, front, await trial(desk, *calls))
    agree(direct, tried)
    assert tried.changes[1] == {Asset.ETHER: held // 2, Asset.WETH: -(held // 2)}
