"""What the database promises of policies, admissions and approvals, whatever the code does."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import psycopg
import pytest
from psycopg.errors import CheckViolation, InsufficientPrivilege, IntegrityError
from psycopg.rows import dict_row

from domain.desk_approvals import binding_digest
from domain.policy import DealPolicy
from tests.control.people import CAUSE, add_principal, change
from tests.support.postgres import Database, Postgres

USD = 10**8
DIGEST, PREDICTION = "a" * 64, "b" * 64
BINDING = binding_digest(DIGEST, 1, PREDICTION)
RULES = [{"name": "all", "effect": "allow"}]
TIERS = [{"above_usd": "2000000", "needed": 1}, {"above_usd": "5000000", "needed": 2}]
PROPOSE = """
INSERT INTO control.policies (version, digest, content, based_on, state, proposed_by, why)
VALUES (%s, %s, %s, %s, %s, %s, 'a test')
"""
APPROVE = """
UPDATE control.policies SET state = 'ACTIVE', approved_by = %s, decided_at = clock_timestamp(),
    decided_why = 'a test' WHERE version = %s
"""
REJECT = """
UPDATE control.policies SET state = 'REJECTED', rejected_by = %s, decided_at = now(),
    decided_why = 'no' WHERE version = %s
"""
RETIRE = """
UPDATE control.policies SET state = 'RETIRED', retired_at = clock_timestamp()
WHERE state = 'ACTIVE'
"""
COMMAND = """
INSERT INTO control.commands (command_id, kind, subject, deal_id, bank, body, body_digest,
    request_digest, principal_id, via, why)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, 'cli', 'a test')
"""
APPROVAL = """
INSERT INTO control.approvals (deal_id, approver, on_behalf_of, decision, binding_digest,
    command_id, bank, why) VALUES ('deal-1', %s, %s, 'approved', %s, %s, 'bank-a', 'w')
