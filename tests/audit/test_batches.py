"""Batches: exactly the list that was shown, each deal once, whatever is repeated."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import count

import psycopg
import pytest
from psycopg_pool import AsyncConnectionPool

from activities.deals.interface import DealRecord
from activities.deals.records import Records
from domain.deals import Command, DealStatus
from domain.errors import (
    Conflict,
    Forbidden,
    InvalidInput,
    LimitExceeded,
    NotAllowed,
    NotFound,
    Unavailable,
)
from domain.identifiers import DealId
from domain.identity import Caller, Principal, PrincipalId, Role, Via
from domain.views import DealView
from starters.control import batches as module
from starters.control.batches import (
    Batch,
    Batches,
    BatchId,
    BatchResult,
    Outcome,
    digest_of,
    exit_code_of,
)
from starters.control.database import ControlDatabase
from starters.deals.database import single_connection
from tests.activities.deals import samples
from tests.audit.rows import query
from tests.support.postgres import Database

_numbers = count(1)
DEALS = {
    "run-1": ("bank-one", DealStatus.EXECUTING),
    "run-2": ("bank-one", DealStatus.EXECUTING),
    "run-3": ("bank-two", DealStatus.EXECUTING),
    "held-1": ("bank-one", DealStatus.PAUSED),
    "done-1": ("bank-one", DealStatus.DENIED),
}


def caller(*roles: Role, banks: tuple[str, ...] = ("*",), name: str = "oncall-1") -> Caller:
    """Somebody with these roles."""
    principal = Principal(
        principal_id=PrincipalId(name), roles=frozenset(roles), banks=frozenset(banks)
    )
    return Caller(principal=principal, via=Via.CLI)


ONCALL = caller(Role.ONCALL)


@pytest.fixture(scope="module")
async def recorded(database: Database) -> AsyncIterator[Database]:
    """A database with some deals, each begun a minute after the one before."""
    async with AsyncConnectionPool(database.role("deal_records"), open=False) as pool:
        for number, (deal, (bank, status)) in enumerate(DEALS.items()):
            begun = datetime.now(UTC) - timedelta(hours=3) + timedelta(minutes=number)
            request = samples.request(deal, bank=bank)
            first = samples.view(deal, request=request, created_at=begun, updated_at=begun)
            views = [first, samples.later(first, DealStatus.EXECUTING)]
            if status is DealStatus.DENIED:
                views = [first.model_copy(update={"status": status})]
            elif status is not DealStatus.EXECUTING:
                views.append(samples.later(views[-1], status))
            for view in views:
                await Records(pool).record_deal(DealRecord(view=view))
        yield database


@pytest.fixture
def batches(recorded: Database) -> Batches:
    """Batches as the command line has them."""
    control = ControlDatabase.at(recorded.role("deal_control"))
    return Batches(single_connection(recorded.role("deal_reader")), control)


@dataclass
class FakeDesk:
    """Keeps what was asked for, once for each command's id, and fails where it is told to."""

    fails: dict[str, Exception] = field(default_factory=dict)
    queues: set[str] = field(default_factory=set)
    given: dict[str, tuple[str, Command, str, str]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0

    async def give(
        self, caller: Caller, command: Command, deal_id: DealId, why: str, command_id: str
    ) -> DealView | None:
        """Take a command."""
        self.asked.append(deal_id)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await asyncio.sleep(0.001)
        self.at_once -= 1
        if deal_id in self.fails:
            raise self.fails[deal_id]
        self.given[command_id] = (deal_id, command, why, caller.who)
        if deal_id in self.queues:
            return None
        return samples.view(deal_id, status=DealStatus.PAUSED)


async def begun(batches: Batches, where: str, who: Caller = ONCALL) -> Batch:
    """A pause that was previewed and said yes to."""
    preview = await batches.preview(who, Command.PAUSE, where)
    return await batches.begin(who, BatchId(f"b-{next(_numbers)}"), preview.chosen, "a drill")


async def all_of(batches: Batches, batch: Batch, desk: FakeDesk) -> dict[str, BatchResult]:
    """What became of each deal."""
    return {result.deal_id: result async for result in batches.act(ONCALL, batch, desk)}


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("bank=bank-one", ["run-1", "run-2"]),
        ("bank=bank-one,bank-two", ["run-1", "run-2", "run-3"]),
        ("chain=138", ["run-1", "run-2", "run-3"]),
        ("status=PAUSED", ["held-1"]),
        ("bank=bank-one status=PAUSED,EXECUTING", ["run-1", "run-2", "held-1"]),
        ("older=179m", ["run-1", "run-2"]),
        ("id=run-2,held-1,unheard-of", ["run-2"]),
        ("quiet=2h module=usdtz", ["run-1", "run-2", "run-3"]),
    ],
)
async def test_a_preview_has_what_the_command_can_do_something_for(
    batches: Batches, where: str, expected: list[str]
) -> None:
    preview = await batches.preview(ONCALL, Command.PAUSE, where)
    assert [deal.deal_id for deal in preview.deals] == expected
    assert preview.chosen.deals == tuple(expected)


async def test_a_preview_shows_nobody_another_banks_deals(batches: Batches) -> None:
    trader = caller(Role.TRADER, banks=("bank-two",))
    preview = await batches.preview(trader, Command.PAUSE, "chain=138")
    assert preview.chosen.deals == ("run-3",)
    with pytest.raises(NotFound):
        await batches.preview(trader, Command.PAUSE, "bank=bank-one")
    with pytest.raises(Forbidden):
        await batches.preview(caller(Role.VIEWER), Command.PAUSE, "chain=138")


