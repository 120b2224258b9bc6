"""`deal keys` and `deal schedules`: what they print, refuse and leave with."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from typer.testing import CliRunner, Result

from activities.custody.interface import (
    JournalVerified,
    KeyList,
    KeysRotated,
    KeyView,
    ListKeys,
    Rotation,
    VerifyJournal,
)
from domain.errors import NotAllowed, NotFound
from domain.identifiers import Address, DealId
from domain.identity import Role
from starters.cli import keys_show
from starters.cli.main import app
from tests.api.deals import record_deals
from tests.control.people import add_principal
from tests.support.postgres import Database
from workflows.deal.messages import CommandMessage

ACCOUNT = Address("0x70997970C51812dc3A010C7d01b50e0d17dc79C8")
HEAD = "ab" * 32


def view(deal: str | None = "alpha", **changes: Any) -> KeyView:
    fields: dict[str, Any] = {
        "purpose": "deal" if deal else "treasury",
        "deal_id": deal,
        "address": ACCOUNT,
        "label": "deal-1-0",
        "generation": 1,
        "provider": "local",
        "created_at": datetime(2026, 11, 23, tzinfo=UTC),
    }
    return KeyView.model_validate(fields | changes)


RETIRED = view(
    retired_at=datetime(2026, 11, 24, tzinfo=UTC), retired_by="deal alpha", retired_why="COMPLETED"
)


class StandIn:
    """Answers as the signer would, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.intact = True

    async def page(self, order: ListKeys) -> KeyList:
        self.asked.append(order)
        if order.deal_id == "nobody":
            raise NotFound("the signer has no key of this deal", next_action="look")
        return KeyList(provider="local", generation=2, keys=(view(None), RETIRED), next_before=7)

    async def rotate(
        self, rotations: tuple[Rotation, ...], message: CommandMessage, *, command_id: str
    ) -> tuple[KeysRotated, ...]:
        assert command_id
        self.asked.append((rotations, message))
        if message.why == "an HSM":
            raise NotAllowed("an HSM keeps its own wrapping key", next_action="leave it")
        return tuple(
            KeysRotated(rotation=rotation, provider="local", generation=3) for rotation in rotations
        )

    async def retire(self, deal_id: DealId, message: CommandMessage, *, command_id: str) -> KeyView:
        assert command_id
        self.asked.append((deal_id, message))
        return RETIRED

    async def reinstate(
        self, deal_id: DealId, message: CommandMessage, *, command_id: str
    ) -> KeyView:
        assert command_id
        self.asked.append((deal_id, message))
        return view()

    async def verify(self, order: VerifyJournal) -> JournalVerified:
        self.asked.append(order)
        found = None if order.head is None else self.intact
        return JournalVerified(
            rows=12, head=HEAD, broken=None if self.intact else 13, head_found=found
        )


@pytest.fixture(scope="module")
def written(database: Database) -> Database:
    """Where Mia's commands are written down; it has a deal that has ended."""
    add_principal(database, "mia", *Role)
    record_deals(database, {"bank-one": "alpha"})
    return database