"""


def document(version: int = 1, **fields: Any) -> DealPolicy:
    rules = {"rules": RULES, "approvals": {"expiry_seconds": 600, "tiers": TIERS}}
    return DealPolicy.parse({"version": version, **rules, **fields})


def propose(
    database: Database, policy: DealPolicy, who: str, based_on: int | None, state: str = "PROPOSED"
) -> None:
    row = (policy.version, policy.digest, policy.content, based_on, state, who)
    change(database, PROPOSE, *row, who=who)


def approve(database: Database, version: int, who: str, *, retire: bool = True) -> None:
    with psycopg.connect(database.role("deal_control")) as connection:
        set_cause(connection, who)
        if retire:
            connection.execute(RETIRE)
        connection.execute(APPROVE, (who, version))


def set_cause(connection: psycopg.Connection[Any], who: str = "root") -> None:
    cause = json.dumps(CAUSE | {"who": who})
    connection.execute("SELECT set_config('deal.cause', %s, true)", (cause,))


def rows(database: Database, query: str) -> list[dict[str, Any]]:
    with psycopg.connect(database.role("deal_reader"), row_factory=dict_row) as connection:
        return connection.execute(query.encode()).fetchall()


def states(database: Database) -> dict[int, str]:
    return {r["version"]: r["state"] for r in rows(database, "SELECT * FROM control.policies")}


def command(  # noqa: PLR0913, PLR0917 - the columns of a command
    database: Database,
    command_id: str,
    who: str,
    kind: str = "deal.start",
    deal: str = "deal-1",
    bank: str = "bank-a",
    **body: str,
) -> None:
    digest = DIGEST if kind == "deal.start" else None
    row = (command_id, kind, deal, deal, bank, json.dumps(body), PREDICTION, digest, who)
    change(database, COMMAND, *row, who=who)


def as_deals_worker(database: Database, query: str, *parameters: object) -> dict[str, Any]:
    role = database.role("deal_records")
    with psycopg.connect(role, row_factory=dict_row, autocommit=True) as connection:
        row = connection.execute(query.encode(), parameters).fetchone()
        assert row is not None
        return row


def admit(database: Database, value: int, deal: str = "deal-1", version: int = 1) -> dict[str, Any]:
    query = "SELECT * FROM control.admit(%s, %s, %s, %s, 'all', %s)"
    return as_deals_worker(database, query, deal, f"start-{deal}", DIGEST, version, value)


def start(  # noqa: PLR0913, PLR0917 - what an admission is made of
    database: Database,
    value: int,
    deal: str = "deal-1",
    who: str = "trader",
    bank: str = "bank-a",
    version: int = 1,
) -> dict[str, Any]:
    command(database, f"start-{deal}", who, deal=deal, bank=bank)
    return admit(database, value, deal, version)


def ask(database: Database) -> dict[str, Any]:
    query = "SELECT * FROM control.ask_approvals('deal-1', %s)"
    return as_deals_worker(database, query, PREDICTION)


def give(
    database: Database,
    who: str,
    binding: str = BINDING,
    deal: str = "deal-1",
    kind: str = "deal.approve",
) -> dict[str, Any]:
    command(database, f"{kind}-{who}", who, kind, deal, binding_digest=binding)
    return count(database, f"{kind}-{who}", deal)


def count(database: Database, command_id: str, deal: str = "deal-1") -> dict[str, Any]:
    query = "SELECT * FROM control.give_approval(%s, %s) ORDER BY at DESC LIMIT 1"
    return as_deals_worker(database, query, deal, command_id)


def refused(rule: str, act: Callable[[], object]) -> psycopg.errors.Diagnostic:
    with pytest.raises(IntegrityError) as caught:
        act()
    assert caught.value.diag.constraint_name == rule
    return caught.value.diag


def refused_to_the_owner(database: Database, rule: str, query: str, *parameters: object) -> None:
    """Not even who owns the tables can do this without taking the rules away first."""
    with psycopg.connect(database.owner) as connection:
        set_cause(connection)
        refused(rule, lambda: connection.execute(query.encode(), parameters))


def at_once(*acts: Callable[[], object]) -> list[Exception | None]:
    """What each has raised, all of them begun together."""
    ready = Barrier(len(acts))

    def run(act: Callable[[], object]) -> Exception | None:
        ready.wait()
        try:
            act()
        except psycopg.Error as error:
            return error
        return None

    with ThreadPoolExecutor(len(acts)) as pool:
        return list(pool.map(run, acts))


@pytest.fixture
def control(postgres: Postgres) -> Database:
    """A database with people and version 1 of the policy in force."""
    database = postgres.migrated()
    for name, roles in {
        "installer": ["admin"],
        "risk-1": ["risk_manager"],
        "risk-2": ["risk_manager"],
        "trader": ["trader", "approver"],
        "senior": ["senior_trader"],
        "ann": ["approver"],
        "bob": ["approver"],
        "eve": ["viewer"],
    }.items():
        add_principal(database, name, *roles)
    propose(database, document(), "installer", None, "ACTIVE")
    return database


# -- versions of the policy -----------------------------------------------------------------------


def test_the_one_who_proposed_a_policy_cannot_put_it_in_force(control: Database) -> None:
    propose(control, document(2), "risk-1", 1)
    with pytest.raises(CheckViolation) as caught:
        approve(control, 2, "risk-1")
    assert caught.value.diag.constraint_name == "second_person"
    assert states(control) == {1: "ACTIVE", 2: "PROPOSED"}
    approve(control, 2, "risk-2")
    assert states(control) == {1: "RETIRED", 2: "ACTIVE"}


def test_nobody_decides_in_the_name_of_somebody_else(control: Database) -> None:
    propose(control, document(2), "risk-1", 1)
    refused("own_decision", lambda: change(control, REJECT, "risk-2", 2, who="risk-1"))
    three = document(3)
    row = (3, three.digest, three.content, 1, "PROPOSED", "risk-2")
    refused("own_proposal", lambda: change(control, PROPOSE, *row, who="risk-1"))


def test_a_proposal_based_on_an_older_version_is_refused(control: Database) -> None:
    propose(control, document(2), "risk-1", 1)
    propose(control, document(3), "risk-1", 1)
    approve(control, 2, "risk-2")
    refused("policy_outdated", lambda: approve(control, 3, "risk-2"))
    told = refused("policy_outdated", lambda: propose(control, document(4), "risk-1", 1))
    assert told.message_detail == "2"
    refused("policy_version_used", lambda: propose(control, document(3), "risk-1", 2))


def test_what_was_decided_stays_so(control: Database) -> None:
    propose(control, document(2), "risk-1", 1)
    change(control, REJECT, "risk-2", 2, who="risk-2")
    refused("policy_decided", lambda: approve(control, 2, "risk-2"))
    with pytest.raises(InsufficientPrivilege):
        change(control, "UPDATE control.policies SET content = '{}' WHERE version = 2")
    with pytest.raises(InsufficientPrivilege):
        change(control, "DELETE FROM control.policies WHERE version = 2")
    refused_to_the_owner(control, "policy_unchanged", "UPDATE control.policies SET why = 'other'")


def test_there_is_always_one_version_in_force_and_never_two(control: Database) -> None:
    propose(control, document(2), "risk-1", 1)
    refused("policy_outdated", lambda: approve(control, 2, "risk-2", retire=False))
    refused("policy_in_force", lambda: change(control, RETIRE))
    refused("policy_proposed_first", lambda: propose(control, document(5), "risk-1", 1, "ACTIVE"))
    assert states(control) == {1: "ACTIVE", 2: "PROPOSED"}


def test_only_the_first_version_is_installed(postgres: Postgres) -> None:
    database = postgres.migrated()
    refused("policy_installed_first", lambda: propose(database, document(), "root", None))
    propose(database, document(), "root", None, "ACTIVE")
    assert states(database) == {1: "ACTIVE"}


def test_a_digest_or_version_that_is_not_the_contents_is_refused(control: Database) -> None:
    two, three = document(2), document(3)
    row = (2, three.digest, two.content, 1, "PROPOSED", "root")
    refused("digest_of_content", lambda: change(control, PROPOSE, *row))
    row = (2, three.digest, three.content, 1, "PROPOSED", "root")
    refused("version_of_content", lambda: change(control, PROPOSE, *row))


def test_two_approvals_at_once_put_one_version_in_force(control: Database) -> None:
    add_principal(control, "risk-3", "risk_manager")
    propose(control, document(2), "risk-1", 1)
    propose(control, document(3), "risk-1", 1)
    outcomes = at_once(lambda: approve(control, 2, "risk-2"), lambda: approve(control, 3, "risk-3"))
    assert sum(outcome is None for outcome in outcomes) == 1
    assert sorted(states(control).values()) == ["ACTIVE", "PROPOSED", "RETIRED"]


# -- admissions -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("usd", "needed"), [(1, 0), (2_000_000, 0), (2_000_001, 1), (5_000_000, 1)]
)
def test_how_many_have_to_approve_is_what_the_policy_says(
    control: Database, usd: int, needed: int
) -> None:
    admitted = start(control, usd * USD)
    assert (admitted["approvals_needed"], admitted["policy_version"]) == (needed, 1)
    assert admitted["initiator"] == "trader"
    tier = document().approvals.tier_of(usd * USD)
    assert needed == (tier.needed if tier else 0)


def test_more_than_five_million_takes_a_senior_trader(control: Database) -> None:
    value = 5_000_000 * USD + 1
    refused("senior_trader", lambda: start(control, value))
    assert start(control, value, "deal-2", "senior")["approvals_needed"] == 2


def test_a_deal_is_admitted_once_whatever_is_asked_later(control: Database) -> None:
    first = start(control, USD)
    propose(control, document(2), "risk-1", 1)
    approve(control, 2, "risk-2")
    assert admit(control, 9 * USD) == first
    assert admit(control, 9 * USD, version=2) == first


def test_nothing_is_admitted_without_a_command_for_just_this(control: Database) -> None:
    refused("no_command", lambda: admit(control, USD))
    command(control, "start-deal-1", "trader", deal="deal-2")
    refused("no_command", lambda: admit(control, USD))
    command(control, "start-deal-3", "trader", "deal.pause", deal="deal-3")
    refused("no_command", lambda: admit(control, USD, "deal-3"))


def test_somebody_who_was_disabled_starts_nothing(control: Database) -> None:
    command(control, "start-deal-1", "trader")
    disable = "UPDATE control.principals SET disabled_at = now() WHERE principal_id = 'trader'"
    change(control, disable)
    refused("principal_disabled", lambda: admit(control, USD))


def test_a_version_that_is_not_in_force_admits_nothing(control: Database) -> None:
    propose(control, document(2), "risk-1", 1)
    command(control, "start-deal-1", "trader")
    with pytest.raises(psycopg.errors.SerializationFailure):
        admit(control, USD, version=2)


@pytest.mark.parametrize("role", ["deal_records", "deal_control", "deal_engine", "deal_reader"])
def test_no_role_writes_admissions_or_approvals_itself(control: Database, role: str) -> None:
    start(control, 3_000_000 * USD)
    for statement in (
        "UPDATE control.admissions SET approvals_needed = 0",
        "DELETE FROM control.admissions",
        "INSERT INTO control.admissions (deal_id) VALUES ('deal-2')",
        "INSERT INTO control.approvals (deal_id) VALUES ('deal-1')",
    ):
        with (
            psycopg.connect(control.role(role)) as connection,
            pytest.raises(InsufficientPrivilege),
        ):
            connection.execute(statement.encode())


def test_an_admission_stays_as_it_was(control: Database) -> None:
    start(control, 3_000_000 * USD)
    lower = "UPDATE control.admissions SET approvals_needed = 0"
    refused_to_the_owner(control, "admitted_once", lower)
    ask(control)
    other = "UPDATE control.admissions SET prediction_digest = repeat('c', 64)"
    refused_to_the_owner(control, "admitted_once", other)
    with psycopg.connect(control.owner) as connection, pytest.raises(InsufficientPrivilege):
        connection.execute("DELETE FROM control.admissions")


def test_what_is_asked_for_is_bound_to_request_policy_and_dry_run(control: Database) -> None:
    start(control, 3_000_000 * USD)
    forged = "UPDATE control.admissions SET prediction_digest = %s, binding_digest = %s,"
    forged += " expires_at = now()"
    refused_to_the_owner(control, "admitted_once", forged, PREDICTION, DIGEST)
    assert ask(control)["binding_digest"] == BINDING
    query = "SELECT * FROM control.ask_approvals('deal-1', %s)"
    assert as_deals_worker(control, query, "c" * 64)["binding_digest"] == BINDING


def with_velocity(database: Database, **limits: Any) -> None:
    limit = {"window_seconds": 3_600, **limits}
    propose(database, document(2, velocity=[limit]), "risk-1", 1)
    approve(database, 2, "risk-2")


def test_a_user_may_have_so_many_deals_within_the_window(control: Database) -> None:
    with_velocity(control, per="user", max_deals=2)
    for number in (1, 2):
        start(control, USD, f"deal-{number}", bank=f"bank-{number}", version=2)
    told = refused("velocity_user_deals", lambda: start(control, USD, "deal-3", version=2))
    assert (told.message_detail, told.message_hint, told.column_name) == ("2", "2", "3600")
    start(control, USD, "deal-4", "senior", version=2)
    as_deals_worker(control, "SELECT control.release_admission('deal-1')")
    admit(control, USD, "deal-3", version=2)


def test_a_bank_may_move_so_much_within_the_window(control: Database) -> None:
    with_velocity(control, per="bank", max_usd="10")
    start(control, 6 * USD, "deal-1", version=2)
    told = refused(
        "velocity_bank_usd", lambda: start(control, 5 * USD, "deal-2", "senior", version=2)
    )
    assert (told.message_detail, told.message_hint) == (str(6 * USD), str(10 * USD))
    start(control, 5 * USD, "deal-3", "senior", "bank-b", version=2)
    start(control, 4 * USD, "deal-4", "senior", version=2)


def test_what_is_out_of_the_window_does_not_count(control: Database) -> None:
    with_velocity(control, per="user", max_deals=1)
    start(control, USD, "deal-1", version=2)
    with psycopg.connect(control.owner) as connection:
        connection.execute("ALTER TABLE control.admissions DISABLE TRIGGER USER")
        connection.execute("UPDATE control.admissions SET admitted_at = now() - interval '61 min'")
    start(control, USD, "deal-2", version=2)


def test_two_at_once_do_not_both_slip_under_a_limit(control: Database) -> None:
    with_velocity(control, per="user", max_deals=1)
    for number in (1, 2):
        command(control, f"start-deal-{number}", "trader", deal=f"deal-{number}")
    outcomes = at_once(
        lambda: admit(control, USD, "deal-1", version=2),
        lambda: admit(control, USD, "deal-2", version=2),
    )
    assert sum(outcome is None for outcome in outcomes) == 1
    assert len(rows(control, "SELECT FROM control.admissions")) == 1


# -- approvals ------------------------------------------------------------------------------------


@pytest.fixture
def asked(control: Database) -> Database:
    """A deal of the trader's that needs one approval, asked for."""
    start(control, 3_000_000 * USD)
    ask(control)
    return control


