"""`deal audit`: what it prints, where it writes, and how it ends."""

from __future__ import annotations

import json
from pathlib import Path

import psycopg
import pytest

from domain.identity import Caller, Principal, PrincipalId, Role, Via
from starters.cli import audit_show
from tests.cli.conftest import Deal
from tests.support.postgres import Database

COMPLIANCE = Caller(
    principal=Principal(
        principal_id=PrincipalId("compliance"),
        roles=frozenset({Role.COMPLIANCE}),
        banks=frozenset({"*"}),
    ),
    via=Via.CLI,
)


@pytest.fixture
def told(
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
    deal: Deal,  # noqa: ARG001 - it empties the environment first
) -> Database:
    """A database with two rows, and somebody who may read them."""
    cause = {"who": "risk-1", "kind": "human", "via": "api", "address": "10.0.0.1"}
    with psycopg.connect(database.role("deal_control")) as connection:
        for kind, why in (("human", "a first"), ("claimed", "a second")):
            connection.execute(
                "SELECT audit.record(%s, 'policy.approve', 'policy', '7', bank => 'bank-one')"
                " WHERE NOT EXISTS (SELECT FROM audit.events WHERE why = %s)",
                (json.dumps(cause | {"kind": kind, "why": why}), why),
            )

    async def caller() -> Caller:
        return COMPLIANCE

    monkeypatch.setattr(audit_show, "caller", caller)
    monkeypatch.setenv("DEAL_DATABASE_URL", database.role("deal_reader"))
    monkeypatch.setenv("DEAL_CONTROL_DATABASE_URL", database.role("deal_control"))
    return database


@pytest.mark.usefixtures("told")
def test_show_has_who_did_what_and_why(deal: Deal) -> None:
    answer = deal("audit", "show", "--actor", "risk-1", "-o", "json")
    assert answer.code == 0
    newest = answer.document["rows"][0]
    assert (newest["action"], newest["why"], newest["address"]) == (
        "policy.approve",
        "a second",
        "10.0.0.1",
    )
    table = deal("audit", "show", "--limit", "1", "--actor", "risk-1", "-o", "table").out
    assert "risk-1 (claimed)" in table
    assert "more: --before " in table
    assert deal("audit", "show", "unheard-of", "-o", "json").document["rows"] == []


@pytest.mark.usefixtures("told")
@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        (("show", "--since", "soon"), "since"),
        (("show", "Not-A-Deal"), "deal_id"),
        (("show", "--limit", "0"), "limit"),
        (("verify", "--head", "beef"), "head"),
        (("export", "--reason", "x", "--head", "F" * 64), "head"),
    ],
)
def test_a_wrong_option_is_named(deal: Deal, arguments: tuple[str, ...], field: str) -> None:
    answer = deal("audit", *arguments)
    assert (answer.code, answer.problem["field"]) == (2, field)


def test_verify_prints_the_head_and_ends_with_1_where_a_row_was_changed(
    deal: Deal, told: Database
) -> None:
    answer = deal("audit", "verify", "-o", "json")
    assert (answer.code, answer.document["intact"]) == (0, True)
    head = answer.document["head"]
    assert deal("audit", "verify", "--head", head, "-o", "json").code == 0
    lost = deal("audit", "verify", "--head", "f" * 64, "-o", "json")
    assert (lost.code, lost.document["intact"]) == (1, False)

    with psycopg.connect(told.owner, autocommit=True) as owner:
        owner.execute("SET session_replication_role = replica")
        owner.execute("UPDATE audit.events SET why = 'a fourth' WHERE why = 'a second'")
        broken = deal("audit", "verify", "-o", "table")
        owner.execute("UPDATE audit.events SET why = 'a second' WHERE why = 'a fourth'")
    assert broken.code == 1
    assert "row 2 was changed" in broken.out


@pytest.mark.usefixtures("told")
def test_an_export_goes_to_a_file_of_its_own_or_to_standard_output(
    deal: Deal, tmp_path: Path
) -> None:
    file = tmp_path / "trail.jsonl"
    answer = deal("audit", "export", "--reason", "an audit", "--file", str(file))
    assert answer.code == 0
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert lines[0]["exported_by"] == "compliance"
    assert lines[-1]["action"] == "audit.exported"
    assert file.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["trail.jsonl"]

    printed = deal("audit", "export", "--reason", "an audit")
    assert len(printed.out.splitlines()) == len(lines) + 1
    nowhere = deal("audit", "export", "--reason", "x", "--file", str(tmp_path / "no" / "such"))
    assert (nowhere.code, nowhere.problem["field"]) == (2, "file")
