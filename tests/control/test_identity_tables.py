"""What the database promises of people, keys, groups and delegations, whatever the code does."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from psycopg.errors import CheckViolation, InsufficientPrivilege, IntegrityError
from psycopg.rows import dict_row

from domain.identity import Permission, Role
from tests.control.people import CAUSE, add_principal, change
from tests.support.postgres import Database, Postgres

HASH = "0" * 64


@pytest.fixture
def control(postgres: Postgres) -> Database:
    """A database of its own with two admins, an approver, a viewer and a service."""
    database = postgres.migrated()
    add_principal(database, "root", "admin")
    add_principal(database, "second", "admin")
    add_principal(database, "dora", "approver", banks=("alpha",))
    add_principal(database, "vera", "viewer", banks=("alpha", "beta"))
    add_principal(database, "robot", "trader", kind="service")
    return database


def rows(database: Database, query: str, *parameters: object) -> list[dict[str, Any]]:
    with psycopg.connect(database.role("deal_reader"), row_factory=dict_row) as connection:
        return connection.execute(query.encode(), parameters).fetchall()


def add_key(database: Database, who: str = "robot", days: int = 90, **changes: Any) -> None:
    fields = {"scopes": None, "hash": HASH, "key_id": "k" * 12} | changes
    change(
        database,
        "INSERT INTO control.api_keys (key_id, principal_id, hash, scopes, created_at, expires_at)"
        " VALUES (%s, %s, %s, %s, now(), now() + make_interval(days => %s))",
        fields["key_id"],
        who,
        fields["hash"],
        fields["scopes"],
        days,
    )


@pytest.mark.parametrize("role", list(Role))
def test_the_database_knows_every_role(control: Database, role: Role) -> None:
    add_principal(control, f"one-{role.replace('_', '-')}", role)
    (row,) = rows(
        control,
        "SELECT roles FROM control.standing WHERE %s = ANY (roles) AND principal_id LIKE 'one-%%'",
        role,
    )
    assert row["roles"] == [role]


def test_the_database_knows_no_other_role(control: Database) -> None:
    with pytest.raises(CheckViolation):
        add_principal(control, "one", "emperor")


def test_a_key_may_be_for_every_permission_and_no_other(control: Database) -> None:
    add_key(control, scopes=list(Permission))
    with pytest.raises(CheckViolation):
        add_key(control, scopes=["deals.burn"], key_id="l" * 12, hash="1" * 64)


@pytest.mark.parametrize("banks", [("*", "alpha"), ("Alpha",), ("a,b",), ("",)])
def test_banks_are_names_or_the_star_alone(control: Database, banks: tuple[str, ...]) -> None:
    with pytest.raises(CheckViolation):
        add_principal(control, "one", banks=banks)


@pytest.mark.parametrize("role", ["approver", "risk_manager", "admin"])
def test_a_service_is_nobodys_second_person(control: Database, role: str) -> None:
    with pytest.raises(CheckViolation, match="second_persons_are_people"):
        add_principal(control, "machine", role, kind="service")


def test_a_service_has_no_subject_at_the_identity_provider(control: Database) -> None:
    with pytest.raises(CheckViolation, match="services_have_keys"):
        add_principal(control, "machine", kind="service", subject="x")


def test_two_people_are_not_one_subject(control: Database) -> None:
    add_principal(control, "one", subject="sub-1")
    with pytest.raises(IntegrityError):
        add_principal(control, "two", subject="sub-1")


@pytest.mark.parametrize(
    "setting",
    [
        "roles = '{admin,trader}'",
        "banks = '{alpha}'",
        "max_deal_usd8 = 1",
        "disabled_at = now()",
        "subject = 'mine'",
    ],
)
def test_nobody_changes_what_he_may_do_himself(control: Database, setting: str) -> None:
    statement = f"UPDATE control.principals SET {setting} WHERE principal_id = 'root'"  # noqa: S608 - a test's own
    with pytest.raises(IntegrityError) as refused:
        change(control, statement)
    assert refused.value.diag.constraint_name == "not_oneself"
    change(control, statement, who="second")


def test_a_name_of_ones_own_may_be_corrected(control: Database) -> None:
    change(control, "UPDATE control.principals SET name = 'Root' WHERE principal_id = 'root'")
    (row,) = rows(control, "SELECT name, version FROM control.standing WHERE name <> ''")
    assert row == {"name": "Root", "version": 2}


@pytest.mark.parametrize("setting", ["roles = '{viewer}'", "disabled_at = now()"])
def test_the_last_admin_stays(control: Database, setting: str) -> None:
    statement = f"UPDATE control.principals SET {setting} WHERE principal_id = %s"  # noqa: S608 - a test's own
    change(control, statement, "second")
    with pytest.raises(IntegrityError) as refused:
        change(control, statement, "root", who="vera")
    assert refused.value.diag.constraint_name == "last_admin"


def test_two_admins_cannot_disable_each_other_at_once(control: Database) -> None:
    statement = "UPDATE control.principals SET disabled_at = now() WHERE principal_id = %s"

    def disable(who: str, whom: str) -> str | None:
        try:
            change(control, statement, whom, who=who)
        except IntegrityError as error:
            return error.diag.constraint_name
        return None

    with ThreadPoolExecutor(2) as pool:
        outcomes = set(pool.map(disable, ("root", "second"), ("second", "root")))
    assert outcomes == {None, "last_admin"}


def test_names_and_keys_are_never_deleted(control: Database) -> None:
    for table in ("principals", "api_keys", "groups", "delegations", "commands"):
        with pytest.raises(InsufficientPrivilege):
            change(control, f"DELETE FROM control.{table}")  # noqa: S608 - a test's own


def test_a_key_is_revoked_for_good(control: Database) -> None:
    add_key(control)
    change(control, "UPDATE control.api_keys SET revoked_at = now()")
    with pytest.raises(IntegrityError) as refused:
        change(control, "UPDATE control.api_keys SET revoked_at = NULL")
    assert refused.value.diag.constraint_name == "revoked_for_good"


@pytest.mark.parametrize("column", ["hash", "expires_at", "scopes", "principal_id"])
def test_what_a_key_is_for_does_not_change(control: Database, column: str) -> None:
    add_key(control)
    with pytest.raises(InsufficientPrivilege):
        change(control, f"UPDATE control.api_keys SET {column} = {column}")  # noqa: S608 - a test's own


@pytest.mark.parametrize("days", [0, 367])
def test_every_key_expires_within_a_year(control: Database, days: int) -> None:
    with pytest.raises(CheckViolation, match="keys_expire"):
        add_key(control, days=days)


def test_the_trail_tells_of_a_key_but_not_its_hash(control: Database) -> None:
    add_key(control)
    (row,) = rows(control, "SELECT * FROM audit.events WHERE subject_kind = 'api_key'")
    assert row["subject"] == "k" * 12
    assert row["actor"] == "root"
    assert HASH not in json.dumps(row["change"])
    assert row["change"]["after"]["principal_id"] == "robot"


def test_using_a_key_is_noted_once_a_minute_and_is_no_change(control: Database) -> None:
    add_key(control)
    with psycopg.connect(control.role("deal_reader"), autocommit=True) as connection:
        for _ in range(2):
            connection.execute("SELECT control.note_use(%s)", ("k" * 12,))
            used = connection.execute("SELECT last_used_at FROM control.api_keys").fetchone()
            assert used
            assert used[0] is not None
    assert len(rows(control, "SELECT 1 FROM audit.events WHERE subject_kind = 'api_key'")) == 1


def delegate(database: Database, until: str = "now() + interval '1 day'", **more: Any) -> None:
    fields = {"approver": "dora", "who": "dora", "since": "now()", "id": "d-1"} | more
    change(
        database,
        "INSERT INTO control.delegations"  # noqa: S608 - a test's own
        " (delegation_id, approver, group_id, starts_at, ends_at, why)"
        f" VALUES (%s, %s, 'deputies', {fields['since']}, {until}, 'holidays')",
        fields["id"],
        fields["approver"],
        who=fields["who"],
    )


@pytest.fixture
def deputies(control: Database) -> Database:
    """With a group that Vera and Dora are in."""
    change(control, "INSERT INTO control.groups (group_id) VALUES ('deputies')")
    for name in ("vera", "dora", "robot"):
        change(
            control,
            "INSERT INTO control.memberships (group_id, principal_id) VALUES ('deputies', %s)",
            name,
        )
    return control


def stands_in(database: Database, who: str) -> Any:
    (row,) = rows(
        database, "SELECT groups, stands_in FROM control.standing WHERE principal_id = %s", who
    )
    assert row["groups"] == ["deputies"]
    return row["stands_in"]


def test_a_group_stands_in_for_an_approver_for_a_time(deputies: Database) -> None:
    assert stands_in(deputies, "vera") == []
    delegate(deputies)
    assert stands_in(deputies, "vera") == [
        {"approver": "dora", "group": "deputies", "banks": ["alpha"]}
    ]
    assert stands_in(deputies, "dora") == []
    assert stands_in(deputies, "robot") == []
    change(deputies, "UPDATE control.delegations SET ended_at = now()", who="dora")
    assert stands_in(deputies, "vera") == []
    with pytest.raises(IntegrityError) as refused:
        change(deputies, "UPDATE control.delegations SET ended_at = NULL", who="dora")
    assert refused.value.diag.constraint_name == "ended_for_good"


@pytest.mark.parametrize(
    ("since", "until"),
    [
        ("now() + interval '1 hour'", "now() + interval '2 hours'"),
        ("now() - interval '2 hours'", "now() - interval '1 hour'"),
    ],
)
def test_nobody_stands_in_before_or_after(deputies: Database, since: str, until: str) -> None:
    delegate(deputies, until, since=since)
    assert stands_in(deputies, "vera") == []


@pytest.mark.parametrize("setting", ["roles = '{viewer}'", "disabled_at = now()"])
def test_who_approves_no_more_has_nobody_stand_in(deputies: Database, setting: str) -> None:
    delegate(deputies)
    change(deputies, f"UPDATE control.principals SET {setting} WHERE principal_id = 'dora'")  # noqa: S608 - a test's own
    assert stands_in(deputies, "vera") == []


@pytest.mark.parametrize(("approver", "who"), [("dora", "root"), ("vera", "vera")])
def test_only_an_approver_passes_on_his_own_part(
    deputies: Database, approver: str, who: str
) -> None:
    with pytest.raises(IntegrityError) as refused:
        delegate(deputies, approver=approver, who=who)
    assert refused.value.diag.constraint_name == "own_part"


@pytest.mark.parametrize("until", ["now()", "now() + interval '93 days'"])
def test_a_delegation_is_for_a_period(deputies: Database, until: str) -> None:
    with pytest.raises(CheckViolation, match="a_period"):
        delegate(deputies, until)


def test_nobody_puts_himself_into_a_group(deputies: Database) -> None:
    with pytest.raises(IntegrityError) as refused:
        change(
            deputies,
            "INSERT INTO control.memberships (group_id, principal_id) VALUES ('deputies', 'root')",
        )
    assert refused.value.diag.constraint_name == "not_oneself"


@pytest.mark.parametrize("role", ["deal_reader", "deal_records", "deal_engine", "deal_signer"])
def test_no_other_role_makes_people_or_keys(control: Database, role: str) -> None:
    with psycopg.connect(control.role(role)) as connection:
        connection.execute("SELECT set_config('deal.cause', %s, true)", (json.dumps(CAUSE),))
        with pytest.raises(InsufficientPrivilege):
            connection.execute(
                "INSERT INTO control.principals (principal_id, kind) VALUES ('me', 'human')"
            )


@pytest.mark.parametrize("role", ["deal_records", "deal_engine", "deal_signer"])
def test_keys_hashes_are_no_workers_to_read(control: Database, role: str) -> None:
    with (
        psycopg.connect(control.role(role)) as connection,
        pytest.raises(InsufficientPrivilege),
    ):
        connection.execute("SELECT hash FROM control.api_keys")


def test_a_change_without_a_cause_is_refused(control: Database) -> None:
    with (
        pytest.raises(IntegrityError, match="needs a cause"),
        psycopg.connect(control.role("deal_control")) as connection,
    ):
        connection.execute(
            "INSERT INTO control.principals (principal_id, kind) VALUES ('me', 'human')"
        )
