"""What the trail promises, whoever writes it: every change with its cause, once, in one chain."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from domain.errors import InvalidConfiguration, InvalidInput, Unavailable
from domain.identity import Caller, Principal, PrincipalId, Via
from starters.control.database import ControlDatabase
from tests.support.postgres import Database

CALLER = Caller(
    principal=Principal(principal_id=PrincipalId("risk-2")),
    via=Via.API,
    address="10.0.0.2",
    request_id="r-2",
)
ROLES = ("deal_engine", "deal_records", "deal_signer", "deal_reader", "deal_control")
CAUSE = {"who": "risk-1", "kind": "human", "via": "cli", "why": "a test"}
TABLE = """
CREATE TABLE control.things (
    thing_id text PRIMARY KEY, bank text, deal_id text, policy_version integer, secret text,
    used_at timestamptz, amount numeric
);
CALL audit.watch('control.things', 'thing', 'thing_id', 'bank', hidden => '{secret}',
    ignored => '{used_at}');
GRANT SELECT, INSERT, UPDATE, DELETE ON control.things TO deal_control;
"""


@pytest.fixture(scope="module")
def things(database: Database) -> Database:
    """A database with a watched table."""
    with psycopg.connect(database.owner, autocommit=True) as connection:
        connection.execute(TABLE)
    return database


@pytest.fixture
def control(things: Database) -> Iterator[psycopg.Connection[dict[str, Any]]]:
    """A connection as the role that changes."""
    with psycopg.connect(things.role("deal_control"), row_factory=dict_row) as connection:
        yield connection


def change(
    connection: psycopg.Connection[Any], statement: str, *parameters: object, **cause: object
) -> None:
    """Make one change with its cause, in one transaction."""
    with connection.transaction():
        text = json.dumps(CAUSE | cause)
        connection.execute("SELECT set_config('deal.cause', %s, true)", (text,))
        connection.execute(statement.encode(), parameters)


def last(database: Database, count: int = 1) -> list[dict[str, Any]]:
    """The newest rows, the newest last."""
    query = "SELECT * FROM audit.events ORDER BY sequence DESC LIMIT %s"
    with psycopg.connect(database.role("deal_reader"), row_factory=dict_row) as connection:
        return connection.execute(query, (count,)).fetchall()[::-1]


def test_each_change_has_its_row(
    things: Database, control: psycopg.Connection[dict[str, Any]]
) -> None:
    change(
        control,
        "INSERT INTO control.things VALUES ('one', 'bank-one', 'd-1', 7, 's3cret', now(), 1.50)",
        address="10.0.0.1",
        request_id="r-1",
        command_id="c-1",
    )
    change(
        control,
        "UPDATE control.things SET amount = 2, bank = NULL, secret = 'other'",
        action="thing.moved",
    )
    change(control, "DELETE FROM control.things")
    added, changed, removed = last(things, 3)
    assert added["previous_of_deal"] == 0
    assert [row["action"] for row in (added, changed, removed)] == [
        "thing.added",
        "thing.moved",
        "thing.removed",
    ]
    told = {name: added[name] for name in ("actor", "actor_kind", "via", "address", "why", "bank")}
    assert told == {
        "actor": "risk-1",
        "actor_kind": "human",
        "via": "cli",
        "address": "10.0.0.1",
        "why": "a test",
        "bank": "bank-one",
    }
    assert (added["request_id"], added["command_id"]) == ("r-1", "c-1")
    assert (added["subject_kind"], added["subject"], added["deal"]) == ("thing", "one", "d-1")
    assert (added["policy_version"], added["written_by"]) == (7, "deal_control")
    assert added["change"]["after"]["amount"] == 1.5
    assert added["change"]["after"]["secret"] == "hidden"
    assert "used_at" not in added["change"]["after"]
    assert changed["change"] == {
        "before": {"amount": 1.5, "bank": "bank-one", "secret": "hidden"},
        "after": {"amount": 2, "bank": None, "secret": "hidden"},
    }
    assert removed["change"]["before"]["thing_id"] == "one"
    assert "after" not in removed["change"]
    assert [row["previous_of_deal"] for row in (changed, removed)] == [
        added["sequence"],
        changed["sequence"],
    ]
    assert "s3cret" not in str([added, changed, removed])


def test_a_change_without_a_cause_is_refused_whole(
    things: Database, control: psycopg.Connection[dict[str, Any]]
) -> None:
    before = last(things)
    with (
        pytest.raises(psycopg.errors.IntegrityError, match="needs a cause"),
        control.transaction(),
    ):
        control.execute("INSERT INTO control.things VALUES ('uncaused')")
    for missing in ("who", "kind", "via", "why"):
        with pytest.raises(psycopg.errors.IntegrityError, match="needs who, kind, via and why"):
            change(control, "INSERT INTO control.things VALUES ('uncaused')", **{missing: ""})
    query = "SELECT count(*) AS rows FROM control.things WHERE thing_id = 'uncaused'"
    assert control.execute(query).fetchone() == {"rows": 0}
    assert last(things) == before


def test_the_cause_ends_with_its_transaction(
    control: psycopg.Connection[dict[str, Any]],
) -> None:
    change(control, "INSERT INTO control.things VALUES ('caused')")
    with (
        pytest.raises(psycopg.errors.IntegrityError, match="needs a cause"),
        control.transaction(),
    ):
        control.execute("INSERT INTO control.things VALUES ('after-it')")


def test_what_changes_nothing_leaves_no_row(
    things: Database, control: psycopg.Connection[dict[str, Any]]
) -> None:
    change(control, "INSERT INTO control.things VALUES ('same', 'bank-one')")
    before = last(things)
    change(control, "UPDATE control.things SET bank = 'bank-one' WHERE thing_id = 'same'")
    change(control, "UPDATE control.things SET used_at = now() WHERE thing_id = 'same'")
    with control.transaction(force_rollback=True):
        control.execute("SELECT set_config('deal.cause', %s, true)", (json.dumps(CAUSE),))
        control.execute("DELETE FROM control.things WHERE thing_id = 'same'")
    assert last(things) == before


def test_a_watched_table_cannot_be_emptied_unseen(things: Database) -> None:
    with (
        psycopg.connect(things.owner) as owner,
        pytest.raises(psycopg.errors.InsufficientPrivilege, match="append-only"),
    ):
        owner.execute("TRUNCATE control.things")


def test_many_writers_make_one_chain_without_gaps(things: Database) -> None:
    def write(worker: int) -> None:
        with psycopg.connect(things.role("deal_control")) as connection:
            for number in range(20):
                change(connection, "INSERT INTO control.things VALUES (%s)", f"w-{worker}-{number}")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(8)))
    with psycopg.connect(things.role("deal_reader"), row_factory=dict_row) as connection:
        rows = connection.execute("SELECT * FROM audit.events ORDER BY sequence").fetchall()
    assert [row["sequence"] for row in rows] == list(range(1, len(rows) + 1))
    hashes = ["0" * 64, *(row["hash"] for row in rows)]
    assert [row["previous_hash"] for row in rows] == hashes[:-1]
    assert len(rows) >= 160


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO audit.events SELECT * FROM audit.events",
        "UPDATE audit.events SET why = 'another'",
        "DELETE FROM audit.events",
        "TRUNCATE audit.events",
        "ALTER TABLE audit.events DISABLE TRIGGER append_only",
        "DROP TABLE audit.events",
        "DROP FUNCTION audit.record",
    ],
)
def test_no_role_can_change_what_was_written(things: Database, role: str, statement: str) -> None:
    with (
        psycopg.connect(things.role(role)) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute(statement.encode())


@pytest.mark.parametrize(
    "statement", ["UPDATE audit.events SET why = 'x'", "DELETE FROM audit.events"]
)
def test_even_the_owner_is_stopped_by_accident(things: Database, statement: str) -> None:
    with (
        psycopg.connect(things.owner) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege, match="append-only"),
    ):
        connection.execute(statement.encode())


def test_who_may_add_to_the_trail_and_read_it(things: Database) -> None:
    record = (
        "audit.record(jsonb, text, text, text, jsonb, text, text, text, integer, text, text,"
        " bigint, text[])"
    )
    with psycopg.connect(things.owner) as connection:

        def allowed(query: str) -> set[str]:
            return {
                role
                for role in ROLES
                if connection.execute(query.encode(), (role,)).fetchone() == (True,)
            }

        assert allowed(f"SELECT has_function_privilege(%s, '{record}', 'EXECUTE')") == {
            "deal_control"
        }
        assert allowed("SELECT has_table_privilege(%s, 'audit.events', 'SELECT')") == {
            "deal_control",
            "deal_reader",
        }


async def test_a_callers_change_has_his_cause(things: Database) -> None:
    changes = ControlDatabase.at(things.role("deal_control"))
    async with changes.change(CALLER, " why not ", "c-2", action="thing.made") as connection:
        await connection.execute("INSERT INTO control.things VALUES ('made')")
    (row,) = last(things)
    assert (row["actor"], row["actor_kind"], row["via"]) == ("risk-2", "human", "api")
    assert (row["address"], row["request_id"], row["command_id"]) == ("10.0.0.2", "r-2", "c-2")
    assert (row["action"], row["why"], row["subject"]) == ("thing.made", "why not", "made")


async def test_a_change_that_fails_leaves_nothing(things: Database) -> None:
    before = last(things)
    changes = ControlDatabase.at(things.role("deal_control"))
    twice = "INSERT INTO control.things VALUES ('lost'), ('lost')"
    with pytest.raises(psycopg.errors.UniqueViolation):
        async with changes.change(CALLER, "why") as connection:
            await connection.execute(twice)
    with pytest.raises(InvalidInput, match="needs a reason"):
        async with changes.change(CALLER, "  "):
            pass
    assert last(things) == before


@pytest.mark.parametrize(
    ("url", "error"),
    [
        ("postgresql://deal_control@127.0.0.1:1/deal", Unavailable),
        ("postgresql//deal_control:s3cret@127.0.0.1/deal", InvalidConfiguration),
    ],
)
async def test_a_database_that_is_away_is_named(url: str, error: type[Unavailable]) -> None:
    with pytest.raises(error) as caught:
        async with ControlDatabase.at(url).change(CALLER, "why"):
            pass
    assert caught.value.problem.field == "DEAL_CONTROL_DATABASE_URL"
    assert "s3cret" not in str(caught.value.problem)
