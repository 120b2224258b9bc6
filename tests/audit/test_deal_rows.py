"""Deals and what is decided about them: the row of the trail comes with the change, or neither."""

import hashlib
import json
from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest
from psycopg import AsyncConnection
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool

from activities.approvals.interface import ReleaseFunding, ReserveFunding
from activities.approvals.reservations import Reservations
from activities.deals.interface import DealRecord
from activities.deals.records import Records
from domain.causes import Cause
from domain.deals import DealStatus, Step
from domain.errors import NotAllowed
from domain.identifiers import BankId, DealId
from domain.views import DealView, StepView
from tests.activities.deals import samples
from tests.audit.rows import query, rows_of
from tests.support.postgres import Database

Pool = AsyncConnectionPool[AsyncConnection[TupleRow]]
PAUSE = Cause(who="oncall-1", why="the pool looks odd", command_id="c-1")


@pytest.fixture
async def pool(database: Database) -> AsyncIterator[Pool]:
    """The deals worker's connections."""
    url = database.role("deal_records")
    async with AsyncConnectionPool(url, open=False, kwargs={"autocommit": True}) as opened:
        yield opened


async def say(
    pool: Pool,
    view: DealView,
    length: int,
    step: StepView | None = None,
    cause: Cause | None = None,
) -> None:
    """Record one version as a workflow task says it that begins with so many events."""
    record = DealRecord(view=view, step=step, run_id="run-1", history_length=length, cause=cause)
    await Records(pool).record_deal(record)


async def test_every_version_has_its_row_and_its_cause(pool: Pool, database: Database) -> None:
    first = samples.view("versions")
    running = samples.later(first, DealStatus.EXECUTING, doing="admitted")
    after = samples.later(running, doing="swapping")
    paused = samples.later(after, DealStatus.PAUSED, doing="paused")
    await say(pool, first, 3)
    await say(pool, running, 9)
    await say(pool, after, 15, samples.step(Step.SWAP, "versions"))
    await say(pool, paused, 21, cause=PAUSE)
    rows = rows_of(database, "versions")
    assert [row["action"] for row in rows] == [
        "deal.requested",
        "deal.executing",
        "deal.recorded",
        "deal.step",
        "deal.paused",
    ]
    for row in rows:
        assert row["bank"] == "bank-one"
        assert row["request_digest"] == first.request.digest()
        assert (row["workflow_id"], row["run_id"]) == ("deal-versions", "run-1")
        assert (row["subject_kind"], row["subject"]) == ("deal", "versions")
        assert row["written_by"] == "deal_records"
    assert [row["event"] for row in rows] == [3, 9, 15, 15, 21]
    own = {(row["actor"], row["actor_kind"], row["via"]) for row in rows[:-1]}
    assert own == {("deal versions", "system", "worker")}
    assert [row["why"] for row in rows[:2]] == ["admitting", "admitted"]
    last = rows[-1]
    assert (last["actor"], last["actor_kind"], last["via"], last["why"], last["command_id"]) == (
        "oncall-1",
        "claimed",
        "temporal",
        "the pool looks odd",
        "c-1",
    )
    assert last["change"]["before"]["status"] == "EXECUTING"
    assert last["change"]["after"]["status"] == "PAUSED"
    previous = [0, *(row["sequence"] for row in rows)]
    assert [row["previous_of_deal"] for row in rows] == previous[:-1]


async def test_a_step_is_kept_with_its_transactions_and_the_digest_of_its_outcome(
    pool: Pool, database: Database
) -> None:
    await say(pool, samples.view("step"), 3, samples.step(Step.SWAP, "step"))
    row = rows_of(database, "step")[-1]
    assert row["transaction_hashes"] == [f"0x{number:064x}" for number in (1, 2)]
    assert row["change"]["step"] == "swap/1/1"
    (kept,) = query(database, "SELECT outcome::text FROM deals.deal_steps WHERE deal_id = 'step'")
    digest = hashlib.sha256(kept["outcome"].encode()).hexdigest()
    assert row["change"]["after"]["outcome_digest"] == digest


async def test_what_is_said_twice_has_one_row_and_what_is_said_anew_another(
    pool: Pool, database: Database
) -> None:
    first = samples.view("anew")
    running = samples.later(first, DealStatus.EXECUTING)
    await say(pool, first, 3)
    await say(pool, running, 9)
    await say(pool, running, 9)
    await say(pool, first, 3)
    assert len(rows_of(database, "anew")) == 2
    await say(pool, running.model_copy(update={"doing": "otherwise"}), 12)
    assert [row["event"] for row in rows_of(database, "anew")] == [3, 9, 12]


async def test_what_the_records_refuse_is_not_in_the_trail(pool: Pool, database: Database) -> None:
    first = samples.view("refused")
    await say(pool, first, 3)
    with pytest.raises(NotAllowed):
        await say(pool, samples.later(first, DealStatus.COMPLETED), 9)
    assert len(rows_of(database, "refused")) == 1


