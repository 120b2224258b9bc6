"""From every state a command makes progress: retry, unwind, expire, adopt; freezes by policy."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from uuid import uuid4

import pytest
from temporalio.api.enums.v1 import EventType

from activities.signing.findings import Rule
from activities.signing.interface import HOURLY_RATES
from domain.deals import Command, DealStatus, Step
from domain.errors import (
    DealError,
    LimitExceeded,
    RedemptionFrozen,
    SigningRefused,
    SimulationFailed,
    TransactionReverted,
)
from domain.identifiers import DealId
from domain.policy import ExitPolicy, FreezePolicy
from domain.views import DealView
from tests.workflows.conftest import Theatre
from tests.workflows.fakes import Script
from workflows.deal import stepping
from workflows.deal.messages import AdoptMessage

WAD = 10**18


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have nobody wait for long."""
    monkeypatch.setattr(stepping, "_RETRY_AFTER", timedelta(milliseconds=20))
    monkeypatch.setattr(stepping, "_RATE_PAUSE", timedelta(milliseconds=50))


def error(kind: type[DealError], field: str = "script") -> DealError:
    """An error of this kind."""
    return kind("the script says so", next_action="read the script", field=field)


def keys(view: DealView) -> list[str]:
    """The deal's batches as they were executed, without the deal id."""
    return [str(step.outcome.key).split("/", 1)[1] for step in view.steps]


def frozen_script() -> Script:
    """A deal that cannot redeem what it holds."""
    return Script(refused={("prepare", "redeem/1/1"): [error(RedemptionFrozen)]}, frozen=True)


def stuck_script(*, times: int = 1) -> Script:
    """A deal that cannot borrow, and not be settled either at first."""
    refused = {("prepare", f"settle/{n}/1"): [error(LimitExceeded)] for n in range(1, times + 1)}
    return Script(refused={("prepare", "borrow/1/1"): [error(LimitExceeded)], **refused})


def by_policy(script: Script, **parts: FreezePolicy | ExitPolicy) -> Script:
    """The script of a deal that was admitted by a policy with these parts."""
    script.policy = script.policy.model_copy(update=parts)
    return script


async def in_status(theatre: Theatre, script: Script, status: DealStatus) -> DealId:
    """Start a deal that follows the script, and return once it stands there."""
    deal_id = (await theatre.start(script)).request.deal_id
    await theatre.until(deal_id, lambda view: view.status is status)
    return deal_id


async def adopt(theatre: Theatre, deal_id: DealId, answers: str | None = None) -> DealView:
    """Take the deal over."""
    message = AdoptMessage(who="mia", why="moved by hand", answers=answers)
    return await theatre.deals.command(deal_id, Command.ADOPT, message, uuid4().hex)


# --- retry and unwind ------------------------------------------------------------------------


@pytest.mark.parametrize("command", [Command.RETRY, Command.UNWIND, Command.CANCEL])
async def test_a_stuck_deal_unwinds_again_from_what_the_chain_says(
    theatre: Theatre, command: Command
) -> None:
    deal_id = await in_status(theatre, stuck_script(), DealStatus.STUCK)
    await theatre.command(deal_id, command)
    ended = await theatre.end(deal_id)
    assert ended.status is DealStatus.UNWOUND
    assert keys(ended)[-2:] == ["settle/2/1", "sweep/1/1"]


async def test_a_frozen_deal_is_looked_at_again_at_once_when_somebody_retries(
    theatre: Theatre,
) -> None:
    script = frozen_script()
    deal_id = await in_status(theatre, script, DealStatus.FROZEN)
    script.frozen = False
    await theatre.command(deal_id, Command.RETRY)
    ended = await theatre.end(deal_id)
    assert ended.status is DealStatus.COMPLETED


