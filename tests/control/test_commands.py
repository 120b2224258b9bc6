"""Commands are written down once, in the name of whoever gave them, and decided once."""

from __future__ import annotations

import asyncio
import itertools
import json
from typing import Any

import psycopg
import pytest
from psycopg.errors import InsufficientPrivilege, IntegrityError
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from domain.commands import TRANSITIONS, CommandKind, CommandState, NewCommand, RecordedCommand
from domain.errors import Conflict, NotAllowed, NotFound, Unavailable
from domain.identifiers import BankId, DealId
from domain.identity import Caller, Role, Via
from starters.control.commands import CommandStore
from starters.control.database import ControlDatabase
from starters.deals.database import single_connection
from tests.control.people import CAUSE, add_principal, caller, change
from tests.support.postgres import Database

TED = caller("ted", Role.TRADER, address="10.0.0.9", request_id="r-1")
EVE = caller("eve", Role.TRADER, via=Via.API)
AWAY = Unavailable("Temporal is away", next_action="wait").problem
NO = NotAllowed("it has ended", next_action="nothing").problem


@pytest.fixture(scope="module")
def people(database: Database) -> Database:
    """The database with those who give commands."""
    add_principal(database, "ted", "trader")
    add_principal(database, "eve", "trader")
    return database


@pytest.fixture
def store(people: Database) -> CommandStore:
    """The store as command line and API have it."""
    return store_of(people)


def store_of(database: Database) -> CommandStore:
    return CommandStore(
        ControlDatabase.at(database.role("deal_control")),
        single_connection(database.role("deal_reader")),
    )


_ids = itertools.count()


def pause(**changes: Any) -> NewCommand:
    fields: dict[str, Any] = {
        "command_id": f"c-{next(_ids)}",
        "kind": CommandKind.PAUSE,
        "subject": "alpha-1",
        "deal_id": DealId("alpha-1"),
        "bank": BankId("alpha"),
        "body": {"why": "news"},
        "why": "news",
    }
    return NewCommand(**fields | changes)


async def test_a_command_is_written_with_who_why_and_from_where(
    people: Database, store: CommandStore
) -> None:
    asked = pause()
    recorded = await store.record(TED, asked)
    assert recorded == await store.find(asked.command_id)
    told = recorded.model_dump(exclude={"created_at"})
    assert told == {
        "command_id": asked.command_id,
        "kind": "deal.pause",
        "subject": "alpha-1",
        "deal_id": "alpha-1",
        "bank": "alpha",
        "body": {"why": "news"},
        "body_digest": asked.digest(),
        "request_digest": None,
        "principal_id": "ted",
        "via": "cli",
        "address": "10.0.0.9",
        "why": "news",
        "state": "RECORDED",
        "problem": None,
        "answer": None,
        "decided_at": None,
    }
    (event,) = events(people, asked.command_id)
    facts = {
        name: event[name]
        for name in ("actor", "via", "address", "request_id", "deal", "bank", "why", "subject_kind")
    }
    assert facts == {
        "actor": "ted",
        "via": "cli",
        "address": "10.0.0.9",
        "request_id": "r-1",
        "deal": "alpha-1",
        "bank": "alpha",
        "why": "news",
        "subject_kind": "command",
    }


def events(database: Database, command_id: str) -> list[dict[str, Any]]:
    with psycopg.connect(database.role("deal_reader"), row_factory=dict_row) as connection:
        return connection.execute(
            "SELECT * FROM audit.events WHERE command_id = %s ORDER BY sequence", (command_id,)
        ).fetchall()


async def test_the_same_command_again_is_the_first_one(
    people: Database, store: CommandStore
) -> None:
    asked = pause()
    first = await store.record(TED, asked)
    assert await store.record(TED, asked) == first
    assert len(events(people, asked.command_id)) == 1


async def test_at_once_it_is_one_command_too(people: Database, store: CommandStore) -> None:
    asked = pause()
    answers = await asyncio.gather(*(store.record(TED, asked) for _ in range(8)))
    assert len({each.created_at for each in answers}) == 1
    assert len(events(people, asked.command_id)) == 1


@pytest.mark.parametrize(
    "change_",
    [
        {"subject": "alpha-2", "deal_id": DealId("alpha-2")},
        {"kind": CommandKind.CANCEL},
        {"body": {"why": "other"}},
        {"why": "other"},
    ],
)
async def test_another_command_under_the_same_id_is_refused(
    store: CommandStore, change_: dict[str, Any]
) -> None:
    asked = pause()
    await store.record(TED, asked)
    with pytest.raises(Conflict) as refused:
        await store.record(TED, asked.model_copy(update=change_))
    assert refused.value.problem.value == asked.command_id


async def test_somebody_elses_command_is_not_told(store: CommandStore) -> None:
    asked = pause()
    await store.record(TED, asked)
    with pytest.raises(Conflict) as refused:
        await store.record(EVE, asked)
    assert "alpha" not in refused.value.problem.model_dump_json()
    assert "ted" not in refused.value.problem.model_dump_json()


async def test_what_was_decided_first_stands(people: Database, store: CommandStore) -> None:
    first = await store.record(TED, pause())
    applied = await store.apply(TED, first, {"status": "PAUSED"})
    assert applied.state is CommandState.APPLIED
    assert applied.answer == {"status": "PAUSED"}
    assert applied.decided_at is not None
    assert await store.refuse(TED, first, NO) == applied
    assert await store.queue(TED, first) == applied
    added, decided = events(people, first.command_id)
    assert added["action"] == "command.added"
    assert decided["change"]["after"]["state"] == "APPLIED"
    assert "answer" not in decided["change"]["after"]


