"""What a running deal does when what it belongs to is halted: it waits, leaves, or goes on."""

from __future__ import annotations

import asyncio

import pytest

from domain.deals import Command, DealStatus, Step
from domain.errors import DealError, Halted, TransactionReplaced
from domain.halts import Scope, TradingState, refusal
from tests.workflows.conftest import Theatre
from tests.workflows.fakes import OUTBIDDING, Script
from tests.workflows.test_deal import keys


def halt(state: TradingState = TradingState.HALTED) -> DealError:
    """What the engine says while the desk is halted."""
    return refusal(Scope.parse("desk"), state, "desk halted by risk-1: the market moves")


def is_halted(view: object) -> bool:
    """Whether the deal says that it waits for a release."""
    doing: str = getattr(view, "doing", "")
    status: DealStatus = getattr(view, "status", DealStatus.REQUESTED)
    return status is DealStatus.PAUSED and doing == "desk halted by risk-1: the market moves"


async def test_a_deal_that_is_halted_does_not_begin(theatre: Theatre) -> None:
    script = Script(halted=halt())
    view = await theatre.run(script)
    assert view.status is DealStatus.DENIED
    assert view.problem is not None
    assert (view.problem.code, view.problem.actual) == ("halted", "HALTED")
    assert "read_market" not in script.calls
    assert script.of("prepare") == []


@pytest.mark.parametrize("step", ["fund", "wrap", "collateralize", "borrow", "swap"])
async def test_a_halted_step_waits_and_goes_on_by_itself_after_the_release(
    theatre: Theatre, step: str
) -> None:
    script = Script(refused={("prepare", f"{step}/1/1"): [halt()]})
    deal_id = (await theatre.start(script)).request.deal_id
    view = await theatre.until(deal_id, is_halted)
    assert f"{step}/1/2" not in script.of("prepare")
    script.releases.put_nowait(TradingState.ACTIVE)
    view = await theatre.end(deal_id)
    assert view.status is DealStatus.COMPLETED
    assert script.calls.count("await_release") == 1
    assert f"{step}/1/2" in keys(view)
    assert view.problem is None


async def test_any_number_of_halts_costs_no_attempt(theatre: Theatre) -> None:
    halts = {("prepare", f"borrow/1/{number}"): [halt()] for number in range(1, 8)}
    script = Script(refused=halts)
    for _ in halts:
        script.releases.put_nowait(TradingState.ACTIVE)
    view = await theatre.run(script)
    assert view.status is DealStatus.COMPLETED
    assert "borrow/1/8" in keys(view)


async def test_a_halted_signature_gives_the_nonce_back_and_waits(theatre: Theatre) -> None:
    script = Script(refused={("sign", "borrow/1/1"): [halt()]})
    deal_id = (await theatre.start(script)).request.deal_id
    await theatre.until(deal_id, is_halted)
    assert script.of("abandon") == ["borrow/1/1"]
    script.releases.put_nowait(TradingState.ACTIVE)
    view = await theatre.end(deal_id)
    assert view.status is DealStatus.COMPLETED
    assert "borrow/1/2" in keys(view)


async def test_what_was_signed_and_not_sent_becomes_a_no_op_and_waits(theatre: Theatre) -> None:
    replaced = TransactionReplaced("replaced", next_action="nothing", field="borrow")
    script = Script(
        displaced={"borrow/1/1": OUTBIDDING},
        because={"borrow/1/1": halt()},
        outcomes={"borrow/1/1": replaced},
    )
    deal_id = (await theatre.start(script)).request.deal_id
    await theatre.until(deal_id, is_halted)
    script.releases.put_nowait(TradingState.ACTIVE)
    view = await theatre.end(deal_id)
    assert view.status is DealStatus.COMPLETED
    outcomes = {str(step.outcome.key).split("/", 1)[1]: step.outcome for step in view.steps}
    problem = outcomes["borrow/1/1"].problem
    assert problem is not None
    assert (problem.code, problem.message) == (
        Halted.code,
        "desk halted by risk-1: the market moves",
    )
    assert outcomes["borrow/1/1"].inclusions[0].no_op
    assert outcomes["borrow/1/2"].problem is None


