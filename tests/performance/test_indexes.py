"""With 100,000 deals in Postgres no list and no deal is looked for by reading the table."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any, LiteralString

import psycopg
import pytest
from psycopg.rows import dict_row

from domain.deals import DealStatus
from domain.identifiers import DealId
from starters.deals import reading
from starters.deals.reading import Cursor, DealFilter, RecordsReader
from tests.performance import many_deals
from tests.support.postgres import Database, Postgres

PAGES = 3_000
"""Of 8 kB, that one list may look at: the table alone has many more."""
NOW = datetime.now(UTC)
GIVEN: dict[str, tuple[Any, ...]] = {
    "statuses": ((), ("COMPLETED",), ("STUCK",), ("PAUSED", "FROZEN", "STUCK"), tuple(DealStatus)),
    "bank": (None, many_deals.bank(7)),
    "banks": (
        None,
        (),
        (many_deals.bank(7),),
        (many_deals.bank(7), many_deals.bank(8), "no-deals"),
    ),
    "chain_id": (None, 138, 1),
    "since": (None, NOW - timedelta(days=3)),
    "before": (
        None,
        Cursor(NOW - timedelta(minutes=50_000), DealId("many-50000")),
    ),
}
"""Every filter of the list, left out and given, common and rare."""


@pytest.fixture(scope="module")
def many(postgres: Postgres) -> Iterator[psycopg.Connection[dict[str, Any]]]:
    """A connection as the API has it, to a database with 100,000 deals."""
    database: Database = postgres.migrated()
    asyncio.run(many_deals.insert(database))
    with psycopg.connect(
        database.role("deal_reader"), row_factory=dict_row, autocommit=True
    ) as connection:
        yield connection


class Asked:
    """Keeps the query that a reader would have asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.query: LiteralString = ""
        self.parameters: Any = ()
        monkeypatch.setattr(reading, "fetch", self)

    async def __call__(self, _: Any, query: LiteralString, parameters: Any) -> list[Any]:
        self.query, self.parameters = query, parameters
        return []


def explain(connection: psycopg.Connection[dict[str, Any]], asked: Asked) -> dict[str, Any]:
    statement = f"EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) {asked.query}"
    row = connection.execute(statement.encode(), asked.parameters).fetchone()
    assert row is not None
    plan: dict[str, Any] = row["QUERY PLAN"][0]["Plan"]
    return plan


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for each in plan.get("Plans", ()):
        yield from nodes(each)


def pages(plan: dict[str, Any]) -> int:
    return int(plan["Shared Hit Blocks"]) + int(plan["Shared Read Blocks"])


def problems(plan: dict[str, Any]) -> list[str]:
    """What in a plan reads or sorts the table."""
    wrong = [
        f"{node['Node Type']} of {node['Relation Name']}"
        for node in nodes(plan)
        if node["Node Type"] == "Seq Scan" and node["Relation Name"] in {"deals", "deal_steps"}
    ]
    for node in nodes(plan):
        if "Sort" in node["Node Type"]:
            rows = max(each["Actual Rows"] for each in node["Plans"])
            wrong += [f"sorts {rows} rows"] if rows > PAGES else []
    return wrong + ([f"{pages(plan)} pages"] if pages(plan) > PAGES else [])


async def test_every_list_reads_an_index(
    many: psycopg.Connection[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every filter with every other: no sequential scan, no sort of the table, few pages."""
    asked, wrong = Asked(monkeypatch), {}
    reader = RecordsReader(None)  # type: ignore[arg-type] - nothing is asked
    for values in product(*GIVEN.values()):
        chosen = dict(zip(GIVEN, values, strict=True))
        await reader.page(DealFilter(**chosen, limit=50))
        found = problems(explain(many, asked))
        if found:
            wrong[str({name: value for name, value in chosen.items() if value})] = found
    assert not wrong, wrong


async def test_a_deal_is_read_by_its_id(
    many: psycopg.Connection[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = Asked(monkeypatch)
    await RecordsReader(None).find(DealId("many-50000"))  # type: ignore[arg-type] - as above
    plan = explain(many, asked)
    assert problems(plan) == []
    assert plan["Actual Rows"] == 1
    assert pages(plan) < 50


def test_a_plan_that_reads_the_table_is_found(many: psycopg.Connection[dict[str, Any]]) -> None:
    """What the tests above look for is told of a query that has it."""
    row = many.execute(
        "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) SELECT * FROM deals.deals ORDER BY updated_at"
    ).fetchone()
    assert row is not None
    found = problems(row["QUERY PLAN"][0]["Plan"])
    assert any("Seq Scan" in each for each in found)
    assert any("sorts" in each for each in found)
    assert any("pages" in each for each in found)
