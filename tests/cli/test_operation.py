"""`deal operation`: what is proposed, listed, shown and cancelled, and what is refused."""

import asyncio
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from psycopg_pool import AsyncConnectionPool

from activities.operations.records import OperationRecords
from domain.errors import Conflict, OutcomeUnknown
from domain.identity import Role, Via
from domain.operations import (
    OperationId,
    OperationRequest,
    OperationStatus,
    OperationView,
    ensure_cancellable,
)
from starters.cli import operation_act
from starters.deals.operations import conflict, not_found
from tests.activities.operations import samples
from tests.cli.conftest import Deal
from tests.control.people import add_principal
from tests.support.postgres import Database
from workflows.deal.messages import CommandMessage

ADDRESS = "0x14dC79964da2C08b23698B3D3cc7Ca32193d9955"
OTHER = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
OPTIONS = {"id": "cheaper", "chain": "138", "module": "usdtz", "reason": "agreed"}


class Office:
    """Stands in for Temporal: the operations there are, and what was cancelled."""

    def __init__(self) -> None:
        self.views: dict[OperationId, OperationView] = {}
        self.told: list[tuple[CommandMessage, str]] = []
        self.silent = False

    async def propose(self, request: OperationRequest) -> OperationView:
        new = samples.view(request=request)
        view = self.views.setdefault(request.operation_id, new)
        if view.request != request:
            raise conflict(view)
        return view

    async def view(self, operation_id: OperationId) -> OperationView:
        if operation_id not in self.views:
            raise not_found(operation_id)
        return self.views[operation_id]

    async def cancel(
        self, operation_id: OperationId, message: CommandMessage, command_id: str
    ) -> OperationView:
        view = await self.view(operation_id)
        ensure_cancellable(view.status)
        if self.silent:
            raise OutcomeUnknown("no answer", next_action="give it again")
        self.told.append((message, command_id))
        ended = {"status": OperationStatus.CANCELLED, "cancelled_by": message.who}
        self.views[operation_id] = view.model_copy(update=ended)
        return self.views[operation_id]


@pytest.fixture(scope="module")
def written(database: Database) -> Database:
    """Where Mia's commands are written down."""
    add_principal(database, "mia", *Role)
    return database


def commands(database: Database) -> list[tuple[Any, ...]]:
    with psycopg.connect(database.role("deal_reader")) as connection:
        return connection.execute(
            "SELECT command_id, kind, subject, principal_id, state, problem ->> 'code'"
            " FROM control.commands ORDER BY created_at DESC"
        ).fetchall()


@pytest.fixture
def office(deal: Deal, written: Database, monkeypatch: pytest.MonkeyPatch) -> Office:  # noqa: ARG001 - clears the environment first
    """The commands talk to this stand-in, and are written down."""
    monkeypatch.setenv("DEAL_DATABASE_URL", written.role("deal_reader"))
    monkeypatch.setenv("DEAL_CONTROL_DATABASE_URL", written.role("deal_control"))
    stand_in = Office()

    async def opened() -> Office:
        return stand_in

    monkeypatch.setattr(operation_act, "open_operations", opened)
    return stand_in


def proposal(kind: str, **options: str) -> list[str]:
    """The arguments of a proposal."""
    given = OPTIONS | options
    named = [part for name, value in given.items() for part in (f"--{name}", value)]
    return ["operation", "propose", kind, *named]


CHANGES: dict[str, tuple[dict[str, str], dict[str, Any]]] = {
    "treasury": ({"to": ADDRESS}, {"treasury": ADDRESS}),
    "destination": (
        {"of": ADDRESS, "to": "forbidden"},
        {"destination": ADDRESS, "allowed": False},
    ),
    "safe_owner": ({"of": ADDRESS, "to": OTHER}, {"old_owner": ADDRESS, "new_owner": OTHER}),
    "redemption_fee": ({"to": "4"}, {"fee_bps": 4}),
    "redemption_cap": ({"to": "99000000000000"}, {"daily_cap": "99000000000000"}),
}


@pytest.mark.parametrize("kind", CHANGES)
def test_every_kind_is_proposed_as_it_was_typed(deal: Deal, office: Office, kind: str) -> None:
    options, change = CHANGES[kind]
    answer = deal(*proposal(kind, delay="7200", **options), "--yes")
    assert answer.code == 0
    request = answer.document["request"]
    assert request["change"] == {"kind": kind} | change
    assert (request["operation_id"], request["chain_id"]) == ("cheaper", 138)
    assert (request["delay_seconds"], request["who"], request["why"]) == (7200, "mia", "agreed")
    assert office.views[OperationId("cheaper")].model_dump(mode="json") == answer.document