async def test_a_refusal_keeps_its_reason(store: CommandStore) -> None:
    asked = pause()
    refused = await store.refuse(TED, await store.record(TED, asked), NO)
    assert refused.state is CommandState.REFUSED
    assert refused.problem == NO
    assert await store.record(TED, asked) == refused


async def test_what_nobody_heard_may_be_tried_again(store: CommandStore) -> None:
    asked = pause()
    first = await store.record(TED, asked)
    await store.refuse(TED, first, AWAY)
    again = await store.record(TED, asked)
    assert (again.state, again.problem, again.decided_at) == (CommandState.RECORDED, None, None)
    assert (await store.apply(TED, again, None)).state is CommandState.APPLIED


async def test_what_is_queued_comes_the_oldest_first(people: Database) -> None:
    store = store_of(people)
    given = [await store.queue(TED, await store.record(TED, pause())) for _ in range(3)]
    assert await store.queued() == given
    assert await store.queued(2) == given[:2]
    await store.apply(TED, given[0], None)
    assert await store.queued() == given[1:]
    for each in given[1:]:
        await store.refuse(TED, each, NO)
    assert await store.queued() == []


async def test_a_command_that_was_never_written_cannot_be_decided(store: CommandStore) -> None:
    first = await store.record(TED, pause())
    unknown = RecordedCommand.model_validate(first.model_dump() | {"command_id": "never"})
    with pytest.raises(NotFound):
        await store.apply(TED, unknown, None)


async def test_a_command_in_anothers_name_is_refused_by_the_database(people: Database) -> None:
    insert = (
        "INSERT INTO control.commands (command_id, kind, subject, deal_id, body, body_digest,"
        " principal_id, via, why) VALUES ('forged', 'deal.pause', 'a', 'a', '{}', %s, 'ted',"
        " 'cli', 'x')"
    )
    with pytest.raises(IntegrityError) as refused:
        change(people, insert, "0" * 64, who="eve")
    assert refused.value.diag.constraint_name == "own_command"


def stored(database: Database, state: CommandState) -> str:
    """A command in a state, brought there by its owner, who is held to no trigger."""
    command_id = f"s-{next(_ids)}"
    with psycopg.connect(database.owner) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute(
            "INSERT INTO control.commands (command_id, kind, subject, body, body_digest,"
            " principal_id, via, why, state, problem, decided_at)"
            " VALUES (%s, 'chain.release', '138', '{}', %s, 'ted', 'cli', 'x', %s, %s,"
            " CASE WHEN %s IN ('APPLIED', 'REFUSED') THEN now() END)",
            (
                command_id,
                "0" * 64,
                state,
                Jsonb({"code": "unavailable"}) if state == "REFUSED" else None,
                state,
            ),
        )
    return command_id


@pytest.mark.parametrize(
    ("before", "after"),
    [pair for pair in itertools.product(CommandState, CommandState) if pair[0] != pair[1]],
)
def test_the_database_has_the_same_transitions(
    people: Database, before: CommandState, after: CommandState
) -> None:
    command_id = stored(people, before)
    update = (
        "UPDATE control.commands SET state = %s, problem = %s,"
        " decided_at = CASE WHEN %s IN ('APPLIED', 'REFUSED') THEN now() END WHERE command_id = %s"
    )
    parameters = (after, Jsonb({"code": "not_allowed"}), after, command_id)
    if (before, after) in TRANSITIONS:
        change(people, update, *parameters, who="ted")
        return
    with pytest.raises(IntegrityError) as refused:
        change(people, update, *parameters, who="ted")
    assert refused.value.diag.constraint_name == "decided_once"


async def test_a_real_refusal_is_never_taken_back(people: Database, store: CommandStore) -> None:
    refused = await store.refuse(TED, await store.record(TED, pause()), NO)
    update = (
        "UPDATE control.commands SET state = 'RECORDED', decided_at = NULL WHERE command_id = %s"
    )
    with pytest.raises(IntegrityError) as again:
        change(people, update, refused.command_id, who="ted")
    assert again.value.diag.constraint_name == "decided_once"


@pytest.mark.parametrize("column", ["body", "principal_id", "kind", "subject", "why", "via"])
def test_what_was_asked_for_never_changes(people: Database, column: str) -> None:
    for role in ("deal_control", "deal_records"):
        with (
            psycopg.connect(people.role(role)) as connection,
            pytest.raises(InsufficientPrivilege),
        ):
            connection.execute(f"UPDATE control.commands SET {column} = {column}".encode())  # noqa: S608 - a test's own


async def test_the_deals_worker_decides_what_was_queued(
    people: Database, store: CommandStore
) -> None:
    queued = await store.queue(TED, await store.record(TED, pause()))
    with psycopg.connect(people.role("deal_records")) as connection:
        connection.execute(
            "SELECT set_config('deal.cause', %s, true)", (json.dumps(CAUSE | {"who": "ted"}),)
        )
        connection.execute(
            "UPDATE control.commands SET state = 'APPLIED', decided_at = now()"
            " WHERE command_id = %s",
            (queued.command_id,),
        )
    found = await store.find(queued.command_id)
    assert found
    assert found.state is CommandState.APPLIED


async def test_without_the_database_nothing_is_recorded(people: Database) -> None:
    nowhere = "postgresql://deal_control@127.0.0.1:1/deals"
    store = CommandStore(ControlDatabase.at(nowhere), single_connection(people.role("deal_reader")))
    with pytest.raises(Unavailable):
        await store.record(TED, pause())


def test_a_caller_is_who_the_principal_is() -> None:
    assert isinstance(TED, Caller)
    assert TED.who == "ted"
