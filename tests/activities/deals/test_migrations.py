"""The schema: applied once, equal to the domain's tables, open to each role as far as it needs."""

import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from domain.deals import ALLOWED_TRANSITIONS, DealStatus, ExecutionMode, Step
from domain.errors import DealError, InvalidConfiguration, Unavailable
from domain.operations import OPERATION_STEPS
from starters import database as schema
from starters.database import MIGRATIONS, migrate
from tests.support.postgres import Database, Postgres


def names() -> list[str]:
    """Every migration there is, in order."""
    return sorted(file.stem for file in MIGRATIONS.glob("*.sql"))


def test_a_database_is_migrated_once(postgres: Postgres) -> None:
    url = postgres.empty().owner
    assert migrate(url) == names()
    assert migrate(url) == []


def test_processes_that_migrate_at_once_take_turns(postgres: Postgres) -> None:
    url = postgres.empty().owner
    with ThreadPoolExecutor(4) as pool:
        applied = list(pool.map(migrate, [url] * 4))
    assert sorted(applied, key=len) == [[], [], [], names()]


def test_a_lock_row_left_by_a_killed_process_does_not_stop_the_next(
    postgres: Postgres,
) -> None:
    url = postgres.empty().owner
    migrate(url)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("INSERT INTO yoyo_lock (locked, pid) VALUES (1, 1)")
        connection.execute("DELETE FROM _yoyo_migration WHERE migration_id = '0004-deals'")
        connection.execute("DROP SCHEMA deals CASCADE")
    assert migrate(url) == ["0004-deals"]


def test_a_migration_that_fails_is_undone_and_named(
    postgres: Postgres,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url = postgres.empty().owner
    (tmp_path / "0001-good.sql").write_text("CREATE TABLE good (id int);")
    bad = tmp_path / "0002-bad.sql"
    bad.write_text("CREATE TABLE half (id int);\nCREATE TABLE half (id int);")
    monkeypatch.setattr(schema, "MIGRATIONS", tmp_path)
    with pytest.raises(DealError, match="0002-bad") as caught:
        migrate(url)
    assert "already exists" in (caught.value.problem.actual or "")
    bad.write_text("CREATE TABLE half (id int);")
    assert migrate(url) == ["0002-bad"]


def test_the_password_is_never_told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with pytest.raises(Unavailable) as caught:
        migrate("postgresql://owner:s3cret@127.0.0.1:1/deal")
    assert caught.value.problem.value == "127.0.0.1:1/deal"
    with pytest.raises(InvalidConfiguration) as wrong:
        migrate("postgresql//owner:s3cret@127.0.0.1/deal")
    for text in (str(caught.value.problem), str(wrong.value.problem), caplog.text):
        assert "s3cret" not in text


def test_the_transitions_are_those_of_the_domain(database: Database) -> None:
    with psycopg.connect(database.owner) as connection:
        rows = connection.execute("SELECT before, after FROM deals.allowed_transitions").fetchall()
    assert {(DealStatus(before), DealStatus(after)) for before, after in rows} == {
        (before, after) for before, following in ALLOWED_TRANSITIONS.items() for after in following
    }


@pytest.mark.parametrize(
    ("table", "column", "kind"),
    [
        ("deals", "status", DealStatus),
        ("deals", "mode", ExecutionMode),
        ("deal_steps", "step", Step),
    ],
)
def test_a_column_takes_the_values_of_its_domain_type(
    database: Database, table: str, column: str, kind: type[DealStatus | ExecutionMode | Step]
) -> None:
    query = """
        SELECT pg_get_constraintdef(oid) FROM pg_constraint
        WHERE conrelid = %s::regclass AND conname = %s
    """
    with psycopg.connect(database.owner) as connection:
        row = connection.execute(query, (f"deals.{table}", f"{table}_{column}_check")).fetchone()
    assert row is not None
    quoted = {part.partition("'")[0] for part in row[0].split("'")[1::2]}
    # What is told to a timelock is no step of a deal.
    assert quoted == {str(member) for member in kind} - OPERATION_STEPS


ROLES = ("deal_engine", "deal_records", "deal_signer", "deal_reader")
TABLES = ("deals", "deal_steps", "allowed_transitions")


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("table", TABLES)
def test_a_role_may_do_what_it_needs_and_nothing_else(
    database: Database, role: str, table: str
) -> None:
    reads = {"SELECT"} if role in {"deal_records", "deal_reader"} else set()
    writes = {"INSERT", "UPDATE"} if role == "deal_records" and table in TABLES[:2] else set()
    query = """
        SELECT has_table_privilege(%(role)s, %(table)s, %(name)s)
            OR (%(name)s = 'UPDATE' AND has_any_column_privilege(%(role)s, %(table)s, %(name)s))
    """
    allowed = set()
    with psycopg.connect(database.owner) as connection:
        for name in ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER"):
            parameters = {"role": role, "table": f"deals.{table}", "name": name}
            row = connection.execute(query, parameters).fetchone()
            if row and row[0]:
                allowed.add(name)
    assert allowed == reads | writes


@pytest.mark.parametrize("column", ["bank", "request", "request_digest", "working_liquidity"])
def test_what_was_asked_for_cannot_be_changed(database: Database, column: str) -> None:
    query = "SELECT has_column_privilege('deal_records', 'deals.deals', %s, 'UPDATE')"
    with psycopg.connect(database.owner) as connection:
        assert connection.execute(query, (column,)).fetchone() == (False,)