def stands(database: Database, deal: str = "deal-1") -> bool:
    row = as_deals_worker(database, "SELECT control.admission_stands(%s) AS stands", deal)
    return bool(row["stands"])


def test_an_approver_approves_and_the_admission_stands(asked: Database) -> None:
    assert not stands(asked)
    given = give(asked, "ann")
    assert (given["approver"], given["decision"]) == ("ann", "approved")
    assert given["on_behalf_of"] is None
    assert stands(asked)
    assert stands(asked, "a-deal-from-before")


def test_the_initiator_does_not_approve_his_own_deal(asked: Database) -> None:
    refused("approval_own_deal", lambda: give(asked, "trader"))


def test_one_person_counts_once_also_by_another_command(asked: Database) -> None:
    first = give(asked, "ann")
    assert count(asked, "deal.approve-ann") == first
    command(asked, "again", "ann", "deal.approve", binding_digest=BINDING)
    refused("approval_given_already", lambda: count(asked, "again"))


def test_an_approval_of_something_else_does_not_count(asked: Database) -> None:
    told = refused("approval_of_something_else", lambda: give(asked, "ann", DIGEST))
    assert told.message_detail == BINDING


def test_an_approval_that_comes_too_late_does_not_count(asked: Database) -> None:
    with psycopg.connect(asked.owner) as connection:
        connection.execute("ALTER TABLE control.admissions DISABLE TRIGGER USER")
        connection.execute("UPDATE control.admissions SET expires_at = now()")
        connection.execute("ALTER TABLE control.admissions ENABLE TRIGGER USER")
    refused("approval_expired", lambda: give(asked, "ann"))