@pytest.fixture
def signer(written: Database, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    stand_in = StandIn()

    async def opened() -> StandIn:
        return stand_in

    monkeypatch.setattr(keys_show, "open_keys_client", opened)
    monkeypatch.setenv("DEAL_DATABASE_URL", written.role("deal_reader"))
    monkeypatch.setenv("DEAL_CONTROL_DATABASE_URL", written.role("deal_control"))
    return stand_in


def commands(database: Database) -> list[tuple[Any, ...]]:
    with psycopg.connect(database.role("deal_reader")) as connection:
        return connection.execute(
            "SELECT kind, subject, bank, principal_id, state, problem ->> 'code'"
            " FROM control.commands ORDER BY created_at DESC"
        ).fetchall()


Deal = Callable[..., Result]


@pytest.fixture
def deal() -> Deal:
    return lambda *arguments, **options: CliRunner().invoke(app, list(arguments), **options)


def test_keys_are_listed_as_json_in_a_pipe_and_as_a_table_for_people(
    signer: StandIn, deal: Deal
) -> None:
    document = json.loads(deal("keys", "list", "--retired", "--limit", "2").stdout)
    assert (document["provider"], document["generation"]) == ("local", 2)
    assert document["next_cursor"] == 7
    assert [key["deal_id"] for key in document["keys"]] == [None, "alpha"]
    assert signer.asked == [ListKeys(retired=True, limit=2)]
    table = deal("keys", "list", "-o", "table", "--in-use", "--cursor", "7").stdout
    assert "treasury" in table
    assert "in use" in table
    assert "retired 2026-11-24" in table
    assert "--cursor 7" in table
    assert signer.asked[-1] == ListKeys(retired=False, before=7)


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        (["list", "--limit", "0"], "limit"),
        (["list", "--limit", "501"], "limit"),
        (["list", "--deal", "No!"], "deal_id"),
        (["verify-journal", "--head", "12"], "head"),
        (["rotate", "--why", "x", "--yes"], "seed"),
        (["rotate", "--seed", "--why", "", "--yes"], "reason"),
        (["retire", "alpha", "--why", "x"], "yes"),
    ],
)
def test_what_cannot_be_taken_is_named(
    signer: StandIn, deal: Deal, arguments: list[str], field: str
) -> None:
    result = deal("keys", *arguments)
    assert result.exit_code == 2
    assert json.loads(result.stderr)["field"] == field
    assert not signer.asked


def test_a_deal_without_a_key_is_not_found(signer: StandIn, deal: Deal) -> None:
    assert deal("keys", "list", "--deal", "nobody").exit_code == 2
    assert signer.asked


def test_a_rotation_says_who_and_why_and_what_is_in_use_now(
    signer: StandIn, deal: Deal, written: Database
) -> None:
    asked = ["keys", "rotate", "--seed", "--wrapping", "--why", "drill", "--yes"]
    done = json.loads(deal(*asked).stdout)
    assert [(each["rotation"], each["generation"]) for each in done] == [
        ("seed", 3),
        ("wrapping", 3),
    ]
    (rotations, message) = signer.asked[0]
    assert rotations == (Rotation.SEED, Rotation.WRAPPING)
    assert (message.who, message.why) == ("mia", "drill")
    assert "generation 3" in deal(*asked, "-o", "table").stdout
    assert commands(written)[0] == ("keys.rotate", "keys", None, "mia", "APPLIED", None)


def test_what_the_key_store_does_by_itself_has_its_exit_code(
    signer: StandIn, deal: Deal, written: Database
) -> None:
    result = deal("keys", "rotate", "--wrapping", "--why", "an HSM", "--yes")
    assert result.exit_code == 4
    assert "its own wrapping key" in result.stderr
    assert signer.asked
    assert commands(written)[0][-2:] == ("REFUSED", "not_allowed")


@pytest.mark.parametrize(("name", "state"), [("retire", "retired"), ("reinstate", "in use")])
def test_keys_are_retired_and_reinstated(
    signer: StandIn, deal: Deal, written: Database, name: str, state: str
) -> None:
    asked = ["keys", name, "alpha", "--why", "drill", "--yes"]
    assert json.loads(deal(*asked).stdout)["address"] == ACCOUNT
    assert state in deal(*asked, "-o", "table").stdout
    assert [(deal_id, message.who) for deal_id, message in signer.asked] == [("alpha", "mia")] * 2
    row = (f"keys.{name}", "alpha", "bank-one", "mia", "APPLIED", None)
    assert commands(written)[:2] == [row, row]
    assert deal("keys", name, "nobody", "--why", "drill", "--yes").exit_code == 2
    assert len(signer.asked) == 2


@pytest.mark.parametrize("output", ["json", "table"])
@pytest.mark.parametrize("intact", [True, False])
def test_the_journal_is_verified_with_an_exit_code(
    signer: StandIn, deal: Deal, output: str, *, intact: bool
) -> None:
    signer.intact = intact
    result = deal("keys", "verify-journal", "--head", HEAD, "-o", output)
    assert result.exit_code == (0 if intact else 1)
    assert HEAD in result.stdout
    if output == "json":
        assert json.loads(result.stdout)["intact"] is intact
    else:
        assert ("intact" in result.stdout) is intact
        assert ("row 13" in result.stdout) is not intact