async def test_what_was_mined_in_spite_of_the_halt_counts(theatre: Theatre) -> None:
    """The no-op was signed, and the loan was mined first: the receipt decides."""
    script = Script(displaced={"borrow/1/1": OUTBIDDING}, because={"borrow/1/1": halt()})
    view = await theatre.run(script)
    assert view.status is DealStatus.COMPLETED
    assert "borrow/1/2" not in keys(view)


async def test_a_bid_that_a_halt_refuses_does_not_end_what_may_be_asked_for(
    theatre: Theatre,
) -> None:
    """Otherwise the no-op that the halt asks for next would never be signed."""
    out = asyncio.Event()
    script = Script(dearer={"borrow/1/1": OUTBIDDING}, held={"borrow/1/1": out})
    deal_id = (await theatre.start(script)).request.deal_id
    await theatre.until(deal_id, lambda _: "borrow/1/1" in script.of("deliver"))
    script.refused["sign", "borrow/1/1"] = [halt()]
    out.set()
    view = await theatre.end(deal_id)
    assert view.status is DealStatus.COMPLETED
    assert script.of("sign").count("borrow/1/1") == 3
    deliveries = [each for each in script.delivered if each.batch.key.step is Step.BORROW]
    assert [each.replaceable for each in deliveries] == [True, True, True]


async def test_reducing_unwinds_before_the_next_step_that_adds_risk(theatre: Theatre) -> None:
    script = Script(refused={("prepare", "borrow/1/1"): [halt(TradingState.REDUCING)]})
    view = await theatre.run(script)
    assert view.status is DealStatus.UNWOUND
    assert "await_release" not in script.calls
    assert keys(view) == ["fund/1/1", "wrap/1/1", "collateralize/1/1", "settle/1/1", "sweep/1/1"]
    assert view.problem is not None
    assert view.problem.code == Halted.code


async def test_a_halt_that_becomes_reducing_unwinds_the_deals_that_wait(theatre: Theatre) -> None:
    script = Script(refused={("prepare", "swap/1/1"): [halt()]})
    script.releases.put_nowait(TradingState.REDUCING)
    view = await theatre.run(script)
    assert view.status is DealStatus.UNWOUND
    assert view.problem is not None
    assert view.problem.actual == "REDUCING"


async def test_a_halted_deal_can_be_cancelled_and_its_way_out_is_open(theatre: Theatre) -> None:
    script = Script(refused={("prepare", "swap/1/1"): [halt()]})
    deal_id = (await theatre.start(script)).request.deal_id
    await theatre.until(deal_id, is_halted)
    await theatre.command(deal_id, Command.CANCEL)
    view = await theatre.end(deal_id)
    assert view.status is DealStatus.UNWOUND
    assert keys(view)[-2:] == ["settle/1/1", "sweep/1/1"]


async def test_a_halted_deal_is_not_resumed_by_a_command(theatre: Theatre) -> None:
    script = Script(refused={("prepare", "borrow/1/1"): [halt()]})
    deal_id = (await theatre.start(script)).request.deal_id
    await theatre.until(deal_id, is_halted)
    with pytest.raises(Halted, match="desk halted by risk-1"):
        await theatre.command(deal_id, Command.RESUME)
    script.releases.put_nowait(TradingState.ACTIVE)
    assert (await theatre.end(deal_id)).status is DealStatus.COMPLETED


async def test_a_run_of_which_nothing_was_mined_is_built_anew(theatre: Theatre) -> None:
    replaced = TransactionReplaced("replaced", next_action="nothing", field="run")
    script = Script(
        displaced={"run/1/1": OUTBIDDING},
        because={"run/1/1": halt()},
        outcomes={"run/1/1": replaced},
    )
    script.releases.put_nowait(TradingState.ACTIVE)
    view = await theatre.run(script, mode="pipelined")
    assert view.status is DealStatus.COMPLETED
    assert "run/1/2" in keys(view)


async def test_a_run_that_had_begun_is_not(theatre: Theatre) -> None:
    script = Script(outcomes={"run/1/1": halt()})
    view = await theatre.run(script, mode="pipelined")
    assert view.status is DealStatus.UNWOUND
    assert "await_release" not in script.calls