WRONG = [
    # kind, options, field, part of the limit
    ("weather", {"to": "4"}, "kind", "redemption_fee"),
    ("treasury", {"to": "0x12"}, "treasury", "20 bytes"),
    ("treasury", {"to": ADDRESS.replace("d", "D")}, "treasury", "digit"),
    ("treasury", {"to": ADDRESS, "of": OTHER}, "of", "nothing otherwise"),
    ("safe_owner", {"to": ADDRESS}, "of", "an address"),
    ("safe_owner", {"to": ADDRESS, "of": "bob"}, "old_owner", "20 bytes"),
    ("destination", {"to": "maybe", "of": ADDRESS}, "to", "allowed or forbidden"),
    ("redemption_fee", {"to": "4.5"}, "to", "a whole number"),
    ("redemption_fee", {"to": "-1"}, "to", "a whole number"),
    ("redemption_fee", {"to": "\u0664"}, "to", "a whole number"),
    ("redemption_fee", {"to": "1001"}, "fee_bps", "1000"),
    ("redemption_cap", {"to": str(2**256)}, "daily_cap", ""),
    ("redemption_fee", {"to": "4", "id": "No!"}, "operation_id", ""),
    ("redemption_fee", {"to": "4", "chain": "0"}, "chain", ""),
    ("redemption_fee", {"to": "4", "chain": "main"}, "chain", ""),
    ("redemption_fee", {"to": "4", "module": "No!"}, "module", ""),
    ("redemption_fee", {"to": "4", "delay": "0"}, "delay_seconds", "1"),
    ("redemption_fee", {"to": "4", "reason": ""}, "reason", ""),
    ("redemption_fee", {"to": ""}, "to", "a whole number"),
]


@pytest.mark.parametrize(("kind", "options", "field", "limit"), WRONG)
def test_what_cannot_be_proposed_is_named(  # noqa: PLR0913, PLR0917 - fixtures and a table
    deal: Deal, office: Office, kind: str, options: dict[str, str], field: str, limit: str
) -> None:
    answer = deal(*proposal(kind, **options), "--yes")
    assert answer.code == 2
    assert answer.problem["field"].rpartition(".")[2] == field
    assert limit in answer.problem.get("limit", "")
    assert answer.problem["next_action"]
    assert office.views == {}


def test_the_same_again_is_the_same_and_another_body_is_a_conflict(
    deal: Deal, office: Office
) -> None:
    first = deal(*proposal("redemption_fee", to="4"), "--yes")
    assert deal(*proposal("redemption_fee", to="4"), "--yes").document == first.document
    answer = deal(*proposal("redemption_fee", to="5"), "--yes")
    assert (answer.code, answer.problem["code"]) == (Conflict.exit_code, "conflict")
    assert (answer.problem["field"], answer.problem["value"]) == ("operation_id", "cheaper")
    assert '"fee_bps":4' in answer.problem["limit"]
    assert len(office.views) == 1


def test_a_terminal_gets_words(deal: Deal, office: Office) -> None:
    words = deal(*proposal("redemption_fee", to="4"), "--yes", "-o", "table")
    assert words.code == 0
    for part in ("cheaper", "REQUESTED", "the fee of redemption", "4 basis points", "mia: agreed"):
        assert part in words.out
    assert len(office.views) == 1


def test_nothing_is_proposed_or_cancelled_without_a_yes(deal: Deal, office: Office) -> None:
    answer = deal(*proposal("redemption_fee", to="4"))
    assert (answer.code, answer.problem["field"]) == (2, "yes")
    assert office.views == {}
    deal(*proposal("redemption_fee", to="4"), "--yes")
    answer = deal("operation", "cancel", "cheaper", "--reason", "x")
    assert (answer.code, answer.problem["field"]) == (2, "yes")
    assert office.told == []


@pytest.mark.parametrize(("typed", "meant"), [("y", True), ("n", False), ("", False)])
def test_a_person_is_asked(
    deal: Deal, office: Office, monkeypatch: pytest.MonkeyPatch, typed: str, *, meant: bool
) -> None:
    monkeypatch.setattr(operation_act, "require_terminal", lambda *_: None)
    answer = deal(*proposal("redemption_fee", to="4"), stdin=f"{typed}\n")
    assert "on chain 138, the fee of redemption becomes 4 basis points" in answer.err
    assert answer.code == (0 if meant else 1)
    assert len(office.views) == meant
    deal(*proposal("redemption_fee", to="4"), "--yes")
    answer = deal("operation", "cancel", "cheaper", "--reason", "x", stdin=f"{typed}\n")
    assert "cheaper is REQUESTED: requested" in answer.err
    assert answer.code == (0 if meant else 1)
    assert len(office.told) == meant


def test_an_operation_is_shown_with_what_the_timelock_was_told(deal: Deal, office: Office) -> None:
    office.views[OperationId("cheaper")] = samples.waiting()
    document = deal("operation", "show", "cheaper").document
    assert (document["status"], document["before"]) == ("WAITING", "5 basis points")
    assert document["scheduled"]["timelock_id"] == samples.CALL.timelock_id
    words = deal("operation", "show", "cheaper", "-o", "table").out
    for part in ("WAITING", "5 basis points", samples.CALL.timelock_id, "2026-11-22 13:00:00"):
        assert part in words


