"""Halts as the database keeps them: whoever writes there, and whatever the code above it does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from activities.halts.standing import halt_from
from domain.halts import RISK_INCREASING, Halt, Scope, TradingState, is_release, strictest
from domain.identifiers import BankId, ChainId, ModuleId
from tests.support.postgres import Database, Postgres

SET: Final = "INSERT INTO control.halts (scope, state, who, why) VALUES (%s, %s, %s, %s)"
CHANGE: Final = "UPDATE control.halts SET state = %s, who = %s, why = %s WHERE scope = %s"
ALL: Final = "SELECT scope, state, who, why, since, set_by, version FROM control.halts"
OF_DEAL: Final = (
    "SELECT scope, state, who, why, since, set_by, version FROM control.halt_of(%s, %s, %s)"
)


@pytest.fixture(scope="module")
def database(postgres: Postgres) -> Database:
    return postgres.migrated()


@pytest.fixture(autouse=True)
def emptied(database: Database) -> Iterator[None]:
    yield
    with psycopg.connect(database.owner, autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute("DELETE FROM control.halts")


@contextmanager
def acting(database: Database, who: str | None) -> Iterator[psycopg.Connection[Any]]:
    """A transaction of the role that changes halts, in somebody's name."""
    with psycopg.connect(database.role("deal_control")) as connection:
        if who is not None:
            cause = {"who": who, "kind": "human", "via": "cli", "why": "a test"}
            connection.execute("SELECT set_config('deal.cause', %s, true)", (json.dumps(cause),))
        yield connection


def put(database: Database, who: str, scope: str, state: str) -> None:
    """Halt a scope, or change its halt."""
    with acting(database, who) as connection:
        if not connection.execute(CHANGE, (state, who, "a test", scope)).rowcount:
            connection.execute(SET, (scope, state, who, "a test"))


def standing(database: Database, scope: str = "desk") -> Halt | None:
    with psycopg.connect(database.role("deal_reader")) as connection:
        row = connection.execute(ALL + " WHERE scope = %s", (scope,)).fetchone()
    return halt_from(row) if row else None


def state_of(database: Database) -> str | None:
    halt = standing(database)
    return halt and str(halt.state)


def refused_by(error: pytest.ExceptionInfo[psycopg.Error]) -> str | None:
    return error.value.diag.constraint_name


class TestWhoMayRelease:
    def test_not_who_set_it(self, database: Database) -> None:
        put(database, "risk-1", "desk", "HALTED")
        for state in ("ACTIVE", "REDUCING"):
            with pytest.raises(psycopg.IntegrityError) as refused:
                put(database, "risk-1", "desk", state)
            assert refused_by(refused) == "released_by_another"
        put(database, "risk-2", "desk", "ACTIVE")
        assert state_of(database) == "ACTIVE"

    def test_not_in_anothers_name(self, database: Database) -> None:
        put(database, "risk-1", "desk", "HALTED")
        with pytest.raises(psycopg.IntegrityError) as refused, acting(database, "risk-1") as mine:
            mine.execute(CHANGE, ("ACTIVE", "risk-2", "not me", "desk"))
        assert refused_by(refused) == "halt_in_own_name"

    def test_not_without_a_name(self, database: Database) -> None:
        put(database, "risk-1", "desk", "HALTED")
        with pytest.raises(psycopg.IntegrityError) as refused, acting(database, None) as nobody:
            nobody.execute(CHANGE, ("ACTIVE", "risk-2", "nobody", "desk"))
        assert refused_by(refused) == "halt_in_own_name"

    def test_not_by_halting_it_anew_as_another(self, database: Database) -> None:
        """Whoever made it stricter since it was active is one who set it, the first as well."""
        put(database, "risk-1", "desk", "REDUCING")
        put(database, "risk-2", "desk", "HALTED")
        for who in ("risk-1", "risk-2"):
            with pytest.raises(psycopg.IntegrityError) as refused:
                put(database, who, "desk", "ACTIVE")
            assert refused_by(refused) == "released_by_another"
        put(database, "oncall-1", "desk", "REDUCING")
        with pytest.raises(psycopg.IntegrityError):
            put(database, "risk-1", "desk", "ACTIVE")
        put(database, "oncall-1", "desk", "ACTIVE")
        assert standing(database).set_by == ()  # type: ignore[union-attr]

    def test_saying_the_same_again_changes_nobody(self, database: Database) -> None:
        put(database, "risk-1", "desk", "HALTED")
        with pytest.raises(psycopg.IntegrityError) as refused:
            put(database, "risk-2", "desk", "HALTED")
        assert refused_by(refused) == "halt_changes"
        assert standing(database).set_by == ("risk-1",)  # type: ignore[union-attr]

    @pytest.mark.parametrize(
        "attack",
        [
            "UPDATE control.halts SET set_by = '{}'",
            "UPDATE control.halts SET version = 7",
            "UPDATE control.halts SET scope = 'chain=1'",
            "DELETE FROM control.halts",
            "TRUNCATE control.halts",
            "ALTER TABLE control.halts DISABLE TRIGGER ALL",
            "INSERT INTO control.halts VALUES ('chain=1', DEFAULT, 'HALTED', 'risk-1', 'why')",
            "SET session_replication_role = replica",
            "DELETE FROM control.risk_increasing_steps",
        ],
    )
    def test_the_role_that_halts_can_do_nothing_else(self, database: Database, attack: str) -> None:
        put(database, "risk-1", "desk", "HALTED")
        with (
            pytest.raises(psycopg.errors.InsufficientPrivilege),
            acting(database, "risk-2") as connection,
        ):
            connection.execute(attack.encode())
        assert state_of(database) == "HALTED"

    @pytest.mark.parametrize("role", ["deal_engine", "deal_records", "deal_reader", "deal_signer"])
    def test_nobody_else_can_change_a_halt(self, database: Database, role: str) -> None:
        put(database, "risk-1", "desk", "HALTED")
        with (
            pytest.raises(psycopg.errors.InsufficientPrivilege),
            psycopg.connect(database.role(role)) as connection,
        ):
            connection.execute("UPDATE control.halts SET state = 'ACTIVE'")

    async def test_two_at_once_release_it_once(self, database: Database) -> None:
        put(database, "risk-1", "desk", "HALTED")

        def release(who: str) -> str | None:
            try:
                put(database, who, "desk", "ACTIVE")
            except psycopg.IntegrityError as error:
                return error.diag.constraint_name
            return None

        names = ("risk-2", "oncall-1", "oncall-2")
        answers = await asyncio.gather(*(asyncio.to_thread(release, who) for who in names))
        assert sorted(answers, key=str) == [None, "halt_changes", "halt_changes"]
        assert standing(database).version == 2  # type: ignore[union-attr]


