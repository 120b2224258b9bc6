"""Predictions in the records: written once, held against what came of them, and then for ever."""

from collections.abc import AsyncIterator

import psycopg
import pytest
import pytest_asyncio
from psycopg_pool import AsyncConnectionPool

from activities.deals.interface import DealRecord
from activities.deals.records import Records
from domain.deals import DealStatus
from domain.errors import NotAllowed
from domain.predictions import Prediction, Realised
from domain.views import DealView
from starters.deals.database import single_connection
from starters.deals.reading import RecordsReader
from tests.activities.deals import samples
from tests.support.postgres import Database
from tests.unit.domain.test_predictions import figures, prediction

pytestmark = pytest.mark.asyncio

REALISED = Realised(
    steps=(figures(gas=1),),
    gas=1,
    gas_cost_wei=2**70,
    max_slippage_bps=-4,
    max_ltv_bps=3,
    max_exposure_bps=4,
    duration_seconds=5,
    profit_usd8=-(10**20),
)


@pytest_asyncio.fixture
async def records(database: Database) -> AsyncIterator[Records]:
    async with AsyncConnectionPool(
        database.role("deal_records"), open=False, kwargs={"autocommit": True}
    ) as pool:
        yield Records(pool)


async def found(database: Database, view: DealView) -> DealView:
    reader = RecordsReader(single_connection(database.role("deal_reader")))
    deal = await reader.find(view.request.deal_id)
    assert deal is not None
    return deal


async def rows(database: Database, query: str, *parameters: object) -> list[tuple[object, ...]]:
    async with await psycopg.AsyncConnection.connect(database.owner) as connection:
        return await (await connection.execute(query, parameters)).fetchall()  # type: ignore[arg-type]


async def predicted(records: Records, name: str, foreseen: Prediction) -> DealView:
    """A deal that has just been predicted."""
    first = samples.view(name)
    await records.record_deal(DealRecord(view=first))
    running = samples.later(first, DealStatus.EXECUTING, sizing=samples.SIZING)
    await records.record_deal(DealRecord(view=running, prediction=foreseen))
    return running


async def test_both_read_back_as_they_were_written(records: Records, database: Database) -> None:
    foreseen = prediction()
    running = await predicted(records, "foreseen", foreseen)
    halfway = await found(database, running)
    assert (halfway.prediction, halfway.realised, halfway.comparison) == (foreseen, None, None)
    done = samples.later(running, DealStatus.COMPLETED, settlement=samples.SETTLEMENT)
    await records.record_deal(DealRecord(view=done, realised=REALISED))
    ended = await found(database, done)
    assert (ended.prediction, ended.realised) == (foreseen, REALISED)
    assert ended.comparison is not None
    ((digest,),) = await rows(
        database, "SELECT digest FROM control.predictions WHERE deal_id = 'foreseen'"
    )
    assert digest == foreseen.digest()


async def test_a_deal_without_one_has_no_row(records: Records, database: Database) -> None:
    first = samples.view("unforeseen")
    await records.record_deal(DealRecord(view=first))
    await records.record_deal(
        DealRecord(view=samples.later(first, DealStatus.EXECUTING), realised=REALISED)
    )
    assert (await found(database, first)).prediction is None
    query = "SELECT count(*) FROM control.predictions WHERE deal_id = 'unforeseen'"
    assert await rows(database, query) == [(0,)]


async def test_what_is_not_heard_of_a_deal_is_not_heard_of_its_prediction(
    records: Records, database: Database
) -> None:
    foreseen = prediction()
    running = await predicted(records, "retried", foreseen)
    again = DealRecord(view=running, prediction=prediction(profit_usd8=1))
    await records.record_deal(again)  # a retry of a version that is recorded
    assert (await found(database, running)).prediction == foreseen


async def test_a_later_task_may_say_it_anew_until_it_was_held_against_the_end(
    records: Records, database: Database
) -> None:
    running = await predicted(records, "anew", prediction())
    newer = prediction(profit_usd8=1)
    await records.record_deal(DealRecord(view=running, prediction=newer, history_length=9))
    assert (await found(database, running)).prediction == newer
    done = samples.later(running, doing="settled")
    await records.record_deal(DealRecord(view=done, realised=REALISED, history_length=10))
    with pytest.raises(NotAllowed):
        await records.record_deal(DealRecord(view=done, prediction=prediction(), history_length=11))
    assert (await found(database, running)).prediction == newer


async def test_both_are_in_the_audit_trail(records: Records, database: Database) -> None:
    foreseen = prediction()
    running = await predicted(records, "audited", foreseen)
    done = samples.later(running, doing="settled")
    await records.record_deal(DealRecord(view=done, realised=REALISED))
    trail = await rows(
        database,
        "SELECT action, actor, change -> 'after' ->> 'digest', change -> 'after' ->> 'profit_usd8',"
        " change -> 'after' ? 'steps' FROM audit.events"
        " WHERE subject_kind = 'prediction' AND deal = 'audited' ORDER BY sequence",
    )
    digest = foreseen.digest()
    assert trail == [
        ("prediction.made", "deal audited", digest, str(foreseen.profit_usd8), False),
        ("prediction.realised", "deal audited", digest, str(REALISED.profit_usd8), False),
    ]


@pytest.mark.parametrize("role", ["deal_reader", "deal_control", "deal_engine", "deal_signer"])
async def test_nobody_else_writes_them(records: Records, database: Database, role: str) -> None:
    await predicted(records, f"guarded-{role.replace('_', '-')}", prediction())
    async with await psycopg.AsyncConnection.connect(database.role(role)) as connection:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await connection.execute("UPDATE control.predictions SET digest = digest")