async def test_a_deal_is_not_recorded_where_the_trail_cannot_be(
    pool: Pool, database: Database
) -> None:
    """The trail refuses (here: a hash that is none), and the record is not written either."""
    bad = samples.inclusion(1, "swap").model_copy(update={"transaction_hash": "0xnothing"})
    step = samples.step(Step.SWAP, "untold", inclusions=(bad,))
    with pytest.raises(NotAllowed):
        await say(pool, samples.view("untold"), 3, step)
    assert query(database, "SELECT FROM deals.deals WHERE deal_id = 'untold'") == []
    assert rows_of(database, "untold") == []


async def test_what_a_bank_moves_is_told_with_the_deal(pool: Pool, database: Database) -> None:
    reservations = Reservations(pool)
    await reservations.reserve_funding(
        ReserveFunding(
            deal_id=DealId("counted"),
            bank=BankId("bank-one"),
            value_usd8=5,
            limit_usd8=4,
            window_seconds=60,
        )
    )
    await reservations.release_funding(ReleaseFunding(deal_id=DealId("counted")))
    await reservations.release_funding(ReleaseFunding(deal_id=DealId("counted")))
    added, released = rows_of(database, "counted")
    assert (added["action"], released["action"]) == ("deal.added", "deal.changed")
    assert (added["bank"], added["change"]["after"]["owners_decide"]) == ("bank-one", True)
    assert released["change"]["before"] == {"released_at": None}
    assert added["actor"] == "deal_records"


OPERATION = {
    "request": {"who": "admin-1", "why": "a new Safe", "operation_id": "op"},
    "doing": "planned",
    "transactions": [],
}
DECISIONS: list[tuple[str, str, tuple[object, ...], dict[str, Any]]] = [
    (
        "deal_engine",
        "INSERT INTO signing.latches (chain_id, problem) VALUES (138, %s)",
        (json.dumps({"message": "took back a final block"}),),
        {"action": "latch.set", "actor": "chain worker", "why": "took back a final block"},
    ),
    (
        "deal_engine",
        (
            "UPDATE signing.latches SET cleared_at = now(), cleared_by = 'oncall-1',"
            " cleared_why = 'looked at it'"
        ),
        (),
        {"action": "latch.cleared", "actor": "oncall-1", "why": "looked at it", "subject": "138"},
    ),
    (
        "deal_engine",
        (
            "INSERT INTO transactions.safe_proposals (deal_id, chain_id, safe, number, nonce,"
            " since_block, expires_at) VALUES ('asked', 138, %s, 1, 0, 1, now())"
        ),
        (samples.TREASURY,),
        {"deal": "asked", "actor": "deal_engine", "why": "the owners of the Safe are asked"},
    ),
    (
        "deal_signer",
        (
            "INSERT INTO signing.accounts"
            " (deal_id, purpose, generation, key_index, provider, address)"
            " VALUES ('keyed', 'deal', 1, 0, 'local', %s)"
        ),
        (samples.ACCOUNT,),
        {"action": "key.added", "deal": "keyed", "subject": str(samples.ACCOUNT)},
    ),
    (
        "deal_signer",
        (
            "INSERT INTO signing.key_events (event_id, kind, address, provider, who, why)"
            " VALUES ('deal-keyed', 'retired', %s, 'local', 'deal keyed', 'the deal is COMPLETED')"
        ),
        (samples.ACCOUNT,),
        {"action": "key.retired", "deal": "keyed", "actor": "deal keyed", "actor_kind": "system"},
    ),
    (
        "deal_signer",
        (
            "INSERT INTO signing.key_events (event_id, kind, address, provider, who, why)"
            " VALUES ('k-2', 'reinstated', %s, 'local', 'admin-1', 'too early')"
        ),
        (samples.ACCOUNT,),
        {"action": "key.reinstated", "actor": "admin-1", "actor_kind": "claimed"},
    ),
    (
        "deal_signer",
        "INSERT INTO signing.treasuries (deal_id, treasury, safe) VALUES ('paid', %s, true)",
        (samples.TREASURY,),
        {"deal": "paid", "why": "its treasury is decided for good"},
    ),
    (
        "deal_signer",
        (
            "INSERT INTO signing.operations (owner, step, chain_id, timelock_id, delay_seconds)"
            " VALUES ('operation-op', 'schedule', 138, %s, 3600)"
        ),
        (f"0x{1:064x}",),
        {"subject_kind": "operation", "subject": "operation-op"},
    ),
    (
        "deal_records",
        (
            "INSERT INTO deals.operations VALUES ('op', 138, 'treasury', 'REQUESTED', 1, %s, now(),"
            " now())"
        ),
        (json.dumps(OPERATION),),
        {"action": "operation.requested", "actor": "admin-1", "why": "a new Safe"},
    ),
    (
        "deal_records",
        "UPDATE deals.operations SET status = 'CANCELLED', version = 2, view = %s",
        (
            json.dumps(
                OPERATION
                | {
                    "doing": "cancelled",
                    "cancelled_by": "admin-2",
                    "transactions": [f"0x{7:064x}"],
                }
            ),
        ),
        {
            "action": "operation.cancelled",
            "actor": "admin-2",
            "transaction_hashes": [f"0x{7:064x}"],
        },
    ),
]


