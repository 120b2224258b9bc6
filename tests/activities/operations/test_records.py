"""Operations are recorded one version after the other, and listed newest first."""

from collections.abc import AsyncIterator
from datetime import timedelta

import psycopg
import pytest
import pytest_asyncio
from psycopg_pool import AsyncConnectionPool

from activities.operations.records import OperationRecords
from domain.errors import InvalidInput, Unavailable
from domain.operations import OperationStatus, OperationView
from starters.deals.database import single_connection
from starters.deals.operations import OperationsReader
from tests.activities.operations import samples
from tests.support.postgres import Database

pytestmark = pytest.mark.asyncio

# Two at each moment; the chains alternate.
VIEWS = [
    samples.waiting(
        request=samples.request(f"change-{index}", chain_id=(138, 651940)[index % 2]),
        created_at=samples.BEGAN + timedelta(minutes=index // 2),
    )
    for index in range(7)
]
NEWEST_FIRST = sorted(VIEWS, key=lambda view: view.request.operation_id)
NEWEST_FIRST.sort(key=lambda view: view.created_at, reverse=True)


@pytest_asyncio.fixture
async def records(database: Database) -> AsyncIterator[OperationRecords]:
    """The records, with all the operations."""
    with psycopg.connect(database.owner, autocommit=True) as connection:
        connection.execute("TRUNCATE deals.operations")
    async with AsyncConnectionPool(database.role("deal_records"), open=False) as pool:
        records = OperationRecords(pool)
        for view in VIEWS:
            await records.record_operation(view)
        yield records


@pytest.fixture
def reader(database: Database, records: OperationRecords) -> OperationsReader:  # noqa: ARG001 - they are recorded
    """The reader under test."""
    return OperationsReader(single_connection(database.role("deal_reader")))


@pytest.mark.parametrize("limit", [1, 4, 7, 500])
@pytest.mark.parametrize("chain_id", [None, 138, 651940, 1])
async def test_the_newest_of_a_chain_come_first(
    reader: OperationsReader, chain_id: int | None, limit: int
) -> None:
    expected = [view for view in NEWEST_FIRST if chain_id in {None, view.request.chain_id}]
    assert await reader.list(chain_id, limit) == expected[:limit]


async def found(reader: OperationsReader) -> OperationView:
    return next(
        view
        for view in await reader.list(None, 500)
        if view.request.operation_id == VIEWS[0].request.operation_id
    )


async def test_a_later_version_takes_the_place_of_an_earlier_one_only(
    reader: OperationsReader, records: OperationRecords
) -> None:
    done = VIEWS[0].model_copy(
        update={"version": 9, "status": OperationStatus.DONE, "doing": "done"}
    )
    await records.record_operation(done)
    assert await found(reader) == done
    for stale in (VIEWS[0], done.model_copy(update={"doing": "again"})):
        await records.record_operation(stale)
        assert await found(reader) == done


async def test_a_reader_changes_nothing(database: Database) -> None:
    with (
        psycopg.connect(database.role("deal_reader")) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute("UPDATE deals.operations SET version = version + 1")


@pytest.mark.parametrize("limit", [0, -1, 501])
async def test_a_limit_out_of_range_is_refused(limit: int) -> None:
    reader = OperationsReader(single_connection("postgresql://127.0.0.1:1/none"))
    with pytest.raises(InvalidInput) as caught:
        await reader.list(None, limit)
    assert caught.value.problem.limit == "1 to 500"


async def test_postgres_away_is_said() -> None:
    reader = OperationsReader(single_connection("postgresql://127.0.0.1:1/none"))
    with pytest.raises(Unavailable) as caught:
        await reader.list(None, 1)
    assert "DEAL_DATABASE_URL" in caught.value.problem.next_action
