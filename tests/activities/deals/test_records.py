"""What the records promise: each version once, in order, whatever is retried."""

import asyncio
import os
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
import pytest_asyncio
from psycopg import AsyncConnection
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool

from activities.deals.interface import DealRecord
from activities.deals.records import Records
from domain.deals import ALLOWED_TRANSITIONS, DealStatus, Step
from domain.errors import Conflict, NotAllowed, Problem, Unavailable
from domain.transactions import BatchKey
from domain.views import DealView, StepView
from starters.deals.reading import RecordsReader
from tests.activities.deals import samples
from tests.support.postgres import Database

pytestmark = pytest.mark.asyncio

Pool = AsyncConnectionPool[AsyncConnection[TupleRow]]


def open_pool(url: str, **options: object) -> Pool:
    """A pool as the deals worker has it."""
    return AsyncConnectionPool(url, open=False, kwargs={"autocommit": True}, **options)


@pytest_asyncio.fixture
async def pool(database: Database) -> AsyncIterator[Pool]:
    """A pool of the role that writes."""
    async with open_pool(database.role("deal_records")) as opened:
        yield opened


@pytest_asyncio.fixture
async def reader(database: Database) -> AsyncIterator[RecordsReader]:
    """The reader, as the role that reads."""
    async with open_pool(database.role("deal_reader")) as opened:
        yield RecordsReader(opened.connection)


async def write(records: Records, view: DealView, step: StepView | None = None) -> None:
    """Record one version."""
    await records.record_deal(DealRecord(view=view, step=step))


async def recorded(reader: RecordsReader, view: DealView) -> DealView:
    """Read a deal that must be there."""
    found = await reader.find(view.request.deal_id)
    assert found is not None
    return found


async def test_a_deal_reads_back_as_it_was_written(pool: Pool, reader: RecordsReader) -> None:
    records = Records(pool)
    first = samples.view("whole")
    running = samples.later(
        first,
        DealStatus.EXECUTING,
        sizing=samples.SIZING,
        account=samples.ACCOUNT,
        treasury=samples.TREASURY,
    )
    swap, redeem = samples.step(Step.SWAP, "whole"), samples.step(Step.REDEEM, "whole")
    after_swap = samples.later(running, doing="redeeming")
    done = samples.later(after_swap, DealStatus.COMPLETED, settlement=samples.SETTLEMENT)
    for view, step in [(first, None), (running, None), (after_swap, swap), (done, redeem)]:
        await write(records, view, step)
    found = await recorded(reader, done)
    assert found == done.model_copy(update={"steps": (swap, redeem)})
    assert found.request.digest() == done.request.digest()


async def test_the_columns_of_a_step_hold_its_sums(pool: Pool, database: Database) -> None:
    await write(Records(pool), samples.view("sums"), samples.step(Step.BORROW, "sums"))
    query = """
        SELECT first_block, last_block, gas_used, gas_cost_wei, ltv_bps, problem, version
        FROM deals.deal_steps WHERE deal_id = 'sums'
    """
    with psycopg.connect(database.role("deal_reader")) as connection:
        row = connection.execute(query).fetchone()
    assert row == (101, 102, 100_003, 100_003 * 10**9, 2500, None, 1)


async def test_the_same_version_again_changes_nothing(pool: Pool, reader: RecordsReader) -> None:
    records, first = Records(pool), samples.view("again")
    await write(records, first)
    second = samples.later(first, DealStatus.EXECUTING)
    await write(records, second, samples.step(deal_id="again"))
    await write(records, second.model_copy(update={"doing": "something else"}))
    found = await recorded(reader, first)
    assert (found.version, found.doing, len(found.steps)) == (2, "admitting", 1)


async def test_an_older_version_never_overwrites_a_newer(pool: Pool, reader: RecordsReader) -> None:
    records, first = Records(pool), samples.view("older")
    second = samples.later(first, DealStatus.EXECUTING)
    third = samples.later(second, DealStatus.PAUSED)
    for view in (first, second, third, first, second):
        await write(records, view)
    assert (await recorded(reader, first)).status is DealStatus.PAUSED


@pytest.mark.parametrize("version", [2, 5])
async def test_a_gap_is_an_error_and_writes_nothing(
    pool: Pool, reader: RecordsReader, version: int
) -> None:
    deal_id = f"gap-{version}"
    records, first = Records(pool), samples.view(deal_id)
    missing = first.model_copy(update={"version": version})
    with pytest.raises(Conflict) as caught:
        await write(records, missing)
    assert (caught.value.problem.field, caught.value.problem.limit) == ("version", "1")
    await write(records, first)
    with pytest.raises(Conflict, match="lack a version"):
        await write(records, first.model_copy(update={"version": 3}), samples.step(deal_id=deal_id))
    assert await recorded(reader, first) == first


