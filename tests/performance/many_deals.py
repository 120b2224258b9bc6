"""Very many deals in the records, copied from one that the records themselves have written."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any, Final, LiteralString

from psycopg import AsyncConnection, sql
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool

from activities.deals.interface import DealRecord
from activities.deals.records import Records
from domain.deals import DealStatus, Step
from tests.activities.deals import samples
from tests.support.postgres import Database

Row = dict[str, Any]

DEALS: Final = 100_000
BANKS: Final = 200
CHAINS: Final = (138, 651940)
WITH_STEPS: Final = 10
"""Each so many deals has its steps as well."""
_APART: Final = timedelta(minutes=1)
_STEPS: Final = (
    Step.FUND,
    Step.WRAP,
    Step.COLLATERALIZE,
    Step.BORROW,
    Step.SWAP,
    Step.REDEEM,
    Step.SETTLE,
    Step.SWEEP,
)
_TEMPLATE: Final = "the-deal-that-is-copied"
_STATUSES: Final = (*(DealStatus.COMPLETED,) * 92, *(DealStatus.UNWOUND,) * 5, DealStatus.DENIED)
_RARE: Final = {
    10: DealStatus.EXECUTING,
    30: DealStatus.PAUSED,
    50: DealStatus.FROZEN,
    70: DealStatus.STUCK,
}
"""Of a thousand deals, the ones that are under way."""
_COLUMNS: Final[LiteralString] = """
SELECT column_name FROM information_schema.columns
WHERE table_schema = 'deals' AND table_name = %s AND is_generated = 'NEVER'
ORDER BY ordinal_position
"""


async def insert(database: Database, count: int = DEALS) -> None:
    """Insert deals `many-0`, `many-1`, ...: a minute apart, the first one the newest."""
    await _record_template(database)
    async with await AsyncConnection.connect(database.owner, row_factory=dict_row) as connection:
        # Without the triggers: their rows in the audit trail would be of deals that never were.
        await connection.execute("SET session_replication_role = replica")
        deal = await _template(connection, "deals")
        steps = await _template(connection, "deal_steps")
        await _copy(connection, "deals", (_deal(deal[0], number) for number in range(count)))
        await _copy(
            connection,
            "deal_steps",
            (
                _renamed(step, deal_id(number))
                for number in range(0, count, WITH_STEPS)
                for step in steps
            ),
        )
        for table in ("deal_steps", "deals"):
            await connection.execute(
                sql.SQL("DELETE FROM deals.{} WHERE deal_id = %s").format(sql.Identifier(table)),
                (_TEMPLATE,),
            )
    async with await AsyncConnection.connect(database.owner, autocommit=True) as connection:
        await connection.execute("VACUUM ANALYZE deals.deals, deals.deal_steps")


def deal_id(number: int) -> str:
    """The id of the deal of this number."""
    return f"many-{number}"


def bank(number: int) -> str:
    """The bank of the deal of this number."""
    return f"bank-{number % BANKS}"


def status(number: int) -> DealStatus:
    """The status of the deal of this number; one of a thousand each is under way."""
    return _RARE.get(number % 1_000) or _STATUSES[number % len(_STATUSES)]


async def _record_template(database: Database) -> None:
    """Have the records write one deal that went well, version by version."""
    view = samples.view(_TEMPLATE)
    versions = [DealRecord(view=view)]
    began = samples.later(
        view,
        DealStatus.EXECUTING,
        sizing=samples.SIZING,
        account=samples.ACCOUNT,
        treasury=samples.TREASURY,
        doing="fund 1",
    )
    versions.append(DealRecord(view=began))
    for kind in _STEPS:
        began = samples.later(began, doing=f"{kind} 1")
        versions.append(DealRecord(view=began, step=samples.step(kind, _TEMPLATE)))
    ended = samples.later(began, DealStatus.COMPLETED, settlement=samples.SETTLEMENT, doing="done")
    versions.append(DealRecord(view=ended))
    async with AsyncConnectionPool(database.role("deal_records"), open=False) as pool:
        for version in versions:
            await Records(pool).record_deal(version)


async def _template(
    connection: AsyncConnection[dict[str, Any]], table: str
) -> list[dict[str, Any]]:
    names = [row["column_name"] async for row in await connection.execute(_COLUMNS, (table,))]
    query = sql.SQL("SELECT {} FROM deals.{} WHERE deal_id = %s").format(
        sql.SQL(", ").join(map(sql.Identifier, names)), sql.Identifier(table)
    )
    return await (await connection.execute(query, (_TEMPLATE,))).fetchall()


async def _copy(connection: AsyncConnection[Any], table: str, rows: Any) -> None:
    cursor = connection.cursor()
    first = next(rows)
    names = sql.SQL(", ").join(map(sql.Identifier, first))
    statement = sql.SQL("COPY deals.{} ({}) FROM STDIN").format(sql.Identifier(table), names)
    async with cursor.copy(statement) as copy:
        await copy.write_row(tuple(first.values()))
        for row in rows:
            await copy.write_row(tuple(row.values()))


def _deal(template: dict[str, Any], number: int) -> dict[str, Any]:
    began = datetime.now(UTC) - number * _APART
    chain_id = CHAINS[number % len(CHAINS)]
    request = template["request"] | {
        "deal_id": deal_id(number),
        "bank": bank(number),
        "chain_id": chain_id,
    }
    given = {
        "bank": bank(number),
        "chain_id": chain_id,
        "status": status(number),
        "request": request,
        "created_at": began,
        "updated_at": began + _APART / 2,
    }
    return _renamed(template | given, deal_id(number))


def _renamed(row: dict[str, Any], name: str) -> dict[str, Any]:
    """A row of another deal; JSON is written as COPY takes it."""
    return {
        column: json.dumps(value).replace(_TEMPLATE, name)
        if isinstance(value, dict | list)
        else value
        for column, value in (row | {"deal_id": name}).items()
    }