async def test_a_paused_deal_can_be_unwound(theatre: Theatre) -> None:
    held = asyncio.Event()
    script = Script(held={"wrap/1/1": held})
    deal_id = (await theatre.start(script)).request.deal_id
    await theatre.until(deal_id, lambda view: view.doing == "wrap 1")
    await theatre.command(deal_id, Command.PAUSE)
    held.set()
    await theatre.until(deal_id, lambda view: view.status is DealStatus.PAUSED)
    await theatre.command(deal_id, Command.UNWIND)
    ended = await theatre.end(deal_id)
    assert ended.status is DealStatus.UNWOUND
    assert keys(ended) == ["fund/1/1", "wrap/1/1", "settle/1/1", "sweep/1/1"]


# --- freezes ---------------------------------------------------------------------------------


async def test_a_freeze_is_watched_by_one_activity_and_no_timer_is_in_the_history(
    theatre: Theatre,
) -> None:
    script = frozen_script()
    deal_id = await in_status(theatre, script, DealStatus.FROZEN)
    frozen = await theatre.deals.view(deal_id)
    assert frozen.frozen is not None
    assert frozen.frozen.held == script.position.discount > 0
    assert frozen.frozen.at_par_usd8 == script.position.discount * 100
    assert frozen.frozen.unwinds_at is None
    script.frozen = False
    ended = await theatre.end(deal_id)
    assert ended.status is DealStatus.COMPLETED
    assert ended.frozen is None
    assert [order.held for order in script.redemption_watched] == [frozen.frozen.held]
    events = (await theatre.handle(deal_id).fetch_history()).events
    assert EventType.EVENT_TYPE_TIMER_STARTED not in {event.event_type for event in events}
    recorded = [record.view.frozen for record in script.records]
    assert frozen.frozen in recorded


async def test_a_deal_that_is_frozen_for_too_long_unwinds_by_itself(theatre: Theatre) -> None:
    script = by_policy(frozen_script(), freeze=FreezePolicy(unwind_after_seconds=1))
    ended = await theatre.run(script)
    assert ended.status is DealStatus.UNWOUND
    assert ended.problem is not None
    assert ended.problem.code == "redemption_frozen"
    assert ended.problem.limit == "1 seconds"
    assert keys(ended)[-3:] == ["unwind/1/1", "settle/1/1", "sweep/1/1"]


async def test_a_deal_that_holds_on_reopening_waits_for_a_person_to_resume_it(
    theatre: Theatre,
) -> None:
    script = by_policy(frozen_script(), freeze=FreezePolicy(on_reopen="hold"))
    deal_id = await in_status(theatre, script, DealStatus.FROZEN)
    script.frozen = False
    paused = await theatre.until(deal_id, lambda view: view.status is DealStatus.PAUSED)
    assert paused.doing.startswith("paused by the deal policy: redemption has reopened")
    await theatre.command(deal_id, Command.RESUME)
    assert (await theatre.end(deal_id)).status is DealStatus.COMPLETED


async def test_expiring_a_frozen_deal_unwinds_it(theatre: Theatre) -> None:
    deal_id = await in_status(theatre, frozen_script(), DealStatus.FROZEN)
    await theatre.command(deal_id, Command.EXPIRE)
    ended = await theatre.end(deal_id)
    assert ended.status is DealStatus.UNWOUND
    assert "unwind/1/1" in keys(ended)


async def test_expiring_a_deal_that_waits_for_owners_ends_it_with_nothing_moved(
    theatre: Theatre,
) -> None:
    script = Script(owners_decide=True)
    deal_id = (await theatre.start(script)).request.deal_id
    await theatre.command(deal_id, Command.EXPIRE)
    ended = await theatre.end(deal_id)
    assert ended.status is DealStatus.EXPIRED
    assert ended.problem is not None
    assert ended.problem.message == "no longer waited for approval: a test (on-call)"
    assert ended.steps == ()
    assert [call for call in script.calls if call in {"close", "release"}] == ["close", "release"]
    assert script.of("prepare") == []


# --- the way out -----------------------------------------------------------------------------


