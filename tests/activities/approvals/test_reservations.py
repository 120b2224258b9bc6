"""What banks move is added up by the database, one deal of a bank after the other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from itertools import count
from typing import Any

import psycopg
import pytest
from psycopg_pool import AsyncConnectionPool

from activities.approvals.interface import ReleaseFunding, ReserveFunding
from activities.approvals.reservations import Reservations
from domain.approvals import Funding
from domain.errors import Conflict, Unavailable
from domain.identifiers import BankId, DealId
from tests.support.postgres import Database

LIMIT = 1_000_000 * 10**8
DAY = 24 * 3_600
_numbers = count(1)


@pytest.fixture
async def reservations(database: Database) -> AsyncIterator[Reservations]:
    pool = AsyncConnectionPool[psycopg.AsyncConnection[Any]](
        database.role("deal_records"),
        kwargs={"autocommit": True},
        min_size=4,
        max_size=12,
        open=False,
    )
    async with pool:
        yield Reservations(pool)


@pytest.fixture
def bank() -> BankId:
    return BankId(f"bank-{next(_numbers)}")


def _order(bank: BankId, usd: int, deal: str | None = None) -> ReserveFunding:
    return ReserveFunding(
        deal_id=DealId(deal or f"deal-{next(_numbers)}"),
        bank=bank,
        value_usd8=usd * 10**8,
        limit_usd8=LIMIT,
        window_seconds=DAY,
    )


async def test_one_deal_of_exactly_the_limit_needs_nobody(
    reservations: Reservations, bank: BankId
) -> None:
    exact = await reservations.reserve_funding(_order(bank, 1_000_000))
    assert exact == Funding(
        value_usd8=LIMIT, together_usd8=LIMIT, limit_usd8=LIMIT, owners_decide=False
    )
    assert (await reservations.reserve_funding(_order(bank, 1))).owners_decide


async def test_of_fifty_at_once_exactly_those_that_fit_need_nobody(
    reservations: Reservations, bank: BankId
) -> None:
    orders = [_order(bank, 30_000) for _ in range(50)]
    answers = await asyncio.gather(*map(reservations.reserve_funding, orders))
    assert sum(not answer.owners_decide for answer in answers) == 33
    together = sorted(answer.together_usd8 for answer in answers)
    assert together == [number * 30_000 * 10**8 for number in range(1, 51)]


async def test_the_first_answer_stands(reservations: Reservations, bank: BankId) -> None:
    order = _order(bank, 900_000)
    first = await reservations.reserve_funding(order)
    await reservations.reserve_funding(_order(bank, 900_000))
    again = await asyncio.gather(*(reservations.reserve_funding(order) for _ in range(5)))
    assert again == [first] * 5
    with pytest.raises(Conflict) as caught:
        await reservations.reserve_funding(order.model_copy(update={"bank": BankId("other")}))
    assert caught.value.problem.field == "bank"


async def test_what_was_released_counts_no_longer(reservations: Reservations, bank: BankId) -> None:
    order = _order(bank, 900_000)
    await reservations.reserve_funding(order)
    for _ in range(2):
        await reservations.release_funding(ReleaseFunding(deal_id=order.deal_id))
    await reservations.release_funding(ReleaseFunding(deal_id=DealId("never-reserved")))
    assert not (await reservations.reserve_funding(_order(bank, 900_000))).owners_decide


async def test_banks_are_counted_apart_and_after_a_day_no_more(
    reservations: Reservations, bank: BankId, database: Database
) -> None:
    order = _order(bank, 900_000)
    await reservations.reserve_funding(order)
    other = BankId(f"{bank}-other")
    assert not (await reservations.reserve_funding(_order(other, 900_000))).owners_decide
    for hours, decide in ((23, True), (25, False)):
        with psycopg.connect(database.owner, autocommit=True) as connection:
            connection.execute(
                "UPDATE deals.reservations SET reserved_at = now() - make_interval(hours => %s)"
                " WHERE deal_id = %s",
                (hours, order.deal_id),
            )
        probe = _order(bank, 200_000)
        assert (await reservations.reserve_funding(probe)).owners_decide is decide
        await reservations.release_funding(ReleaseFunding(deal_id=probe.deal_id))


async def test_a_database_that_is_away_is_no_answer(database: Database) -> None:
    pool = AsyncConnectionPool[psycopg.AsyncConnection[Any]](
        database.role("deal_records"), min_size=1, max_size=1, open=False
    )
    async with pool:
        async with pool.connection() as connection:
            await connection.close()
        await pool.close()
        with pytest.raises((Unavailable, psycopg.OperationalError)):
            await Reservations(pool).reserve_funding(_order(BankId("away"), 1))
