"""`deal halt`: by Postgres alone, and told as every other command tells."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from domain.identity import Role
from tests.cli.conftest import Deal
from tests.control.people import caller
from tests.support.halting import forget_halts
from tests.support.postgres import Database

WHY = ("--reason", "the market moves", "--yes")


@pytest.fixture
def halting(deal: Deal, database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[Deal]:
    """The command as a risk manager gives it, with Temporal away."""
    monkeypatch.setenv("DEAL_DATABASE_URL", database.role("deal_reader"))
    monkeypatch.setenv("DEAL_CONTROL_DATABASE_URL", database.role("deal_control"))
    monkeypatch.setenv("TEMPORAL_ADDRESS", "127.0.0.1:1")
    acting(monkeypatch, "risk-1")
    yield deal
    forget_halts(database.owner)


def acting(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Have the next commands given by this risk manager."""

    async def known() -> object:
        return caller(name, Role.RISK_MANAGER)

    monkeypatch.setattr("starters.cli.session.known_caller", known)


def test_one_halts_and_only_another_releases(
    halting: Deal, monkeypatch: pytest.MonkeyPatch
) -> None:
    halted = halting("halt", "set", "desk", *WHY)
    assert halted.code == 0, halted.err
    assert (halted.document["state"], halted.document["changed"]) == ("HALTED", True)
    shown = halting("halt", "show").document["halts"]
    assert [(each["scope"], each["who"]) for each in shown] == [("desk", "risk-1")]
    refused = halting("halt", "release", "desk", *WHY)
    assert (refused.code, refused.problem["code"]) == (4, "not_allowed")
    acting(monkeypatch, "risk-2")
    lower = halting("halt", "release", "desk", "--to", "reducing", *WHY)
    assert lower.document["state"] == "REDUCING"
    assert halting("halt", "release", "desk", *WHY).document["state"] == "ACTIVE"


def test_a_table_names_who_cannot_release_it(halting: Deal) -> None:
    words = halting("halt", "set", "bank=bank-one", *WHY, "-o", "table")
    assert words.out.count("risk-1") == 2
    again = halting("halt", "set", "bank=bank-one", *WHY, "-o", "table")
    assert "nothing was changed" in again.out


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        (("set", "everything"), "scope"),
        (("set", "desk", "--state", "STOPPED"), "state"),
        (("release", "chain=7"), "scope"),
    ],
)
def test_what_is_wrong_is_named(halting: Deal, arguments: tuple[str, ...], field: str) -> None:
    answer = halting("halt", *arguments, *WHY)
    assert (answer.code, answer.problem["field"]) == (2, field)


def test_without_a_terminal_it_takes_yes(halting: Deal) -> None:
    answer = halting("halt", "set", "desk", "--reason", "why")
    assert (answer.code, answer.problem["field"]) == (2, "yes")
    assert halting("halt", "show").document["halts"] == []