async def test_a_sale_takes_less_at_every_attempt_and_never_less_than_the_policy_says(
    theatre: Theatre,
) -> None:
    policy = ExitPolicy(
        first_slippage_bps=10, step_slippage_bps=40, max_slippage_bps=100, attempts=4
    )
    script = by_policy(frozen_script(), exit=policy)
    script.refused |= {
        ("prepare", f"unwind/1/{n}"): [error(SimulationFailed)] for n in (1, 2, 3, 4)
    }
    deal_id = await in_status(theatre, script, DealStatus.FROZEN)
    await theatre.command(deal_id, Command.UNWIND)
    stuck = await theatre.until(deal_id, lambda view: view.status is DealStatus.STUCK)
    sales = [order for order in script.ordered if order.key.step is Step.UNWIND]
    assert sales == []  # each was refused before anything was built
    assert script.of("prepare")[-4:] == [f"unwind/1/{n}" for n in (1, 2, 3, 4)]
    assert stuck.problem is not None
    assert stuck.problem.code == "simulation_failed"
    assert f'"discount":"{script.position.discount}"' in stuck.doing
    await theatre.command(deal_id, Command.RETRY)
    ended = await theatre.end(deal_id)
    assert ended.status is DealStatus.UNWOUND
    assert [o.slippage_bps for o in script.ordered if o.key.step is Step.UNWIND] == [10]
    others = [o.slippage_bps for o in script.ordered if o.key.step is not Step.UNWIND]
    assert set(others) == {None}


async def test_the_bounds_of_a_sale_widen_step_by_step(
    theatre: Theatre,
) -> None:
    policy = ExitPolicy(
        first_slippage_bps=10, step_slippage_bps=40, max_slippage_bps=100, attempts=5
    )
    script = by_policy(frozen_script(), exit=policy)
    script.outcomes |= {f"unwind/1/{n}": error(TransactionReverted) for n in (1, 2, 3, 4)}
    deal_id = await in_status(theatre, script, DealStatus.FROZEN)
    await theatre.command(deal_id, Command.UNWIND)
    ended = await theatre.end(deal_id)
    assert ended.status is DealStatus.UNWOUND
    bounds = [o.slippage_bps for o in script.ordered if o.key.step is Step.UNWIND]
    assert bounds == [10, 50, 90, 100, 100]


async def test_no_policy_widens_a_bound_beyond_what_any_swap_may_lose(theatre: Theatre) -> None:
    policy = ExitPolicy(first_slippage_bps=900, max_slippage_bps=900)
    script = by_policy(frozen_script(), exit=policy)
    deal_id = await in_status(theatre, script, DealStatus.FROZEN)
    await theatre.command(deal_id, Command.UNWIND)
    await theatre.end(deal_id)
    assert [o.slippage_bps for o in script.ordered if o.key.step is Step.UNWIND] == [500]