async def test_more_than_can_be_looked_at_are_refused(
    batches: Batches, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_DEALS", 2)
    with pytest.raises(LimitExceeded) as caught:
        await batches.preview(ONCALL, Command.PAUSE, "chain=138")
    assert caught.value.problem.limit == "2"


async def test_it_acts_on_the_list_that_was_shown_and_not_on_what_is_like_that_later(
    batches: Batches, recorded: Database
) -> None:
    batch = await begun(batches, "bank=bank-two")
    with psycopg.connect(recorded.role("deal_records")) as connection:
        connection.execute(
            "INSERT INTO deals.deals SELECT (jsonb_populate_record(deal, %s)).*"
            " FROM deals.deals AS deal WHERE deal_id = 'run-3'",
            ('{"deal_id": "later", "version": 1}',),
        )
    preview = await batches.preview(ONCALL, Command.PAUSE, "bank=bank-two")
    assert set(preview.chosen.deals) == {"run-3", "later"}
    desk = FakeDesk()
    assert set(await all_of(batches, batch, desk)) == {"run-3"}
    assert desk.asked == ["run-3"]
    assert desk.given == {
        f"{batch.batch_id}/run-3": ("run-3", Command.PAUSE, "a drill", "oncall-1")
    }


async def test_each_deal_has_its_own_answer_and_none_holds_up_the_others(batches: Batches) -> None:
    batch = await begun(batches, "id=run-1,run-2,run-3")
    desk = FakeDesk(
        fails={"run-1": NotAllowed("it is done", next_action="nothing")}, queues={"run-2"}
    )
    results = await all_of(batches, batch, desk)
    assert results["run-1"].outcome is Outcome.REFUSED
    assert results["run-1"].problem is not None
    assert results["run-1"].problem.message == "it is done"
    assert results["run-2"] == BatchResult("run-2", Outcome.QUEUED)
    assert results["run-3"].status is DealStatus.PAUSED


async def test_a_repeat_goes_on_with_the_same_commands(batches: Batches) -> None:
    batch = await begun(batches, "id=run-1,run-2,run-3")
    away = Unavailable("Temporal does not answer", next_action="wait")
    desk = FakeDesk(fails={"run-2": away})
    await all_of(batches, batch, desk)
    first = set(desk.given)
    desk.fails.clear()
    again = await batches.find(ONCALL, BatchId(batch.batch_id))
    assert again == batch
    results = await all_of(batches, again, desk)
    assert {result.outcome for result in results.values()} == {Outcome.APPLIED}
    assert set(desk.given) == first | {f"{batch.batch_id}/run-2"}
    assert len(desk.given) == 3


async def test_many_deals_are_given_their_commands_side_by_side_but_not_all_at_once(
    batches: Batches,
) -> None:
    names = tuple(f"many-{number}" for number in range(40))
    batch = Batch(
        "b-many", Command.PAUSE, "chain=1", names, digest_of(Command.PAUSE, names), "oncall-1", "w"
    )
    desk = FakeDesk()
    assert set(await all_of(batches, batch, desk)) == set(names)
    assert 1 < desk.most_at_once <= 8


async def test_a_batch_is_kept_whole_once(batches: Batches, recorded: Database) -> None:
    preview = await batches.preview(ONCALL, Command.PAUSE, "bank=bank-one")
    name = BatchId("kept")
    first = await batches.begin(ONCALL, name, preview.chosen, "a drill")
    assert await batches.begin(ONCALL, name, preview.chosen, "a drill") == first
    (row,) = query(
        recorded, "SELECT * FROM audit.events WHERE subject_kind = 'batch' AND subject = 'kept'"
    )
    assert (row["action"], row["actor"], row["why"]) == ("batch.pause", "oncall-1", "a drill")
    assert row["change"]["after"]["deals"] == ["run-1", "run-2"]
    for other in (
        replace(preview.chosen, where="chain=138"),
        replace(preview.chosen, deals=("run-1",), digest=digest_of(Command.PAUSE, ["run-1"])),
    ):
        with pytest.raises(Conflict):
            await batches.begin(ONCALL, name, other, "a drill")
    with pytest.raises(Conflict):
        await batches.begin(ONCALL, name, preview.chosen, "another reason")
    with pytest.raises(NotFound):
        await batches.find(caller(Role.ONCALL, name="oncall-2"), name)
    with pytest.raises(NotFound):
        await batches.find(ONCALL, BatchId("unheard-of"))


async def test_a_list_that_was_not_shown_is_not_acted_on(batches: Batches) -> None:
    preview = await batches.preview(ONCALL, Command.PAUSE, "bank=bank-one")
    for other in (
        replace(preview.chosen, deals=("run-1", "run-3")),
        replace(preview.chosen, deals=()),
        replace(preview.chosen, command=Command.CANCEL),
    ):
        with pytest.raises(InvalidInput, match="not the one that was shown"):
            await batches.begin(ONCALL, BatchId("other"), other, "a drill")
    with pytest.raises(InvalidInput, match="reason"):
        await batches.begin(ONCALL, BatchId("other"), preview.chosen, "  ")
    with pytest.raises(Forbidden):
        await batches.begin(caller(Role.VIEWER), BatchId("other"), preview.chosen, "why")


def test_the_exit_code_tells_what_became_of_the_whole() -> None:
    def refused(code: int) -> BatchResult:
        return BatchResult("x", Outcome.REFUSED, exit_code=code)

    applied, queued = BatchResult("x", Outcome.APPLIED), BatchResult("x", Outcome.QUEUED)
    assert exit_code_of([applied, queued]) == 0
    assert exit_code_of([applied, refused(4), refused(4)]) == 4
    assert exit_code_of([refused(4), refused(5)]) == 1
