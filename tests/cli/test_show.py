"""`deal list` and `deal show`: from the records, and honest about it."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from psycopg_pool import AsyncConnectionPool

from activities.deals.interface import DealRecord
from activities.deals.records import Records
from domain.deals import DealStatus, Step
from domain.errors import InvalidInput
from domain.views import DealView
from starters.cli.show import parse_since
from tests.activities.deals import samples
from tests.cli.conftest import Deal
from tests.support.postgres import Database

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
NAMES = ("one", "two", "three")


async def fill(url: str) -> None:
    """Record three deals of one moment; the first has ended well."""
    async with AsyncConnectionPool(url, open=False) as pool:
        records = Records(pool)
        for name in NAMES:
            await records.record_deal(DealRecord(view=samples.view(name)))
        view: DealView = samples.view("one")
        for status in (DealStatus.EXECUTING, DealStatus.COMPLETED):
            view = samples.later(view, status, sizing=samples.SIZING, account=samples.ACCOUNT)
            if status is DealStatus.COMPLETED:
                view = view.model_copy(update={"settlement": samples.SETTLEMENT})
            step = samples.step(Step.SWAP, "one") if view.settlement else None
            await records.record_deal(DealRecord(view=view, step=step))


@pytest.fixture(scope="module")
def filled(database: Database) -> str:
    """The reader's URL of a database with three deals."""
    asyncio.run(fill(database.role("deal_records")))
    return database.role("deal_reader")


@pytest.fixture
def records(deal: Deal, filled: str, monkeypatch: pytest.MonkeyPatch) -> Deal:
    """The command, with the records and without Temporal."""
    monkeypatch.setenv("DEAL_DATABASE_URL", filled)
    monkeypatch.setenv("TEMPORAL_ADDRESS", "127.0.0.1:1")
    monkeypatch.setenv("DEAL_WEB_UI", "http://127.0.0.1:8233")
    return deal


def test_a_list_says_it_is_from_the_records(records: Deal) -> None:
    answer = records("list")
    assert answer.code == 0
    assert answer.document["source"] == "records"
    listed = [deal["request"]["deal_id"] for deal in answer.document["deals"]]
    assert listed == sorted(NAMES, reverse=True)
    assert answer.document["next_cursor"] is None
    newest = max(deal["updated_at"] for deal in answer.document["deals"])
    as_of = datetime.fromisoformat(answer.document["as_of"])
    assert as_of == datetime.fromisoformat(newest)
    age = (datetime.now(UTC) - as_of).total_seconds()
    assert abs(answer.document["age_seconds"] - age) < 60
    words = records("list", "-o", "table")
    assert "from the records, 3 deals, as of " in words.out
    nothing = records("list", "--bank", "nobody")
    assert (nothing.document["as_of"], nothing.document["age_seconds"]) == (None, None)
    assert "123.00000001 USD" in words.out


def test_pages_follow_the_cursor(records: Deal) -> None:
    seen: list[str] = []
    arguments = ["list", "--limit", "1"]
    while True:
        page = records(*arguments).document
        seen += [deal["request"]["deal_id"] for deal in page["deals"]]
        if page["next_cursor"] is None:
            break
        words = records(*arguments, "-o", "table")
        assert f"--cursor {page['next_cursor']}" in words.out
        arguments = ["list", "--limit", "1", "--cursor", page["next_cursor"]]
    assert seen == sorted(NAMES, reverse=True)


def test_filters_are_taken_together(records: Deal) -> None:
    filters = ("--status", "completed", "--status", "STUCK", "--bank", "bank-one")
    page = records("list", *filters, "--chain", "138", "--since", "2026-01-01").document
    assert [deal["status"] for deal in page["deals"]] == ["COMPLETED"]
    assert records("list", "--since", "2099-01-01").document["deals"] == []


@pytest.mark.parametrize(
    ("option", "value", "limit"),
    [
        ("status", "DONE", "COMPLETED"),
        ("bank", "Bank!", "a-z"),
        ("chain", "0", "above 0"),
        ("chain", "main", "above 0"),
        ("since", "yesterday", "24h"),
        ("since", "5y", "24h"),
        ("since", "999999w", "24h"),
        ("limit", "0", "1 to 500"),
        ("limit", "501", "1 to 500"),
        ("cursor", "abc", "next_cursor"),
    ],
)
def test_a_wrong_filter_is_named(deal: Deal, option: str, value: str, limit: str) -> None:
    answer = deal("list", f"--{option}", value)
    assert answer.code == 2
    assert (answer.problem["field"], answer.problem["value"]) == (option, value)
    assert limit in answer.problem["limit"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90m", NOW - timedelta(minutes=90)),
        ("24h", NOW - timedelta(hours=24)),
        ("7d", NOW - timedelta(days=7)),
        ("2w", NOW - timedelta(weeks=2)),
        ("2026-11-01", datetime(2026, 11, 1, tzinfo=UTC)),
        ("2026-11-01T10:00+02:00", datetime(2026, 11, 1, 8, tzinfo=UTC)),
    ],
)
def test_since_is_a_period_or_a_time(text: str, expected: datetime) -> None:
    assert parse_since(text, NOW) == expected


@pytest.mark.parametrize("text", ["", "h", "-1h", "1.5h", "24 h", "٣h"])
def test_since_is_nothing_else(text: str) -> None:
    with pytest.raises(InvalidInput):
        parse_since(text, NOW)


def test_a_deal_is_shown_from_the_records_when_temporal_is_away(records: Deal) -> None:
    answer = records("show", "one")
    assert answer.code == 0
    assert answer.document["source"] == "records"
    assert answer.document["age_seconds"] == pytest.approx(
        (datetime.now(UTC) - samples.BEGAN).total_seconds() - 2, abs=60
    )
    assert answer.document["settlement"]["profit_usd8"] == "12300000001"
    assert answer.document["web_ui"].endswith("/workflows/deal-one")


def test_a_shown_deal_has_its_evidence(records: Deal) -> None:
    answer = records("show", "one", "-o", "table")
    mined = samples.step().outcome.inclusions
    parts = [
        "from the records, last changed",
        *(inclusion.transaction_hash for inclusion in mined),
        *(f"{inclusion.gas_used:,}" for inclusion in mined),
        "25.00 %",
        "2.50 s",
        "123.00000001 USD",
        "-1208925.819614629174706176 ETH",
        "+123.456789 USDT",
        "/workflows/deal-one",
    ]
    for part in parts:
        assert part in answer.out


def test_a_deal_nobody_knows_is_named(records: Deal) -> None:
    answer = records("show", "nobody")
    assert (answer.code, answer.problem["value"]) == (2, "nobody")


@pytest.mark.parametrize("command", [("list",), ("show", "one")])
def test_without_the_records_it_says_so(
    deal: Deal, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    monkeypatch.setenv("DEAL_DATABASE_URL", "postgresql://127.0.0.1:1/none")
    monkeypatch.setenv("TEMPORAL_ADDRESS", "127.0.0.1:1")
    answer = deal(*command)
    assert (answer.code, answer.problem["code"]) == (1, "unavailable")


@pytest.mark.parametrize("command", [("watch", "one"), ("wait", "one")])
def test_following_needs_temporal_and_says_so(records: Deal, command: tuple[str, ...]) -> None:
    answer = records(*command)
    assert (answer.code, answer.problem["field"]) == (1, "TEMPORAL_ADDRESS")
    assert "deal local up" in answer.problem["next_action"]
