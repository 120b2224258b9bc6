"""Lists of the records: filters, and pages that neither repeat nor lose a deal."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
import pytest_asyncio
from psycopg.types.json import Jsonb
from psycopg_pool import AsyncConnectionPool

from activities.deals.interface import DealRecord
from activities.deals.records import Records
from domain.deals import DealStatus
from domain.errors import InvalidInput, Unavailable
from domain.identifiers import DealId
from starters.deals.database import single_connection
from starters.deals.reading import Cursor, DealFilter, RecordsReader
from tests.activities.deals import samples
from tests.support.postgres import Database

pytestmark = pytest.mark.asyncio

# Three at each moment, so that pages must part deals of the same time.
DEALS = [
    samples.view(
        f"deal-{index:02}",
        request=samples.request(
            f"deal-{index:02}",
            bank=("bank-one", "bank-two")[index % 2],
            chain_id=(138, 651940)[index % 3 == 0],
        ),
        status=(DealStatus.REQUESTED, DealStatus.EXECUTING, DealStatus.DENIED)[index % 3],
        created_at=samples.BEGAN + timedelta(minutes=index // 3),
        updated_at=samples.BEGAN + timedelta(days=1),
    )
    for index in range(20)
]
NEWEST_FIRST = sorted(DEALS, key=lambda deal: (deal.created_at, deal.request.deal_id), reverse=True)


@pytest_asyncio.fixture
async def reader(database: Database) -> AsyncIterator[RecordsReader]:
    """The reader, with all the deals recorded."""
    async with AsyncConnectionPool(database.role("deal_records"), open=False) as pool:
        for deal in DEALS:
            await Records(pool).record_deal(DealRecord(view=deal))
    yield RecordsReader(single_connection(database.role("deal_reader")))


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 19])
async def test_pages_are_the_whole_list_in_order(reader: RecordsReader, limit: int) -> None:
    page = await reader.page(DealFilter(limit=limit))
    seen = list(page.deals)
    while page.next_cursor is not None:
        cursor = Cursor.parse(str(page.next_cursor))
        page = await reader.page(DealFilter(limit=limit, before=cursor))
        assert 0 < len(page.deals) <= limit
        seen += page.deals
    assert seen == NEWEST_FIRST


@pytest.mark.parametrize("limit", [20, 21, 500])
async def test_the_last_page_says_so(reader: RecordsReader, limit: int) -> None:
    page = await reader.page(DealFilter(limit=limit))
    assert (page.deals, page.next_cursor) == (NEWEST_FIRST, None)


@pytest.mark.parametrize(
    "chosen",
    [
        DealFilter(statuses=("DENIED",)),
        DealFilter(statuses=("DENIED", "EXECUTING")),
        DealFilter(bank="bank-two"),
        DealFilter(chain_id=651940),
        DealFilter(since=samples.BEGAN + timedelta(minutes=4)),
        DealFilter(bank="bank-one", chain_id=138, statuses=("REQUESTED", "EXECUTING")),
        DealFilter(bank="bank-none"),
    ],
)
async def test_filters_restrict_together(reader: RecordsReader, chosen: DealFilter) -> None:
    expected = [
        deal
        for deal in NEWEST_FIRST
        if (not chosen.statuses or deal.status in chosen.statuses)
        and chosen.bank in {None, deal.request.bank}
        and chosen.chain_id in {None, deal.request.chain_id}
        and (chosen.since is None or deal.created_at >= chosen.since)
    ]
    assert (await reader.page(chosen)).deals == expected


async def test_a_deal_that_is_not_there_is_none(reader: RecordsReader) -> None:
    assert await reader.find(DealId("nobody")) is None


@pytest.mark.parametrize("limit", [0, -1, 501])
async def test_a_limit_out_of_range_is_refused(limit: int) -> None:
    with pytest.raises(InvalidInput) as caught:
        DealFilter(limit=limit)
    assert caught.value.problem.limit == "1 to 500"


@pytest.mark.parametrize("text", ["", "x", "e30", "!!", "WyJub3QiLCAidGltZSJd"])
async def test_a_cursor_of_somebody_else_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        Cursor.parse(text)
    assert caught.value.problem.field == "cursor"


async def test_a_cursor_keeps_the_microsecond() -> None:
    cursor = Cursor(datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC), DealId("alpha"))
    assert Cursor.parse(str(cursor)) == cursor


async def test_postgres_away_is_said() -> None:
    reader = RecordsReader(single_connection("postgresql://127.0.0.1:1/none"))
    with pytest.raises(Unavailable) as caught:
        await reader.page(DealFilter())
    assert "DEAL_DATABASE_URL" in caught.value.problem.next_action


async def test_each_list_is_read_from_an_index(database: Database) -> None:
    """With many deals no list sorts or scans the table."""
    many = """
        INSERT INTO deals.deals (
            deal_id, bank, module, chain_id, status, working_liquidity, max_ltv, max_slippage,
            cycles, mode, request, request_digest, doing, version, created_at, updated_at
        )
        SELECT 'many-' || n, 'bank-' || n %% 50, 'usdtz', 100 + n %% 50,
            CASE WHEN n %% 50 = 0 THEN 'EXECUTING' ELSE 'DENIED' END, 1, 0.3, 0.005, 1,
            'stepwise', %s, repeat('0', 64), 'nothing', 1, now() - n * interval '1 minute', now()
        FROM generate_series(1, 20000) AS n
    """
    filters = {
        "": "deals_by_time",
        "WHERE status = 'EXECUTING'": "deals_by_status",
        "WHERE bank = 'bank-7'": "deals_by_bank",
        "WHERE chain_id = 107": "deals_by_chain",
        "WHERE bank = 'bank-7' AND (created_at, deal_id) < (now(), 'x')": "deals_by_bank",
    }
    with psycopg.connect(database.owner) as connection:
        connection.execute(many, (Jsonb({}),))
        connection.execute("ANALYZE deals.deals")
        for where, index in filters.items():
            query = f"""
                EXPLAIN SELECT * FROM deals.deals {where}
                ORDER BY created_at DESC, deal_id DESC LIMIT 51
            """  # noqa: S608 - the texts above
            plan = "\n".join(row[0] for row in connection.execute(query.encode()))
            assert index in plan, plan
            assert "Seq Scan" not in plan, plan
        connection.rollback()
