"""What people do with deals goes one way: allowed, written down, handed over once, answered."""

from __future__ import annotations

import itertools
import json
from typing import Any

import psycopg
import pytest

from activities.transactions.interface import TransactionView
from domain.commands import CommandKind, CommandState
from domain.deals import Command, DealRequest, DealStatus
from domain.errors import Conflict, Forbidden, NotAllowed, NotFound, OutcomeUnknown, Unavailable
from domain.identifiers import DealId
from domain.identity import PERMISSIONS_OF, Permission, Role
from domain.launches import Launch
from domain.views import DealView
from starters.control.commands import CommandStore
from starters.control.database import ControlDatabase
from starters.control.desk import DealDesk, for_caller
from starters.deals.database import single_connection
from starters.deals.failures import not_found
from starters.deals.reading import DealFilter, RecordsReader
from tests.activities.deals import samples
from tests.control.people import add_principal, caller
from tests.support.postgres import Database

SENIOR = caller("sue", Role.SENIOR_TRADER, Role.ONCALL, banks=("bank-one",))
ELSEWHERE = caller("otto", Role.SENIOR_TRADER, Role.ONCALL, Role.APPROVER, banks=("bank-two",))
VIEWER = caller("vera", Role.VIEWER, banks=("bank-one",))
_ids = itertools.count()


