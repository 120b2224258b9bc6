"""What the audit trail costs those who write: `python -m tests.performance.trail`.

Writers record versions of deals as the deals worker does, each as fast as it can, in a Postgres of
their own that syncs every commit; in turns with the trail's triggers and without them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from statistics import median
from typing import Any, Final

import psycopg
from psycopg import sql
from psycopg_pool import AsyncConnectionPool

from activities.deals.interface import DealRecord
from activities.deals.records import Records
from domain.deals import DealStatus
from tests.activities.deals import samples
from tests.support.postgres import Database, running_postgres

VERSIONS: Final = 15
"""Of each deal, about as many as one that goes well has."""
_TRIGGERS: Final = """
SELECT relation.relname, trigger.tgname FROM pg_trigger AS trigger
JOIN pg_class AS relation ON relation.oid = trigger.tgrelid
JOIN pg_proc AS function ON function.oid = trigger.tgfoid
WHERE relation.relnamespace = 'deals'::regnamespace
    AND function.pronamespace = 'audit'::regnamespace AND NOT trigger.tgisinternal
"""


def switch_trail(database: Database, *, on: bool) -> int:
    """Have changes of deals noted in the trail, or not; return how many triggers do that."""
    word = sql.SQL("ENABLE" if on else "DISABLE")
    with psycopg.connect(database.owner) as connection:
        triggers = connection.execute(_TRIGGERS).fetchall()
        for table, trigger in triggers:
            connection.execute(
                sql.SQL("ALTER TABLE deals.{} {} TRIGGER {}").format(
                    sql.Identifier(table), word, sql.Identifier(trigger)
                )
            )
    return len(triggers)


async def measure(database: Database, writers: int, seconds: float, name: str) -> float:
    """Versions a second that so many writers record together."""
    recorded, until = 0, time.monotonic() + seconds
    url = database.role("deal_records")
    async with AsyncConnectionPool(
        url, min_size=writers, max_size=writers, open=False, kwargs={"autocommit": True}
    ) as pool:
        records = Records(pool)

        async def write(writer: int) -> None:
            nonlocal recorded
            number = 0
            while time.monotonic() < until:
                view = samples.view(f"{name}-{writer}-{number}")
                for version in range(VERSIONS):
                    await records.record_deal(DealRecord(view=view))
                    recorded += 1
                    if time.monotonic() >= until:
                        return
                    status = DealStatus.EXECUTING if version == 0 else None
                    view = samples.later(view, status)
                number += 1

        await asyncio.gather(*(write(writer) for writer in range(writers)))
    return recorded / seconds


async def rounds(database: Database, writers: int, seconds: float, count: int) -> dict[str, Any]:
    """Low, middle and high of some rounds, with the trail and without in turns."""
    found: dict[str, list[float]] = {"without": [], "with": []}
    for number in range(count):
        for kind, rates in found.items():
            switch_trail(database, on=kind == "with")
            name = f"{kind}-{writers}-{number}"
            rates.append(await measure(database, writers, seconds, name))
    return {
        kind: {"low": round(min(r)), "middle": round(median(r)), "high": round(max(r))}
        for kind, r in found.items()
    }


def main() -> int:
    """Measure and print: versions a second, with the machine's load."""
    parser = argparse.ArgumentParser(prog="python -m tests.performance.trail", description=__doc__)
    parser.add_argument("--writers", type=int, nargs="+", default=(1, 20), help="at once")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each round")
    given = parser.parse_args()
    with running_postgres() as postgres:
        database = postgres.migrated()
        with psycopg.connect(database.owner, autocommit=True) as connection:
            connection.execute("ALTER SYSTEM SET fsync = on")
            connection.execute("SELECT pg_reload_conf()")
        rates = {
            f"writers_{writers}": asyncio.run(
                rounds(database, writers, given.seconds, given.rounds)
            )
            for writers in given.writers
        }
    load = {"processors": os.cpu_count(), "load_average": os.getloadavg()[0]}
    sys.stdout.write(json.dumps({"versions_a_second": rates} | load, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
