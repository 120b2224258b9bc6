"""`deal pause --where ...`: the list, the question, and what became of each deal."""

from __future__ import annotations

import asyncio

import psycopg_pool
import pytest

from activities.deals.interface import DealRecord
from activities.deals.records import Records
from domain.deals import Command, DealStatus
from domain.errors import NotAllowed
from domain.identifiers import DealId
from domain.identity import Caller, Principal, PrincipalId, Role, Via
from domain.views import DealView
from starters.cli import batch
from tests.activities.deals import samples
from tests.cli.conftest import Deal
from tests.support.postgres import Database

ONCALL = Caller(
    principal=Principal(
        principal_id=PrincipalId("oncall-1"),
        roles=frozenset({Role.ONCALL}),
        banks=frozenset({"*"}),
    ),
    via=Via.CLI,
)


class FakeDesk:
    """Keeps what was asked for."""

    def __init__(self) -> None:
        self.given: list[tuple[str, str]] = []
        self.refuses: set[str] = set()

    async def give(
        self, caller: Caller, command: Command, deal_id: DealId, why: str, command_id: str
    ) -> DealView:
        assert (caller, command, why) == (ONCALL, Command.PAUSE, "a drill")
        self.given.append((deal_id, command_id))
        if deal_id in self.refuses:
            raise NotAllowed("it cannot be paused", next_action="wait")
        return samples.view(deal_id, status=DealStatus.PAUSED)


@pytest.fixture(scope="module")
def recorded(database: Database) -> Database:
    """A database with two deals that run."""

    async def record() -> None:
        url = database.role("deal_records")
        async with psycopg_pool.AsyncConnectionPool(url, open=False) as pool:
            for name in ("one", "two"):
                first = samples.view(name)
                for view in (first, samples.later(first, DealStatus.EXECUTING)):
                    await Records(pool).record_deal(DealRecord(view=view))

    asyncio.run(record())
    return database


@pytest.fixture
def desk(
    recorded: Database,
    monkeypatch: pytest.MonkeyPatch,
    deal: Deal,  # noqa: ARG001 - it empties the environment first
) -> FakeDesk:
    """Where the commands go."""
    fake = FakeDesk()

    async def caller(*_: object) -> Caller:
        return ONCALL

    monkeypatch.setattr(batch, "caller", caller)
    monkeypatch.setattr(batch, "open_desk", lambda _: fake)
    monkeypatch.setenv("DEAL_DATABASE_URL", recorded.role("deal_reader"))
    monkeypatch.setenv("DEAL_CONTROL_DATABASE_URL", recorded.role("deal_control"))
    return fake


PAUSE = ("pause", "--reason", "a drill")


def test_the_list_is_shown_and_every_deal_of_it_is_acted_on(deal: Deal, desk: FakeDesk) -> None:
    answer = deal(*PAUSE, "--where", "bank=bank-one", "--batch-id", "b-1", "--yes", "-o", "json")
    assert answer.code == 0
    assert answer.err == "batch b-1: 2 deals\n"
    assert sorted(desk.given) == [("one", "b-1/one"), ("two", "b-1/two")]
    document = answer.document
    assert (document["batch_id"], document["where"]) == ("b-1", "bank=bank-one")
    assert document["counts"] == {"applied": 2, "queued": 0, "refused": 0}
    assert [(each["deal_id"], each["status"]) for each in document["deals"]] == [
        ("one", "PAUSED"),
        ("two", "PAUSED"),
    ]


def test_a_failure_is_told_beside_the_others_and_the_repeat_goes_on(
    deal: Deal, desk: FakeDesk
) -> None:
    desk.refuses = {"two"}
    options = ("--where", "chain=138", "--batch-id", "b-2", "--yes")
    answer = deal(*PAUSE, *options, "-o", "table")
    assert answer.code == 4
    assert "it cannot be paused; wait" in answer.out
    assert "1 applied, 0 queued, 1 refused" in answer.out
    desk.refuses.clear()
    again = deal(*PAUSE, "--batch-id", "b-2", "-o", "json")
    assert again.code == 0
    assert set(desk.given) == {("one", "b-2/one"), ("two", "b-2/two")}
    other = deal(*PAUSE, "--where", "bank=bank-one", "--batch-id", "b-2", "--yes", "-o", "json")
    assert (other.code, other.problem["field"]) == (1, "batch_id")


def test_without_yes_and_without_a_terminal_nothing_is_done(deal: Deal, desk: FakeDesk) -> None:
    answer = deal(*PAUSE, "--where", "bank=bank-one", "-o", "json")
    assert (answer.code, answer.problem["field"]) == (2, "yes")
    assert desk.given == []


def test_who_says_no_is_left_alone(
    deal: Deal, desk: FakeDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch, "require_terminal", lambda *_: None)
    answer = deal(*PAUSE, "--where", "bank=bank-one", stdin="n\n")
    assert answer.code == 1
    assert all(name in answer.err for name in ("one", "two", "EXECUTING", "usdtz"))
    assert "pause these 2 deals?" in answer.err
    assert desk.given == []


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        (("--where", "bank=Bank"), "where"),
        (("--where", "bank=another"), "where"),
        (("--batch-id", "unheard-of"), "batch_id"),
        (("one", "--where", "bank=bank-one"), "where"),
        ((), "deal_id"),
    ],
)
def test_what_cannot_be_done_is_named(
    deal: Deal, desk: FakeDesk, arguments: tuple[str, ...], field: str
) -> None:
    answer = deal(*PAUSE, *arguments, "--yes", "-o", "json")
    assert (answer.code, answer.problem["field"]) == (2, field)
    assert desk.given == []
