"""Deals in the records, as the deals worker writes them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from psycopg_pool import AsyncConnectionPool

from activities.deals.interface import DealRecord
from activities.deals.records import Records
from domain.deals import DealStatus
from domain.views import DealView
from tests.activities.deals import samples
from tests.support.postgres import Database


def record_deals(database: Database, deals: Mapping[str, str]) -> None:
    """Record one deal a bank, by the bank; it has ended, so that who follows it comes to an end."""
    views = [
        samples.view(deal_id, request=samples.request(deal_id, bank=bank), status=DealStatus.DENIED)
        for bank, deal_id in deals.items()
    ]
    asyncio.run(_record(database, views))


async def record(database: Database, view: DealView) -> None:
    """Record one version of a deal."""
    await _record(database, [view])


async def _record(database: Database, views: list[DealView]) -> None:
    async with AsyncConnectionPool(database.role("deal_records"), open=False) as pool:
        for view in views:
            await Records(pool).record_deal(DealRecord(view=view))