async def test_a_deal_id_belongs_to_one_request(pool: Pool, reader: RecordsReader) -> None:
    records, first = Records(pool), samples.view("mine")
    await write(records, first)
    other = first.model_copy(update={"request": samples.request("mine", working_liquidity="11")})
    for view in (other, samples.later(other)):
        with pytest.raises(Conflict, match="another request"):
            await write(records, view)
    assert await recorded(reader, first) == first


async def test_retries_at_the_same_time_record_once(pool: Pool, reader: RecordsReader) -> None:
    records, first = Records(pool), samples.view("twice")
    await asyncio.gather(*(write(records, first) for _ in range(8)))
    second = samples.later(first, DealStatus.EXECUTING)
    step = samples.step(deal_id="twice")
    await asyncio.gather(*(write(records, second, step) for _ in range(8)))
    assert await recorded(reader, first) == second.model_copy(update={"steps": (step,)})


async def said(
    records: Records, view: DealView, history_length: int, step: StepView | None = None
) -> None:
    """Record one version as a workflow task says it that begins with so many events."""
    record = DealRecord(view=view, step=step, run_id="run", history_length=history_length)
    await records.record_deal(record)


async def test_what_a_lost_task_recorded_is_replaced_by_what_the_next_one_says(
    pool: Pool, reader: RecordsReader
) -> None:
    records, first = Records(pool), samples.view("lost")
    running = samples.later(first, DealStatus.EXECUTING)
    paused = samples.later(running, DealStatus.PAUSED)
    await said(records, first, 3)
    await said(records, running, 3)
    await said(records, paused, 20)
    swap = samples.step(Step.SWAP, "lost")
    anew = samples.later(running, doing="resumed before it was paused")
    await said(records, anew, 23, swap)
    assert await recorded(reader, first) == anew.model_copy(update={"steps": (swap,)})
    unwinding = samples.later(anew, DealStatus.UNWINDING)
    await said(records, unwinding, 23)
    assert (await recorded(reader, first)).status is DealStatus.UNWINDING


async def test_what_a_lost_task_says_too_late_is_not_heard(
    pool: Pool, reader: RecordsReader
) -> None:
    records, first = Records(pool), samples.view("late")
    running = samples.later(first, DealStatus.EXECUTING)
    await said(records, first, 3)
    await said(records, running, 23)
    for late in (first, running, samples.later(running, DealStatus.PAUSED)):
        await said(records, late, 20)
    assert await recorded(reader, first) == running


async def test_an_end_is_never_taken_back(pool: Pool, reader: RecordsReader) -> None:
    records, first = Records(pool), samples.view("ended")
    running = samples.later(first, DealStatus.EXECUTING)
    done = samples.later(running, DealStatus.COMPLETED)
    for view in (first, running, done):
        await said(records, view, 3)
    with pytest.raises(NotAllowed, match="refuse"):
        await said(records, running, 23)
    assert (await recorded(reader, first)).status is DealStatus.COMPLETED


async def test_a_step_that_is_told_again_later_replaces_what_was_told(
    pool: Pool, reader: RecordsReader
) -> None:
    records, first = Records(pool), samples.view("retold")
    await write(records, first, samples.step(deal_id="retold"))
    problem = Problem(code="reverted", message="it was reorganised away", next_action="wait")
    again = samples.step(deal_id="retold", problem=problem, inclusions=())
    await write(records, samples.later(first), again)
    found = await recorded(reader, first)
    assert found.steps == (again,)


async def test_the_attempts_of_a_step_stand_side_by_side(pool: Pool, reader: RecordsReader) -> None:
    records, first = Records(pool), samples.view("attempts")
    keys = [
        BatchKey(deal_id=first.request.deal_id, step=Step.SWAP, round=round_, attempt=attempt)
        for round_, attempt in ((1, 1), (1, 2), (2, 1))
    ]
    view = first
    for key in keys:
        await write(records, view, samples.step(deal_id="attempts", key=key))
        view = samples.later(view)
    found = await recorded(reader, first)
    assert [step.outcome.key for step in found.steps] == keys


