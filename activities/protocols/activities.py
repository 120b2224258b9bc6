"""The reading activities of one chain."""

import asyncio
import time
from itertools import count

from temporalio import activity

from activities.protocols.interface import (
    MarketReading,
    ProtocolActivities,
    ReadMarket,
    ReadPosition,
    RedemptionWatched,
    WatchRedemption,
)
from activities.protocols.reader import ChainReader
from domain.positions import Position


class ProtocolReads(ProtocolActivities):
    """Reads markets and positions of one chain."""

    def __init__(self, reader: ChainReader) -> None:
        """Take the chain's reader."""
        self._reader = reader

    @activity.defn
    async def read_market(self, order: ReadMarket) -> MarketReading:
        """See `ProtocolActivities.read_market`."""
        self._reader.profile.check_request(order.request)
        await self._reader.verify()
        module = order.request.module
        return MarketReading(
            module=self._reader.profile.module(module),
            market=await self._reader.market(module, order.treasury),
            multisig=self._reader.profile.multisig,
        )

    @activity.defn
    async def read_position(self, order: ReadPosition) -> Position:
        """See `ProtocolActivities.read_position`."""
        return await self._reader.position(order.module, order.account)

    @activity.defn
    async def watch_redemption(self, order: WatchRedemption) -> RedemptionWatched:
        """See `ProtocolActivities.watch_redemption`."""
        until = time.monotonic() + order.seconds
        for probes in count():
            terms = await self._reader.redemption(order.module)
            is_open = not terms.frozen and terms.redeemable >= order.held
            left = until - time.monotonic()
            if is_open or left <= 0:
                return RedemptionWatched(terms=terms, open=is_open)
            await asyncio.sleep(min(order.policy.probe_after(probes).total_seconds(), left))
        raise AssertionError
