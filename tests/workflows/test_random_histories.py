"""Random histories of messages, faults and market moves: a command leads on, nothing is lost.

The workflow is the real one; its activities act upon a small account that remembers where every
asset went. Whatever happened, the deal is then led to its end by commands that its state allows,
and what it reports is held against the account and the treasury of the model.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Final
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domain.deals import CLOSED, Command, DealStatus, Step, commands_for
from domain.errors import (
    DealError,
    LimitExceeded,
    NotAllowed,
    NotFound,
    RedemptionFrozen,
    SigningRefused,
    SimulationFailed,
    TransactionReverted,
)
from domain.exits import next_exit_step
from domain.identifiers import DealId
from domain.positions import Position
from domain.transactions import Asset
from domain.views import DealView
from tests.workflows.conftest import Theatre
from tests.workflows.fakes import Script
from workflows.deal import exit as way_out
from workflows.deal import stepping
from workflows.deal.messages import AdoptMessage, CommandMessage, UnwindMessage

EXAMPLES: Final = 60
MOST_COMMANDS: Final = 8
"""So many commands lead from any state to an end, or the deal is trapped."""

WAD: Final = 10**18
STEPS: Final = ("fund", "wrap", "collateralize", "borrow", "swap", "redeem", "settle", "sweep")
EXITS: Final = ("unwind", "top_up", "settle", "sweep")


@dataclass(frozen=True)
class Fault:
    """A step that cannot be prepared or signed, or that reverts."""

    where: str
    step: str
    round: int
    attempt: int
    kind: type[DealError]

    def plan(self, script: Script) -> None:
        """Have it happen."""
        key = f"{self.step}/{self.round}/{self.attempt}"
        error = self.kind("the history says so", next_action="read it", field="history")
        if self.where == "mined":
            script.outcomes[key] = error
        else:
            script.refused.setdefault((self.where, key), []).append(error)


@dataclass(frozen=True)
class Move:
    """Somebody says something, or the market moves, after some milliseconds."""

    after_ms: int
    command: Command | None = None
    part_bps: int | None = None
    frozen: bool | None = None
    health_bps: int | None = None


FAULTS: Final = st.one_of(
    st.builds(
        Fault,
        where=st.sampled_from(["prepare", "sign"]),
        step=st.sampled_from(STEPS + EXITS),
        round=st.integers(1, 2),
        attempt=st.integers(1, 3),
        kind=st.sampled_from([LimitExceeded, SimulationFailed, SigningRefused]),
    ),
    st.builds(
        Fault,
        where=st.just("mined"),
        step=st.sampled_from(STEPS + EXITS),
        round=st.just(1),
        attempt=st.integers(1, 5),
        kind=st.just(TransactionReverted),
    ),
    st.builds(
        Fault,
        where=st.just("prepare"),
        step=st.just("redeem"),
        round=st.just(1),
        attempt=st.just(1),
        kind=st.just(RedemptionFrozen),
    ),
)
MOVES: Final = st.one_of(
    st.builds(
        Move,
        after_ms=st.integers(0, 120),
        command=st.sampled_from(Command),
        part_bps=st.one_of(st.none(), st.integers(1, 9_999)),
    ),
    st.builds(Move, after_ms=st.integers(0, 60), frozen=st.booleans()),
    st.builds(Move, after_ms=st.integers(0, 60), health_bps=st.integers(9_000, 30_000)),
)


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stepping, "_RETRY_AFTER", timedelta(milliseconds=5))
    monkeypatch.setattr(stepping, "_RATE_PAUSE", timedelta(milliseconds=5))


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(faults=st.lists(FAULTS, max_size=6), moves=st.lists(MOVES, max_size=5))
@pytest.mark.timeout(900)
@pytest.mark.unmeasured
async def test_whatever_happens_a_command_leads_on_and_nothing_is_left_unreported(
    theatre: Theatre, faults: list[Fault], moves: list[Move]
) -> None:
    await live_through(theatre, faults, moves)


NO_FAULT: Final[list[Fault]] = []
FROZEN: Final = [Fault("prepare", "redeem", 1, 1, RedemptionFrozen)]


def _keeps_discount_tokens(position: Position, danger_wad: int = 0) -> Step | None:
    without = position.model_copy(update={"discount": 0})
    return next_exit_step(without, danger_wad)


def _keeps_the_last_ether(position: Position, danger_wad: int = 0) -> Step | None:
    step = next_exit_step(position, danger_wad)
    return None if step is Step.SWEEP else step


def _keeps_the_loan(position: Position, danger_wad: int = 0) -> Step | None:
    without = position.model_copy(update={"debt": 0, "collateral": 0})
    return next_exit_step(without, danger_wad)


@pytest.mark.parametrize(
    "mutated", [_keeps_discount_tokens, _keeps_the_last_ether, _keeps_the_loan]
)
async def test_a_rule_of_the_way_out_that_leaves_something_behind_is_found(
    theatre: Theatre, monkeypatch: pytest.MonkeyPatch, mutated: object
) -> None:
    monkeypatch.setattr(way_out, "next_exit_step", mutated)
    with pytest.raises(AssertionError, match="left behind"):
        await live_through(theatre, FROZEN, [Move(0, frozen=True)])


async def test_the_same_history_by_the_true_rules_leaves_nothing_behind(theatre: Theatre) -> None:
    ended = await live_through(theatre, FROZEN, [Move(0, frozen=True)])
    assert ended.status is DealStatus.UNWOUND


# --- living through a history ----------------------------------------------------------------


async def live_through(theatre: Theatre, faults: list[Fault], moves: list[Move]) -> DealView:
    """Run a deal through it, lead it to its end, and hold what it says against the model."""
    script = Script()
    for fault in faults:
        fault.plan(script)
    for move in moves[:1]:
        script.frozen = bool(move.frozen)
    deal_id = (await theatre.start(script)).request.deal_id
    for move in moves:
        await asyncio.sleep(move.after_ms / 1_000)
        await make(theatre, deal_id, script, move)
    ended = await lead_to_the_end(theatre, deal_id)
    check_nothing_is_left_behind(script, ended)
    return ended


async def make(theatre: Theatre, deal_id: DealId, script: Script, move: Move) -> None:
    """Make the move; a command that the state does not allow is refused, which is no harm."""
    if move.frozen is not None:
        script.frozen = move.frozen
    if move.health_bps is not None:
        health = {"health_factor_wad": move.health_bps * WAD // 10_000}
        script.position = script.position.model_copy(update=health)
    if move.command is not None:
        with suppress(DealError):
            await tell(theatre, deal_id, move.command, move.part_bps)


async def tell(
    theatre: Theatre, deal_id: DealId, command: Command, part_bps: int | None = None
) -> None:
    """Give a command."""
    message: CommandMessage
    match command:
        case Command.UNWIND:
            message = UnwindMessage(who="a history", why="it says so", part_bps=part_bps)
        case Command.ADOPT:
            message = AdoptMessage(who="a history", why="it says so", answers="the desk")
        case _:
            message = CommandMessage(who="a history", why="it says so")
    await theatre.deals.command(deal_id, command, message, uuid4().hex)


async def lead_to_the_end(theatre: Theatre, deal_id: DealId) -> DealView:
    """Give commands that the state allows until the deal has ended."""
    for number in range(MOST_COMMANDS):
        view = await theatre.until(deal_id, waits_for_a_person)
        if view.status in CLOSED:
            return await theatre.end(deal_id)
        command = leading_on(view, number)
        assert command in commands_for(view.status)
        with suppress(NotAllowed, NotFound):  # it has moved on by itself meanwhile
            await tell(theatre, deal_id, command)
        await theatre.until(deal_id, lambda now, then=view: now.version > then.version)
    msg = f"after {MOST_COMMANDS} commands it is {view.status}: {view.doing}"
    raise AssertionError(msg)


def waits_for_a_person(view: DealView) -> bool:
    """Whether nothing happens by itself any more; while frozen nobody knows."""
    return view.status in CLOSED | {DealStatus.STUCK, DealStatus.PAUSED, DealStatus.FROZEN}


def leading_on(view: DealView, number: int) -> Command:
    """What a person would say: unwind, try again, and in the end take it over."""
    if view.status is not DealStatus.STUCK:
        return Command.UNWIND
    return Command.RETRY if number < MOST_COMMANDS - 3 else Command.ADOPT


def check_nothing_is_left_behind(script: Script, view: DealView) -> None:
    """The account is empty or told of to the unit, and the treasury has what the deal says."""
    if view.adoption is not None:
        told = view.adoption.remains.model_copy(update={"block_number": 0})
        assert told == script.position.model_copy(update={"block_number": 0}), "left behind"
    else:
        assert script.position.is_empty, f"left behind: {script.position}"
    if view.settlement is None:
        assert not any(script.home.values()), f"left behind: {script.home}"
        return
    reported = (view.settlement.ether_wei, view.settlement.par)
    assert reported == (script.home[Asset.ETHER], script.home[Asset.PAR]), "left behind"