def test_each_decision_of_the_system_and_of_people_has_its_row(database: Database) -> None:
    for role, statement, parameters, expected in DECISIONS:
        with psycopg.connect(database.role(role)) as connection:
            connection.execute(statement.encode(), parameters)
        (row,) = query(database, "SELECT * FROM audit.events ORDER BY sequence DESC LIMIT 1")
        assert {name: row[name] for name in expected} == expected
        assert row["written_by"] == role


def test_no_decision_can_be_taken_back_unseen(database: Database) -> None:
    """What is not append-only is watched: the role that may change it leaves a row."""
    with psycopg.connect(database.owner) as connection:
        rows = connection.execute(
            "SELECT relation.oid::regclass::text FROM pg_trigger JOIN pg_class AS relation"
            " ON relation.oid = tgrelid WHERE tgname = 'noted' AND tgenabled = 'O'"
        ).fetchall()
    assert {name for (name,) in rows} >= {
        "deals.deals",
        "deals.deal_steps",
        "deals.operations",
        "deals.reservations",
        "signing.accounts",
        "signing.key_events",
        "signing.latches",
        "signing.operations",
        "signing.policies",
        "signing.treasuries",
        "transactions.safe_proposals",
    }


def proved(database: Database, command_id: str, kind: str, deal: str, digest: str | None) -> None:
    """Write a command down as the API does, for somebody who has proved who he is."""
    cause = {"who": "oncall-1", "kind": "human", "via": "api", "why": "a test"}
    with psycopg.connect(database.role("deal_control")) as connection:
        connection.execute("SELECT set_config('deal.cause', %s, true)", (json.dumps(cause),))
        connection.execute(
            "INSERT INTO control.principals (principal_id, kind) VALUES ('oncall-1', 'human')"
            " ON CONFLICT DO NOTHING"
        )
        connection.execute(
            "INSERT INTO control.commands (command_id, kind, subject, deal_id, bank, body,"
            " body_digest, request_digest, principal_id, via, address, why) VALUES"
            " (%s, %s, %s, %s, 'bank-one', '{}', repeat('0', 64), %s, 'oncall-1', 'api',"
            " '10.0.0.9', 'as agreed')",
            (command_id, kind, deal, deal, digest),
        )


async def test_who_has_proved_who_he_is_is_taken_from_his_command(
    pool: Pool, database: Database
) -> None:
    first = samples.view("proved")
    running = samples.later(first, DealStatus.EXECUTING)
    paused = samples.later(running, DealStatus.PAUSED)
    proved(database, "start-proved", "deal.start", "proved", first.request.digest())
    proved(database, "pause-proved", "deal.pause", "proved", None)
    said = Cause(who="mallory", why="for fun", command_id="pause-proved")
    await say(pool, first, 3)
    await say(pool, running, 9)
    await say(pool, paused, 15, cause=said)
    rows = [row for row in rows_of(database, "proved") if row["subject_kind"] == "deal"]
    who = [(row["actor"], row["actor_kind"], row["via"], row["address"]) for row in rows]
    human = ("oncall-1", "human", "api", "10.0.0.9")
    assert who == [human, ("deal proved", "system", "worker", None), human]
    assert [row["command_id"] for row in rows] == ["start-proved", None, "pause-proved"]
    assert [row["why"] for row in (rows[0], rows[2])] == ["as agreed", "as agreed"]


async def test_the_command_of_another_deal_proves_nothing(pool: Pool, database: Database) -> None:
    proved(database, "pause-other", "deal.pause", "other", None)
    other = samples.request("unproved", working_liquidity="11")
    proved(database, "start-other", "deal.start", "unproved", other.digest())
    first = samples.view("unproved")
    await say(pool, first, 3)
    said = Cause(who="mallory", why="for fun", command_id="pause-other")
    await say(pool, samples.later(first), 9, cause=said)
    rows = [row for row in rows_of(database, "unproved") if row["subject_kind"] == "deal"]
    assert [(row["actor"], row["actor_kind"]) for row in rows] == [
        ("deal unproved", "system"),
        ("mallory", "claimed"),
    ]


NOT_WATCHED = {
    "control.predictions",  # what a deal is expected to do, and did
    "control.previews",  # lists that were shown, for minutes: what is done to them is in the trail
    "control.requests",  # answers of the API, for whoever asks again
    "control.risk_increasing_steps",  # a constant, kept beside the code's
}


def test_every_table_of_who_may_do_what_is_watched(database: Database) -> None:
    with psycopg.connect(database.owner) as connection:
        rows = connection.execute(
            "SELECT relation.oid::regclass::text FROM pg_class AS relation"
            " WHERE relnamespace = 'control'::regnamespace AND relkind = 'r' AND NOT EXISTS"
            " (SELECT FROM pg_trigger WHERE tgrelid = relation.oid AND tgname = 'noted')"
        ).fetchall()
    assert {name for (name,) in rows} <= NOT_WATCHED
