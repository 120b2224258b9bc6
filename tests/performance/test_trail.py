"""The benchmark of the audit trail in its smallest form."""

from __future__ import annotations

import psycopg

from tests.performance import trail
from tests.performance.running import measured
from tests.support.postgres import Database


def test_both_ways_are_measured() -> None:
    options = ("--writers", "2", "--rounds", "1", "--seconds", "0.5")
    results, _ = measured("tests.performance.trail", *options)
    rates = results["versions_a_second"]["writers_2"]
    assert set(rates) == {"with", "without"}
    assert all(0 < each["low"] <= each["middle"] <= each["high"] for each in rates.values())


async def test_the_trail_is_really_off_and_on(database: Database) -> None:
    """Otherwise the same thing would be measured twice."""

    def rows() -> int:
        with psycopg.connect(database.owner) as connection:
            row = connection.execute("SELECT count(*) FROM audit.events").fetchone()
        assert row is not None
        return int(row[0])

    before = rows()
    assert trail.switch_trail(database, on=False) > 0
    await trail.measure(database, 1, 0.2, "off")
    assert rows() == before
    trail.switch_trail(database, on=True)
    await trail.measure(database, 1, 0.2, "on")
    assert rows() > before
