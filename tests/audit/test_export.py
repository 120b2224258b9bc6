"""Exports: verified by a script that has nothing of ours, which names whatever was changed."""

import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg_pool import AsyncConnectionPool

from activities.deals.interface import DealRecord
from activities.deals.records import Records
from domain.deals import DealStatus, Step
from domain.errors import Forbidden, InvalidInput, NotFound
from domain.identifiers import DealId
from domain.identity import Caller, Principal, PrincipalId, Role, Via
from starters.control.audit import FIELDS, AuditFilter, AuditTrail
from starters.control.database import ControlDatabase
from starters.deals.database import single_connection
from tests.activities.deals import samples
from tests.audit.rows import query
from tests.support.postgres import Database
from workers.runtime.settings import PROJECT_ROOT

SCRIPT = PROJECT_ROOT / "deploy" / "audit" / "verify.py"
GENESIS = "0" * 64

Lines = list[dict[str, Any]]


def caller(*roles: Role, banks: tuple[str, ...] = ("*",)) -> Caller:
    """Somebody with these roles."""
    principal = Principal(
        principal_id=PrincipalId("compliance"), roles=frozenset(roles), banks=frozenset(banks)
    )
    return Caller(principal=principal, via=Via.CLI)


COMPLIANCE = caller(Role.COMPLIANCE)


@pytest.fixture(scope="module")
async def told(database: Database) -> AsyncIterator[Database]:
    """A database in which two deals went on beside each other."""
    async with AsyncConnectionPool(database.role("deal_records"), open=False) as pool:
        records = Records(pool)
        deals = ["alpha", "beta"]
        views = {deal: samples.view(deal, doing=f"sizing é {deal}") for deal in deals}
        for status in (None, DealStatus.EXECUTING, DealStatus.UNWINDING, DealStatus.UNWOUND):
            for deal in deals:
                if status is not None:
                    views[deal] = samples.later(views[deal], status)
                step = samples.step(Step.SWAP, deal) if status is DealStatus.EXECUTING else None
                record = DealRecord(view=views[deal], step=step, run_id="r", history_length=9)
                await records.record_deal(record)
        yield database


@pytest.fixture
def trail(told: Database) -> AuditTrail:
    """The trail as the command line has it."""
    control = ControlDatabase.at(told.role("deal_control"))
    return AuditTrail(single_connection(told.role("deal_reader")), control)


async def exported(trail: AuditTrail, deal: str | None = None, head: str | None = None) -> Lines:
    """An export, line by line."""
    lines = trail.export(COMPLIANCE, "an audit", None if deal is None else DealId(deal), head)
    return [json.loads(line) async for line in lines]


