"""Who may halt what, and how far the database is believed about it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from domain.errors import Conflict, Forbidden, InvalidInput, NotAllowed, NotFound, Unavailable
from domain.halts import Scope, TradingState
from domain.identity import Caller, Principal, PrincipalKind, Role, Via
from starters.control.database import ControlDatabase
from starters.control.halts import HaltDesk
from starters.deals.database import single_connection
from tests.control.people import caller
from tests.support.halting import forget_halts
from tests.support.postgres import Database

DESK = Scope.parse("desk")
OURS = Scope.parse("bank=bank-one")
RISK_1 = caller("risk-1", Role.RISK_MANAGER)
RISK_2 = caller("risk-2", Role.RISK_MANAGER)
TRADER = caller("ted", Role.TRADER)
LOCAL = caller("olga", Role.ONCALL, banks=("bank-one",))
ROBOT = Caller(
    principal=Principal.model_validate(
        {
            "principal_id": "monitor",
            "kind": PrincipalKind.SERVICE,
            "roles": [Role.RISK_MANAGER],
            "banks": ["*"],
        }
    ),
    via=Via.API,
)


@pytest.fixture
def halts(database: Database) -> Iterator[HaltDesk]:
    forget_halts(database.owner)
    yield desk_of(database.role("deal_control"), database.role("deal_reader"))
    forget_halts(database.owner)


def desk_of(control: str, reader: str) -> HaltDesk:
    return HaltDesk(ControlDatabase.at(control), single_connection(reader))


async def test_one_person_halts_and_another_releases(halts: HaltDesk) -> None:
    halted = await halts.set(RISK_1, DESK, "the market moves")
    assert halted.changed
    assert (halted.halt.state, halted.halt.version) == (TradingState.HALTED, 1)
    assert halted.halt.told() == "desk halted by risk-1: the market moves"
    with pytest.raises(NotAllowed) as refused:
        await halts.release(RISK_1, DESK, "all is well")
    assert refused.value.problem.actual == "risk-1"
    released = await halts.release(RISK_2, DESK, "all is well")
    assert (released.halt.state, released.halt.version) == (TradingState.ACTIVE, 2)
    assert (await halts.find(RISK_1, DESK)) == released.halt


async def test_the_same_halt_again_changes_nothing(halts: HaltDesk) -> None:
    first = await halts.set(RISK_1, DESK, "the market moves")
    again = await halts.set(RISK_2, DESK, "so it does")
    assert not again.changed
    assert again.halt == first.halt
    await halts.release(RISK_2, DESK, "over")
    assert not (await halts.release(RISK_2, DESK, "over")).changed


async def test_it_can_be_released_to_reduce_first(halts: HaltDesk) -> None:
    await halts.set(RISK_1, DESK, "the market moves")
    lower = await halts.release(RISK_2, DESK, "calmer", TradingState.REDUCING)
    assert lower.halt.state is TradingState.REDUCING
    with pytest.raises(NotAllowed):
        await halts.release(RISK_1, DESK, "over")
    assert (await halts.release(RISK_2, DESK, "over")).halt.state is TradingState.ACTIVE


async def test_setting_never_releases_and_releasing_never_halts(halts: HaltDesk) -> None:
    with pytest.raises(NotFound):
        await halts.release(RISK_2, DESK, "over")
    await halts.set(RISK_1, DESK, "the market moves")
    with pytest.raises(InvalidInput, match="would be a release"):
        await halts.set(RISK_2, DESK, "less", TradingState.REDUCING)
    await halts.release(RISK_2, DESK, "less", TradingState.REDUCING)
    with pytest.raises(InvalidInput, match="is no release"):
        await halts.release(RISK_2, DESK, "more", TradingState.HALTED)


async def test_who_may(halts: HaltDesk) -> None:
    with pytest.raises(Forbidden):
        await halts.set(TRADER, DESK, "why not")
    with pytest.raises(Forbidden):
        await halts.set(LOCAL, DESK, "not mine alone")
    with pytest.raises(Forbidden):
        await halts.set(LOCAL, Scope.parse("bank=bank-two"), "not mine")
    await halts.set(LOCAL, OURS, "mine")
    with pytest.raises(Forbidden):
        await halts.release(TRADER, OURS, "why not")


async def test_a_service_may_halt_but_only_a_person_releases(halts: HaltDesk) -> None:
    await halts.set(ROBOT, OURS, "the health factor falls")
    other = ROBOT.model_copy(
        update={"principal": ROBOT.principal.model_copy(update={"principal_id": "monitor-2"})}
    )
    with pytest.raises(Forbidden, match="is no person"):
        await halts.release(other, OURS, "it has risen")
    assert (await halts.release(RISK_1, OURS, "looked at it")).changed


async def test_another_banks_halt_is_not_shown(halts: HaltDesk) -> None:
    await halts.set(RISK_1, DESK, "all")
    await halts.set(RISK_1, OURS, "one")
    await halts.set(RISK_1, Scope.parse("bank=bank-two"), "two")
    assert [str(halt.scope) for halt in await halts.all(LOCAL)] == ["bank=bank-one", "desk"]
    assert len(await halts.all(RISK_2)) == 3
    with pytest.raises(NotFound):
        await halts.find(LOCAL, Scope.parse("bank=bank-two"))


async def test_a_change_of_what_was_looked_at_before_is_refused(halts: HaltDesk) -> None:
    first = await halts.set(RISK_1, DESK, "the market moves", version=0)
    with pytest.raises(Conflict):
        await halts.set(RISK_2, DESK, "late", version=0)
    with pytest.raises(Conflict):
        await halts.release(RISK_2, DESK, "late", version=7)
    await halts.release(RISK_2, DESK, "in time", version=first.halt.version)


async def test_ten_people_at_once_halt_it_once(halts: HaltDesk) -> None:
    people = [caller(f"risk-{n}", Role.RISK_MANAGER) for n in range(10)]
    changes = await asyncio.gather(*(halts.set(one, DESK, "now") for one in people))
    assert [change.changed for change in changes].count(True) == 1
    assert {change.halt.version for change in changes} == {1}


async def test_without_a_reason_nothing_is_halted(halts: HaltDesk) -> None:
    with pytest.raises(InvalidInput):
        await halts.set(RISK_1, DESK, "  ")
    with pytest.raises(NotFound):
        await halts.find(RISK_1, DESK)


async def test_without_postgres_it_says_so() -> None:
    nowhere = "postgresql://deal_control@127.0.0.1:1/deal"
    halts = desk_of(nowhere, nowhere)
    with pytest.raises(Unavailable):
        await halts.set(RISK_1, DESK, "the market moves")
    with pytest.raises(Unavailable):
        await halts.all(RISK_1)