def test_nobody_else_than_an_approver_of_the_bank_counts(asked: Database) -> None:
    add_principal(asked, "far", "approver", banks=("bank-b",))
    refused("approval_not_approver", lambda: give(asked, "eve"))
    refused("approval_not_approver", lambda: give(asked, "far"))
    change(asked, "UPDATE control.principals SET disabled_at = now() WHERE principal_id = 'ann'")
    refused("approval_not_approver", lambda: give(asked, "ann"))


def test_nobody_approves_what_was_not_asked_for(control: Database) -> None:
    start(control, 3_000_000 * USD)
    refused("approval_not_awaited", lambda: give(control, "ann"))
    refused("approval_not_awaited", lambda: give(control, "bob", deal="deal-9"))


def test_after_a_rejection_nothing_counts(asked: Database) -> None:
    assert give(asked, "ann", kind="deal.reject")["decision"] == "rejected"
    refused("approval_not_awaited", lambda: give(asked, "bob"))
    assert not stands(asked)


def test_a_deal_that_was_released_stands_no_longer(asked: Database) -> None:
    as_deals_worker(asked, "SELECT control.release_admission('deal-1')")
    refused("approval_not_awaited", lambda: give(asked, "ann"))
    assert not stands(asked)


def test_an_approval_takes_a_command_of_the_approver_himself(asked: Database) -> None:
    command(asked, "anns", "ann", "deal.approve", binding_digest=BINDING)
    refused_to_the_owner(asked, "no_command", APPROVAL, "bob", None, BINDING, "anns")
    refused("no_command", lambda: count(asked, "anns", "deal-2"))
    command(asked, "pauses", "bob", "deal.pause", binding_digest=BINDING)
    refused("no_command", lambda: count(asked, "pauses"))