def test_every_change_is_in_the_audit_trail(database: Database) -> None:
    put(database, "risk-1", "bank=bank-one", "HALTED")
    put(database, "risk-2", "bank=bank-one", "ACTIVE")
    with psycopg.connect(database.role("deal_reader")) as connection:
        rows = connection.execute(
            "SELECT actor, bank, change -> 'after' ->> 'state' FROM audit.events"
            " WHERE subject_kind = 'halt' AND subject = 'bank=bank-one' ORDER BY sequence"
        ).fetchall()
    assert rows == [("risk-1", "bank-one", "HALTED"), ("risk-2", "bank-one", "ACTIVE")]


def test_the_steps_that_add_risk_are_the_domains(database: Database) -> None:
    with psycopg.connect(database.role("deal_reader")) as connection:
        rows = connection.execute("SELECT step FROM control.risk_increasing_steps").fetchall()
    assert {row[0] for row in rows} == {str(step) for step in RISK_INCREASING}


@pytest.mark.parametrize("scope", ["", "desk=x", "bank=", "bank=-", "chain=0", "chain=01", "x=1"])
def test_what_is_no_scope_is_refused(database: Database, scope: str) -> None:
    with pytest.raises(psycopg.errors.CheckViolation):
        put(database, "risk-1", scope, "HALTED")


SCOPES: Final = ("desk", "bank=bank-one", "bank=bank-two", "chain=138", "chain=1", "module=usdtz")
OURS: Final = (BankId("bank-one"), ChainId(138), ModuleId("usdtz"))


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.tuples(st.sampled_from(SCOPES), st.sampled_from(TradingState)), max_size=12))
def test_any_history_of_halts_stands_as_the_domain_says(
    database: Database, changes: list[tuple[str, TradingState]]
) -> None:
    """By ever new people everything is allowed; what counts for a deal is the domain's answer."""
    with psycopg.connect(database.owner, autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute("DELETE FROM control.halts")
    known: dict[str, TradingState] = {}
    setters: dict[str, set[str]] = {}
    for number, (scope, state) in enumerate(changes):
        before = known.get(scope, TradingState.ACTIVE)
        if state is before:
            continue
        put(database, f"person-{number}", scope, state)
        known[scope] = state
        if not is_release(before, state):
            setters.setdefault(scope, set()).add(f"person-{number}")
        if state is TradingState.ACTIVE:
            setters[scope] = set()
    with psycopg.connect(database.role("deal_engine")) as connection:
        rows = connection.execute(ALL).fetchall()
        halts = [halt_from(row) for row in rows]
        of_ours = connection.execute(OF_DEAL, OURS).fetchall()
        state_row = connection.execute("SELECT control.trading_state(%s, %s, %s)", OURS).fetchone()
        unknown = connection.execute("SELECT control.trading_state(NULL, 138, NULL)").fetchone()
    assert {str(halt.scope): halt.state for halt in halts} == known
    assert {str(halt.scope): set(halt.set_by) for halt in halts if halt.set_by} == {
        scope: people for scope, people in setters.items() if people
    }
    found = strictest(halts, *OURS)
    assert [halt_from(row) for row in of_ours] == ([found] if found else [])
    assert state_row == (str(found.state if found else TradingState.ACTIVE),)
    # Of a deal that nobody knows, every bank's and every module's halt counts.
    covering = [halt.state for halt in halts if str(halt.scope) != "chain=1"]
    strict = max(covering, key=lambda each: each.strictness, default=TradingState.ACTIVE)
    assert unknown == (str(strict),)


def test_a_scope_is_the_same_text_on_both_sides(database: Database) -> None:
    for text in SCOPES:
        put(database, "risk-1", str(Scope.parse(text)), "HALTED")
    with psycopg.connect(database.role("deal_reader")) as connection:
        rows = connection.execute("SELECT scope, bank FROM control.halts").fetchall()
    assert {row[0] for row in rows} == set(SCOPES)
    assert {row[1] for row in rows} == {None, "bank-one", "bank-two"}