async def test_where_the_loan_is_in_danger_it_is_repaid_before_anything_is_sold(
    theatre: Theatre,
) -> None:
    script = frozen_script()
    deal_id = await in_status(theatre, script, DealStatus.FROZEN)
    script.position = script.position.model_copy(update={"health_factor_wad": 105 * WAD // 100})
    await theatre.command(deal_id, Command.UNWIND)
    ended = await theatre.end(deal_id)
    assert ended.status is DealStatus.UNWOUND
    assert keys(ended)[-4:] == ["top_up/1/1", "settle/1/1", "unwind/1/1", "sweep/1/1"]


# --- the signer's rates ----------------------------------------------------------------------


def test_the_hourly_rates_are_rules_of_the_signer() -> None:
    assert {Rule.RATE_HOUR_SIGNATURES.value, Rule.RATE_HOUR_USD.value} == HOURLY_RATES


async def test_over_the_hourly_rate_a_deal_waits_and_goes_on(theatre: Theatre) -> None:
    full = [error(SigningRefused, Rule.RATE_HOUR_USD)]
    script = Script(refused={("sign", f"borrow/{n}/1"): list(full) for n in (1, 2, 3, 4, 5)})
    ended = await theatre.run(script)
    assert ended.status is DealStatus.COMPLETED
    assert "borrow/6/1" in keys(ended)
    assert any("borrow waits" in record.view.doing for record in script.records)


async def test_a_deal_that_waits_for_the_hourly_rate_can_be_unwound(
    theatre: Theatre, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stepping, "_RATE_PAUSE", timedelta(hours=1))
    script = Script(refused={("sign", "borrow/1/1"): [error(SigningRefused, Rule.RATE_HOUR_USD)]})
    deal_id = (await theatre.start(script)).request.deal_id
    await theatre.until(deal_id, lambda view: "borrow waits" in view.doing)
    await theatre.command(deal_id, Command.UNWIND)
    ended = await theatre.end(deal_id)
    assert ended.status is DealStatus.UNWOUND
    assert keys(ended) == ["fund/1/1", "wrap/1/1", "collateralize/1/1", "settle/1/1", "sweep/1/1"]


# --- adopt -----------------------------------------------------------------------------------


async def test_an_adopted_deal_ends_with_what_is_left_and_who_answers_for_it(
    theatre: Theatre,
) -> None:
    script = stuck_script()
    deal_id = await in_status(theatre, script, DealStatus.STUCK)
    answered = await adopt(theatre, deal_id, "treasury")
    assert answered.status is DealStatus.UNWOUND
    ended = await theatre.end(deal_id)
    assert ended.adoption is not None
    assert ended.adoption.remains.collateral == 9 * 10**18
    assert (ended.adoption.who, ended.adoption.answers) == ("mia", "treasury")
    assert ended.doing == ended.adoption.text()
    assert "9000000000000000000 wei of collateral at Aave" in ended.doing
    assert script.records[-1].view.adoption == ended.adoption
    assert script.retired == []  # whoever answers for it needs the key


async def test_the_key_of_an_adopted_deal_is_retired_if_nothing_is_left(theatre: Theatre) -> None:
    script = stuck_script()
    deal_id = await in_status(theatre, script, DealStatus.STUCK)
    script.position = script.position.model_copy(
        update={"collateral": 0, "collateral_usd8": 0, "wei": 0}
    )
    ended = await adopt(theatre, deal_id)
    assert ended.doing == "adopted by mia: moved by hand; nothing is left in the account"
    await theatre.end(deal_id)
    assert len(script.retired) == 1


async def test_a_deal_that_cannot_be_looked_at_stays_stuck_until_it_is_adopted_again(
    theatre: Theatre,
) -> None:
    script = stuck_script()
    deal_id = await in_status(theatre, script, DealStatus.STUCK)
    script.refused["read_position", ""] = [error(LimitExceeded)]
    still = await adopt(theatre, deal_id)
    assert still.status is DealStatus.STUCK
    assert still.doing.startswith("not handed over to mia")
    assert (await adopt(theatre, deal_id)).status is DealStatus.UNWOUND
    await theatre.end(deal_id)


async def test_a_deal_that_was_lost_keeps_to_the_policy_of_its_admission(
    theatre: Theatre,
) -> None:
    script = by_policy(frozen_script(), exit=ExitPolicy(attempts=1))
    script.outcomes["unwind/1/1"] = error(TransactionReverted)
    deal_id = await in_status(theatre, script, DealStatus.FROZEN)
    await theatre.handle(deal_id).terminate("a test")
    await adopt(theatre, deal_id)
    await theatre.until(deal_id, lambda view: view.status is DealStatus.STUCK)
    assert "prepare unwind/1/2" not in script.calls
    await theatre.command(deal_id, Command.RETRY)
    assert (await theatre.end(deal_id)).status is DealStatus.UNWOUND


async def test_a_deal_that_runs_cannot_be_adopted(theatre: Theatre) -> None:
    held = asyncio.Event()
    script = Script(held={"wrap/1/1": held})
    deal_id = (await theatre.start(script)).request.deal_id
    with pytest.raises(DealError) as refused:
        await adopt(theatre, deal_id)
    assert refused.value.problem.code == "not_allowed"
    held.set()
    assert (await theatre.end(deal_id)).adoption is None