def test_approvals_are_never_changed(asked: Database) -> None:
    give(asked, "ann")
    for statement in ("DELETE FROM control.approvals", "UPDATE control.approvals SET why = 'x'"):
        with psycopg.connect(asked.owner) as connection, pytest.raises(InsufficientPrivilege):
            connection.execute(statement.encode())


def test_two_at_once_of_one_person_count_once(asked: Database) -> None:
    for name in ("first", "second"):
        command(asked, name, "ann", "deal.approve", binding_digest=BINDING)
    outcomes = at_once(lambda: count(asked, "first"), lambda: count(asked, "second"))
    assert sum(outcome is None for outcome in outcomes) == 1
    assert len(rows(asked, "SELECT FROM control.approvals")) == 1


def delegate(database: Database, approver: str, *members: str) -> None:
    add_group(database, "stand-ins", *members)
    delegation = """
        INSERT INTO control.delegations (delegation_id, approver, group_id, starts_at, ends_at, why)
        VALUES ('d-1', %s, 'stand-ins', now() - interval '1 hour', now() + interval '1 day', 'w')
    """
    change(database, delegation, approver, who=approver)


def add_group(database: Database, name: str, *members: str) -> None:
    change(database, "INSERT INTO control.groups (group_id) VALUES (%s)", name)
    add = "INSERT INTO control.memberships (group_id, principal_id) VALUES (%s, %s)"
    for member in members:
        change(database, add, name, member)