class Workflows:
    """Stands in for Temporal: one deal of bank-one, and what it was told."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []
        self.error: Exception | None = None
        self.away = False

    async def connect(self) -> Any:
        if self.away:
            raise Unavailable("Temporal is away", next_action="wait")
        return self

    async def view(self, deal_id: DealId) -> DealView:
        if deal_id != "alpha":
            raise not_found(deal_id)
        return samples.view(status=DealStatus.EXECUTING)

    async def start(self, request: DealRequest, launch: Launch) -> DealView:
        return self._take("start", request, launch)

    async def command(self, deal_id: DealId, command: Command, message: Any, id_: str) -> DealView:
        return self._take(deal_id, command, message, id_)

    async def transact(self, *said: Any) -> TransactionView:
        self._take(*said)
        return TransactionView(
            intent_id="alpha/swap/1/1/0",
            nonce=3,
            state="BROADCAST",
            transaction_hash="0x" + "ab" * 32,
            action="bump",
            note="sent",
        )

    def _take(self, *said: Any) -> DealView:
        self.told.append(said)
        if self.error is not None:
            raise self.error
        return samples.view(status=DealStatus.EXECUTING)


@pytest.fixture(scope="module")
def people(database: Database) -> Database:
    for someone in (SENIOR, ELSEWHERE, VIEWER):
        add_principal(database, someone.who, *someone.principal.roles)
    for role in Role:
        add_principal(database, f"one-{role.replace('_', '-')}", role)
    return database


@pytest.fixture
def workflows() -> Workflows:
    return Workflows()


@pytest.fixture
def store(people: Database) -> CommandStore:
    reading = single_connection(people.role("deal_reader"))
    return CommandStore(ControlDatabase.at(people.role("deal_control")), reading)


@pytest.fixture
def desk(people: Database, store: CommandStore, workflows: Workflows) -> DealDesk:
    reading = single_connection(people.role("deal_reader"))
    clients: Any = workflows.connect
    return DealDesk(clients, RecordsReader(reading), store)


def new_id() -> str:
    return f"c-{next(_ids)}"


REQUEST: DealRequest = samples.view().request
ALPHA = DealId("alpha")


async def test_a_start_is_written_down_before_it_is_handed_over(
    desk: DealDesk, workflows: Workflows, store: CommandStore
) -> None:
    id_ = new_id()
    view = await desk.start(SENIOR, REQUEST, why="the discount", command_id=id_)
    assert view.request == REQUEST
    launch = Launch(command_id=id_, initiator=SENIOR.who, via=SENIOR.via)
    assert workflows.told == [("start", REQUEST, launch)]
    recorded = await store.find(id_)
    assert recorded
    assert (recorded.kind, recorded.state) == (CommandKind.START, CommandState.APPLIED)
    assert (recorded.principal_id, recorded.bank) == ("sue", "bank-one")
    assert recorded.request_digest == REQUEST.digest()


async def test_a_command_given_twice_is_handed_over_once_and_answered_alike(
    desk: DealDesk, workflows: Workflows
) -> None:
    id_ = new_id()
    first = await desk.give(SENIOR, Command.PAUSE, ALPHA, "news", id_)
    assert await desk.give(SENIOR, Command.PAUSE, ALPHA, "news", id_) == first
    assert len(workflows.told) == 1
    (deal_id, command, message, sent) = workflows.told[0]
    assert (deal_id, command, sent) == (ALPHA, Command.PAUSE, id_)
    assert (message.who, message.why) == ("sue", "news")
    with pytest.raises(Conflict):
        await desk.give(SENIOR, Command.CANCEL, ALPHA, "news", id_)
    assert len(workflows.told) == 1


async def test_a_refusal_is_kept_and_told_again(desk: DealDesk, workflows: Workflows) -> None:
    workflows.error = NotAllowed("it has ended", next_action="nothing")
    id_ = new_id()
    for _ in range(2):
        with pytest.raises(NotAllowed, match="it has ended"):
            await desk.give(SENIOR, Command.PAUSE, ALPHA, "news", id_)
    assert len(workflows.told) == 1


async def test_what_is_not_known_is_asked_again_under_the_same_id(
    desk: DealDesk, workflows: Workflows, store: CommandStore
) -> None:
    workflows.error = OutcomeUnknown("no answer", next_action="again")
    id_ = new_id()
    with pytest.raises(OutcomeUnknown):
        await desk.give(SENIOR, Command.PAUSE, ALPHA, "news", id_)
    recorded = await store.find(id_)
    assert recorded
    assert recorded.state is CommandState.RECORDED
    workflows.error = None
    assert await desk.give(SENIOR, Command.PAUSE, ALPHA, "news", id_)
    assert [said[-1] for said in workflows.told] == [id_, id_]


async def record_alpha(people: Database) -> None:
    """A record of the deal, for when Temporal is away."""
    view = samples.view(status=DealStatus.EXECUTING)
    cause = json.dumps({"who": "deal", "kind": "system", "via": "worker", "why": "a test"})
    with psycopg.connect(people.owner) as connection:
        connection.execute("SELECT set_config('deal.cause', %s, true)", (cause,))
        connection.execute("SET LOCAL session_replication_role = replica")
        connection.execute(
            "INSERT INTO deals.deals (deal_id, bank, module, chain_id, status, working_liquidity,"
            " max_ltv, max_slippage, cycles, mode, request, request_digest, doing, version,"
            " created_at, updated_at) VALUES ('alpha', 'bank-one', 'usdtz', 138, 'EXECUTING',"
            " 1, 0.3, 0.005, 1, 'stepwise', %s, %s, 'swapping', 2, now(), now())"
            " ON CONFLICT DO NOTHING",
            (view.request.model_dump_json(), view.request.digest()),
        )


@pytest.mark.parametrize("command", [Command.CANCEL, Command.UNWIND])
async def test_the_way_out_is_queued_while_temporal_is_away(
    people: Database,
    desk: DealDesk,
    workflows: Workflows,
    store: CommandStore,
    command: Command,
) -> None:
    await record_alpha(people)
    workflows.away = True
    id_ = new_id()
    for _ in range(2):
        assert await desk.give(SENIOR, command, ALPHA, "news", id_) is None
    recorded = await store.find(id_)
    assert recorded
    assert recorded.state is CommandState.QUEUED
    assert workflows.told == []


async def test_anything_else_is_refused_with_the_reason_and_may_be_tried_again(
    people: Database, desk: DealDesk, workflows: Workflows, store: CommandStore
) -> None:
    await record_alpha(people)
    workflows.away = True
    id_ = new_id()
    with pytest.raises(Unavailable, match="Temporal is away"):
        await desk.give(SENIOR, Command.PAUSE, ALPHA, "news", id_)
    recorded = await store.find(id_)
    assert recorded
    assert recorded.state is CommandState.REFUSED
    workflows.away = False
    assert await desk.give(SENIOR, Command.PAUSE, ALPHA, "news", id_)


@pytest.mark.parametrize("command", list(Command))
async def test_another_banks_deal_is_not_there(
    desk: DealDesk, workflows: Workflows, command: Command
) -> None:
    with pytest.raises(NotFound) as other:
        await desk.give(ELSEWHERE, command, ALPHA, "news", new_id())
    with pytest.raises(NotFound) as nothing:
        await desk.give(ELSEWHERE, command, DealId("no-such"), "news", new_id())
    told = other.value.problem.model_dump_json().replace("alpha", "no-such")
    assert told == nothing.value.problem.model_dump_json()
    assert workflows.told == []


async def test_another_banks_deal_is_not_shown_nor_started(
    desk: DealDesk, workflows: Workflows
) -> None:
    with pytest.raises(NotFound):
        await desk.view(ELSEWHERE, ALPHA)
    with pytest.raises(Forbidden, match="for bank bank-one"):
        await desk.start(ELSEWHERE, REQUEST, why="x", command_id=new_id())
    assert (await desk.view(VIEWER, ALPHA))[1]
    assert workflows.told == []


@pytest.mark.parametrize(("role", "command"), list(itertools.product(Role, Command)))
async def test_each_command_takes_its_own_permission(
    desk: DealDesk, workflows: Workflows, role: Role, command: Command
) -> None:
    who = caller(f"one-{role.replace('_', '-')}", role, banks=("bank-one",))
    if Permission(f"deals.{command}") in PERMISSIONS_OF[role]:
        await desk.give(who, command, ALPHA, "news", new_id())
        assert len(workflows.told) == 1
        return
    with pytest.raises(Forbidden):
        await desk.give(who, command, ALPHA, "news", new_id())
    assert workflows.told == []


def test_lists_are_of_the_callers_banks() -> None:
    chosen = DealFilter(bank="bank-two")
    assert for_caller(VIEWER, chosen).banks == ("bank-one",)
    assert for_caller(caller("all", Role.VIEWER), chosen).banks is None
    with pytest.raises(Forbidden):
        for_caller(caller("none"), chosen)