@pytest.mark.parametrize(
    "arguments", [("show", "nobody"), ("cancel", "nobody", "--reason", "x", "--yes")]
)
def test_an_operation_that_is_not_there_is_named(
    deal: Deal, office: Office, arguments: tuple[str, ...]
) -> None:
    answer = deal("operation", *arguments)
    assert (answer.code, answer.problem["code"]) == (2, "not_found")
    assert (answer.problem["field"], answer.problem["value"]) == ("operation_id", "nobody")
    assert "deal operation list" in answer.problem["next_action"]
    assert office.told == []


def test_a_cancellation_says_who_and_why_and_has_an_id(
    deal: Deal, office: Office, written: Database
) -> None:
    deal(*proposal("redemption_fee", to="4"), "--yes")
    about = ("cheaper", "mia", "APPLIED", None)
    assert commands(written)[0][1:] == ("operation.schedule", *about)
    said = ["operation", "cancel", "cheaper", "--reason", "not agreed"]
    answer = deal(*said, "--command-id", "c-1", "--yes")
    assert answer.code == 0
    assert (answer.document["status"], answer.document["cancelled_by"]) == ("CANCELLED", "mia")
    assert office.told == [(CommandMessage(who="mia", why="not agreed", via=Via.CLI), "c-1")]
    assert commands(written)[0] == ("c-1", "operation.cancel", *about)
    assert deal(*said, "--command-id", "c-1", "--yes").document == answer.document
    assert len(office.told) == 1


@pytest.mark.parametrize("status", ["DONE", "CANCELLED", "FAILED"])
def test_what_has_ended_cannot_be_cancelled(deal: Deal, office: Office, status: str) -> None:
    office.views[OperationId("cheaper")] = samples.view(status=OperationStatus(status))
    answer = deal("operation", "cancel", "cheaper", "--reason", "x", "--yes")
    assert (answer.code, answer.problem["code"]) == (4, "not_allowed")
    assert (answer.problem["field"], answer.problem["value"]) == ("status", status)
    assert office.told == []


def test_a_cancellation_nobody_answered_exits_7(deal: Deal, office: Office) -> None:
    deal(*proposal("redemption_fee", to="4"), "--yes")
    office.silent = True
    answer = deal("operation", "cancel", "cheaper", "--reason", "x", "--yes")
    assert (answer.code, answer.problem["code"]) == (7, "outcome_unknown")


# -- the list, from real records -----------------------------------------------------------------


VIEWS = [
    samples.waiting(request=samples.request(f"change-{number}", chain_id=chain_id)).model_copy(
        update={"created_at": samples.BEGAN + timedelta(minutes=number)}
    )
    for number, chain_id in enumerate((138, 651940, 138))
]


@pytest.fixture
def books(deal: Deal, database: Database, monkeypatch: pytest.MonkeyPatch) -> Deal:
    """The command, with three operations recorded and without Temporal."""

    async def record() -> None:
        async with AsyncConnectionPool(database.role("deal_records"), open=False) as pool:
            for view in VIEWS:
                await OperationRecords(pool).record_operation(view)

    asyncio.run(record())
    monkeypatch.setenv("DEAL_DATABASE_URL", database.role("deal_reader"))
    monkeypatch.setenv("TEMPORAL_ADDRESS", "127.0.0.1:1")
    return deal


@pytest.mark.parametrize(
    ("options", "numbers"),
    [
        ((), [2, 1, 0]),
        (("--chain", "138"), [2, 0]),
        (("--limit", "2"), [2, 1]),
        (("--chain", "1"), []),
    ],
)
def test_a_list_is_newest_first(books: Deal, options: tuple[str, ...], numbers: list[int]) -> None:
    answer = books("operation", "list", *options)
    assert answer.code == 0
    listed = [OperationView.model_validate(each) for each in answer.document["operations"]]
    assert listed == [VIEWS[number] for number in numbers]


def test_a_table_tells_from_what_to_what_and_when(books: Deal) -> None:
    words = books("operation", "list", "-o", "table").out
    for part in ("change-2", "651940", "WAITING", "5 basis points", "4 basis points"):
        assert part in words
    assert "2026-11-22 13:00:00" in words
    assert words.index("change-2") < words.index("change-1") < words.index("change-0")


@pytest.mark.parametrize(
    ("option", "value", "field"),
    [("limit", "0", "limit"), ("limit", "501", "limit"), ("chain", "main", "chain")],
)
def test_a_wrong_filter_is_named(books: Deal, option: str, value: str, field: str) -> None:
    answer = books("operation", "list", f"--{option}", value)
    assert (answer.code, answer.problem["field"]) == (2, field)


def test_records_that_are_away_are_said_to_be(deal: Deal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEAL_DATABASE_URL", "postgresql://127.0.0.1:1/none")
    answer = deal("operation", "list")
    assert (answer.code, answer.problem["code"]) == (1, "unavailable")