def test_a_stand_in_approves_in_the_name_of_the_approver_once(control: Database) -> None:
    start(control, 6_000_000 * USD, who="senior")
    ask(control)
    delegate(control, "ann", "eve", "risk-1")
    given = give(control, "eve")
    assert (given["approver"], given["on_behalf_of"]) == ("eve", "ann")
    refused("approval_given_already", lambda: give(control, "ann"))
    refused("approval_not_approver", lambda: give(control, "risk-1"))
    assert not stands(control)
    give(control, "bob")
    assert stands(control)


def test_the_initiator_does_not_have_it_approved_in_his_name(asked: Database) -> None:
    delegate(asked, "trader", "eve")
    refused("approval_not_approver", lambda: give(asked, "eve"))
    approval = ("eve", "trader", BINDING, "deal.approve-eve")
    refused_to_the_owner(asked, "approval_own_deal", APPROVAL, *approval)


def test_a_tier_may_ask_for_approvers_of_a_group(control: Database) -> None:
    tier = {"above_usd": "2000000", "needed": 1, "group": "committee"}
    propose(control, document(2, approvals={"tiers": [tier]}), "risk-1", 1)
    approve(control, 2, "risk-2")
    start(control, 3_000_000 * USD, version=2)
    ask(control)
    add_group(control, "committee", "bob")
    binding = binding_digest(DIGEST, 2, PREDICTION)
    refused("approval_not_approver", lambda: give(control, "ann", binding))
    assert give(control, "bob", binding)["decision"] == "approved"


def test_every_change_is_in_the_trail_in_the_name_of_who_made_it(asked: Database) -> None:
    give(asked, "ann")
    found = rows(
        asked,
        "SELECT actor, action, subject, deal, policy_version FROM audit.events WHERE subject_kind"
        " IN ('admission', 'approval', 'policy') ORDER BY sequence",
    )
    assert [tuple(row.values()) for row in found] == [
        ("installer", "policy.added", "1", None, None),
        ("trader", "admission.added", "deal-1", "deal-1", 1),
        ("deal-deal-1", "admission.changed", "deal-1", "deal-1", 1),
        ("ann", "approval.added", "deal-1", "deal-1", None),
    ]