@pytest.mark.parametrize("before", DealStatus)
async def test_the_database_allows_the_transitions_of_the_domain_and_no_others(
    pool: Pool, database: Database, before: DealStatus
) -> None:
    first = samples.view(f"from-{before.lower().replace('_', '-')}")
    await write(Records(pool), first)
    place = "UPDATE deals.deals SET status = %s WHERE deal_id = %s"
    move = "UPDATE deals.deals SET status = %s, version = version + 1 WHERE deal_id = %s"
    deal_id = first.request.deal_id
    with psycopg.connect(database.owner) as connection:
        connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
        connection.execute("ALTER TABLE deals.deals DISABLE TRIGGER change")
        connection.execute(place, (before, deal_id))
        connection.execute("ALTER TABLE deals.deals ENABLE TRIGGER change")
        allowed = set()
        for after in DealStatus:
            with connection.transaction(force_rollback=True):
                try:
                    connection.execute(move, (after, deal_id))
                    allowed.add(after)
                except psycopg.errors.CheckViolation:
                    continue
    assert allowed == ALLOWED_TRANSITIONS[before] | {before}


async def test_a_forbidden_transition_is_refused_with_its_reason(
    pool: Pool, reader: RecordsReader
) -> None:
    records, first = Records(pool), samples.view("forbidden")
    await write(records, first)
    with pytest.raises(NotAllowed) as caught:
        await write(records, samples.later(first, DealStatus.COMPLETED))
    assert caught.value.problem.value == "COMPLETED"
    assert "from REQUESTED to COMPLETED" in (caught.value.problem.actual or "")
    assert await recorded(reader, first) == first


async def test_a_deal_cannot_begin_at_its_end(pool: Pool) -> None:
    with pytest.raises(NotAllowed):
        await write(Records(pool), samples.view("end", status=DealStatus.COMPLETED))


async def test_a_version_cannot_be_skipped_even_past_our_code(
    pool: Pool, database: Database
) -> None:
    await write(Records(pool), samples.view("skipped"))
    with (
        psycopg.connect(database.role("deal_records")) as connection,
        pytest.raises(psycopg.errors.CheckViolation),
    ):
        connection.execute("UPDATE deals.deals SET version = 9 WHERE deal_id = 'skipped'")


async def test_text_from_a_contract_may_contain_anything(pool: Pool, reader: RecordsReader) -> None:
    problem = Problem(code="failed", message="a\x00b \\u0000 é\U0001f4b8 '", next_action="x")
    first = samples.view("text", problem=problem, status=DealStatus.DENIED)
    await write(Records(pool), first)
    found = await recorded(reader, first)
    assert found.problem is not None
    assert found.problem.message.startswith("a\ufffdb ")
    assert found.problem.message.endswith(" é\U0001f4b8 '")


async def test_recording_takes_one_round_trip(pool: Pool, tmp_path: Path) -> None:
    first = samples.view("trip")
    await write(Records(pool), first)
    async with open_pool(pool.conninfo, min_size=1, max_size=1) as one:
        log = tmp_path / "protocol.log"
        async with one.connection() as connection:
            file = os.open(log, os.O_WRONLY | os.O_CREAT)
            connection.pgconn.trace(file)
        await write(Records(one), samples.later(first), samples.step(deal_id="trip"))
        async with one.connection() as connection:
            connection.pgconn.untrace()
    os.close(file)
    answers = [line for line in log.read_text().splitlines() if "ReadyForQuery" in line]
    assert len(answers) == 1


async def test_postgres_away_is_worth_another_try(database: Database) -> None:
    unreachable = open_pool("postgresql://127.0.0.1:1/none", min_size=0, max_size=1, timeout=0.2)
    async with unreachable as pool:
        with pytest.raises(Unavailable) as caught:
            await write(Records(pool), samples.view("away"))
    assert caught.value.retryable
    async with open_pool(database.role("deal_records"), min_size=1) as pool:
        async with pool.connection() as connection:
            pid = connection.info.backend_pid
        with psycopg.connect(database.owner, autocommit=True) as other:
            other.execute("SELECT pg_terminate_backend(%s, 5000)", (pid,))
        with pytest.raises(Unavailable):
            await write(Records(pool), samples.view("away"))
        await write(Records(pool), samples.view("away"))


async def test_a_transaction_of_the_caller_is_respected(database: Database) -> None:
    """Without autocommit the pool's own commit ends it; the result is the same."""
    async with AsyncConnectionPool(database.role("deal_records"), open=False) as pool:
        first = samples.view("plain", updated_at=samples.BEGAN + timedelta(days=1))
        await write(Records(pool), first)
        assert await recorded(RecordsReader(pool.connection), first) == first