def checked(folder: Path, lines: Lines, *heads: str) -> tuple[int, str]:
    """What the script says of it, run without any of our packages."""
    file = folder / "trail.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    options = [part for head in heads for part in ("--head", head)]
    command = [sys.executable, "-I", "-S", str(SCRIPT), str(file), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    assert done.stderr == ""
    return done.returncode, done.stdout


async def test_a_whole_trail_and_the_trail_of_a_deal_verify(
    trail: AuditTrail, tmp_path: Path
) -> None:
    whole = await exported(trail)
    code, said = checked(tmp_path, whole, whole[-1]["hash"], whole[3]["hash"])
    assert (code, said.split(":")[0]) == (0, "whole")
    assert f"{len(whole) - 1} rows of the trail" in said

    alpha = await exported(trail, "alpha")
    code, said = checked(tmp_path, alpha, alpha[-1]["hash"])
    assert (code, "rows of deal alpha" in said) == (0, True)
    own = [line for line in alpha[1:] if "change" in line]
    assert {line["deal"] for line in own} == {"alpha"}
    assert [line["action"] for line in own] == [
        "deal.requested",
        "deal.executing",
        "deal.step",
        "deal.unwinding",
        "deal.unwound",
        "audit.exported",
    ]
    others = [line for line in alpha[1:] if "change" not in line]
    assert all(set(line) == {"sequence", "content_digest", "hash"} for line in others)
    assert len(others) >= 4


async def test_a_deal_is_bound_to_a_head_that_was_kept_before_it(
    trail: AuditTrail, tmp_path: Path
) -> None:
    whole = await exported(trail)
    first = whole[1]["hash"]
    assert whole[2]["deal"] == "beta"
    code, said = checked(tmp_path, await exported(trail, "beta", first), first)
    assert (code, "rows of deal beta" in said) == (0, True)
    code, said = checked(tmp_path, await exported(trail, "beta", GENESIS), GENESIS)
    assert code == 0
    with pytest.raises(InvalidInput, match="not in the trail"):
        await exported(trail, "beta", "f" * 64)


def number(value: Any) -> Any:
    """Another value of the same kind."""
    if isinstance(value, int):
        return value + 1
    if isinstance(value, list):
        return [f"0x{'9' * 64}", *value]
    return "another" if value is None else f"{value} "


CHANGED: dict[str, Callable[[Any], Any]] = dict.fromkeys(FIELDS, number) | {
    "at": lambda _: "2026-11-22T12:00:00.000001+00:00",
    "event": lambda value: (value or 0) + 1,
    "policy_version": lambda _: 7,
    "transaction_hashes": lambda value: None if value else [f"0x{'9' * 64}"],
    "content_digest": lambda value: f"{'1' if value[0] == '0' else '0'}{value[1:]}",
    "previous_hash": lambda value: f"{'1' if value[0] == '0' else '0'}{value[1:]}",
    "hash": lambda value: f"{'1' if value[0] == '0' else '0'}{value[1:]}",
}


@pytest.mark.parametrize("column", CHANGED)
async def test_a_change_of_any_column_of_any_row_is_found_and_named(
    trail: AuditTrail, column: str
) -> None:
    whole = await exported(trail)
    for place in range(1, len(whole)):
        lines = [dict(line) for line in whole]
        lines[place][column] = CHANGED[column](lines[place][column])
        assert lines != whole
        code, said = checked_quickly(lines)
        assert (code, f"row {place} " in said) == (1, True), said


def checked_quickly(lines: Lines) -> tuple[int, str]:
    """What the script's own functions say: a process for each of hundreds of changes is slow."""
    script: dict[str, Any] = {"__name__": "verify"}
    exec(compile(SCRIPT.read_text(), str(SCRIPT), "exec"), script)  # noqa: S102 - what is tested
    try:
        script["verify"](iter([json.dumps(line) for line in lines]), [])
    except script["Broken"] as broken:
        return 1, str(broken)
    return 0, ""


async def test_what_is_left_out_put_in_or_moved_is_found(trail: AuditTrail) -> None:
    whole = await exported(trail)
    last = len(whole) - 1
    for place in range(1, last):
        without = whole[:place] + whole[place + 1 :]
        assert checked_quickly(without) == (
            1,
            f"row {place} is missing; row {place + 1} stands in its place",
        )
        twice = [*whole[: place + 1], whole[place], *whole[place + 1 :]]
        assert checked_quickly(twice) == (1, f"row {place} stands after row {place}")
        swapped = [*whole[:place], whole[place + 1], whole[place], *whole[place + 2 :]]
        assert checked_quickly(swapped)[0] == 1
        put_in = [*whole[: place + 1], whole[place] | {"sequence": place + 1}, *whole[place + 1 :]]
        assert f"row {place + 1} " in checked_quickly(put_in)[1]
    assert checked_quickly(whole[:-1]) == (
        1,
        f"row {last} is missing: the export goes to row {last}",
    )


async def test_rows_cut_off_the_end_are_found_with_a_head_that_was_kept(
    trail: AuditTrail, tmp_path: Path
) -> None:
    whole = await exported(trail)
    kept = whole[-1]["hash"]
    cut = [whole[0] | {"last": len(whole) - 2, "head": whole[-2]["hash"]}, *whole[1:-1]]
    assert checked(tmp_path, cut)[0] == 0
    code, said = checked(tmp_path, cut, kept)
    assert (code, said.split(":")[0]) == (1, "BROKEN")
    assert f"after row {len(whole) - 2} were cut off" in said


async def test_a_row_of_a_deal_cannot_be_hidden_among_those_of_others(trail: AuditTrail) -> None:
    alpha = await exported(trail, "alpha")
    places = [place for place, line in enumerate(alpha) if "change" in line]
    for place in places[:-1]:
        hidden = [dict(line) for line in alpha]
        hidden[place] = {
            name: hidden[place][name] for name in ("sequence", "content_digest", "hash")
        }
        code, said = checked_quickly(hidden)
        assert (code, f"row {alpha[place]['sequence']} of deal alpha is left out" in said) == (
            1,
            True,
        )


async def test_a_file_that_is_no_export_is_not_taken_for_a_broken_one(tmp_path: Path) -> None:
    assert checked(tmp_path, [{"sequence": 1}])[0] == 2
    assert checked(tmp_path, [])[0] == 2


OWNER_CHANGES = {
    "UPDATE audit.events SET why = 'another' WHERE sequence = 4": (4, "row 4 was changed"),
    "UPDATE audit.events SET at = 'infinity' WHERE sequence = 2": (2, "row 2 was changed"),
    "DELETE FROM audit.events WHERE sequence = 5": (5, "row 5 is missing"),
    "DELETE FROM audit.events WHERE sequence = 1": (1, "row 1 is missing"),
    "UPDATE audit.events SET sequence = CASE sequence WHEN 3 THEN 400 WHEN 4 THEN 3 ELSE sequence"
    " END": (3, "row 3 does not follow from the one before"),
    "UPDATE audit.events SET why = 'x', content_digest = audit.content_of(events)"
    " WHERE sequence = 6": (6, "row 6 was changed"),
}


@pytest.mark.parametrize("statement", OWNER_CHANGES)
async def test_what_the_owner_changes_behind_the_guards_the_database_finds(
    trail: AuditTrail, told: Database, statement: str
) -> None:
    whole = await trail.verify(COMPLIANCE)
    assert (whole.broken, whole.problem) == (None, None)
    with psycopg.connect(told.owner) as owner:
        owner.execute("SET session_replication_role = replica")
        owner.execute(statement.encode())
        found = owner.execute("SELECT broken, problem FROM audit.verify()").fetchone()
        owner.rollback()
    assert found == OWNER_CHANGES[statement]


async def test_a_column_that_is_changed_is_found_in_the_database_too(told: Database) -> None:
    kinds = query(
        told,
        "SELECT column_name, data_type FROM information_schema.columns"
        " WHERE table_schema = 'audit' AND table_name = 'events'",
    )
    assert {row["column_name"] for row in kinds} == {
        "sequence",
        "content_digest",
        "previous_hash",
        "hash",
        *FIELDS,
    }
    other = {
        "text": "coalesce({0}, '') || '0'",
        "bigint": "coalesce({0}, 0) + 100",
        "integer": "coalesce({0}, 0) + 1",
        "jsonb": "'{{}}'::jsonb",
        "ARRAY": f"'{{{{0x{'9' * 64}}}}}'::text[]",
        "timestamp with time zone": "{0} + interval '1 microsecond'",
    }
    with psycopg.connect(told.owner) as owner:
        owner.execute("ALTER TABLE audit.events DROP CONSTRAINT events_check")
        owner.execute("ALTER TABLE audit.events DROP CONSTRAINT events_request_digest_check")
        owner.execute("SET session_replication_role = replica")
        for row in kinds:
            column = row["column_name"]
            value = other[row["data_type"]].format(column)
            with owner.transaction(force_rollback=True):
                owner.execute(
                    f"UPDATE audit.events SET {column} = {value} WHERE sequence = 3".encode()  # noqa: S608 - our own columns
                )
                found = owner.execute("SELECT broken FROM audit.verify()").fetchone()
                assert found == (3,), column
        owner.rollback()


async def test_rows_that_the_owner_cut_off_are_found_with_a_kept_head(
    trail: AuditTrail, told: Database
) -> None:
    kept = (await trail.verify(COMPLIANCE)).head
    assert (await trail.verify(COMPLIANCE, kept)).problem is None
    assert (await trail.verify(COMPLIANCE, GENESIS)).problem is None
    with psycopg.connect(told.owner) as owner:
        owner.execute("SET session_replication_role = replica")
        owner.execute(
            "DELETE FROM audit.events WHERE sequence = (SELECT max(sequence) FROM audit.events)"
        )
        unaided = owner.execute("SELECT problem FROM audit.verify()").fetchone()
        found = owner.execute("SELECT problem FROM audit.verify(%s)", (kept,)).fetchone()
        owner.rollback()
    assert unaided == (None,)
    assert found is not None
    assert "rows were cut off its end" in found[0]


async def test_who_may_read_and_export_and_of_which_banks(trail: AuditTrail) -> None:
    viewer, trader = caller(Role.VIEWER), caller(Role.COMPLIANCE, banks=("bank-two",))
    with pytest.raises(Forbidden):
        await trail.page(viewer, AuditFilter())
    with pytest.raises(Forbidden):
        await trail.verify(viewer)
    for who, deal, error in [
        (caller(Role.ONCALL), None, Forbidden),
        (trader, None, Forbidden),
        (trader, DealId("alpha"), NotFound),
        (COMPLIANCE, DealId("unheard-of"), NotFound),
    ]:
        with pytest.raises(error):
            await anext(trail.export(who, "why", deal))
    assert (await trail.page(trader, AuditFilter())).rows == []
    own = caller(Role.COMPLIANCE, banks=("bank-one",))
    assert {row["bank"] for row in (await trail.page(own, AuditFilter())).rows} == {"bank-one"}
    assert json.loads(await anext(trail.export(own, "why", DealId("alpha"))))["deal"] == "alpha"


async def test_an_export_is_in_the_trail_itself(trail: AuditTrail, told: Database) -> None:
    lines = await exported(trail)
    assert (lines[-1]["action"], lines[-1]["actor"], lines[-1]["why"]) == (
        "audit.exported",
        "compliance",
        "an audit",
    )
    with pytest.raises(InvalidInput, match="reason"):
        await anext(trail.export(COMPLIANCE, " "))
    with pytest.raises(InvalidInput, match="control database"):
        await anext(AuditTrail(single_connection(told.role("deal_reader"))).export(COMPLIANCE, "x"))


async def test_pages_go_back_in_time_by_deal_actor_and_time(trail: AuditTrail) -> None:
    chosen = AuditFilter(deal="alpha", limit=2)
    page = await trail.page(COMPLIANCE, chosen)
    seen = [row["sequence"] for row in page.rows]
    while page.next_before is not None:
        page = await trail.page(
            COMPLIANCE, AuditFilter(deal="alpha", limit=2, before=page.next_before)
        )
        seen += [row["sequence"] for row in page.rows]
    assert seen == sorted(seen, reverse=True)
    assert len(seen) >= 5
    by_actor = await trail.page(COMPLIANCE, AuditFilter(actor="deal beta"))
    assert {row["deal"] for row in by_actor.rows} == {"beta"}
    middle = by_actor.rows[2]["at"]
    later = await trail.page(COMPLIANCE, AuditFilter(since=middle))
    earlier = await trail.page(COMPLIANCE, AuditFilter(until=middle))
    assert min(row["at"] for row in later.rows) == middle
    assert max(row["at"] for row in earlier.rows) < middle
