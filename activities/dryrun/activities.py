"""Dry runs of one chain."""

import hashlib

from temporalio import activity

from activities.dryrun.interface import DryRun, DryRunActivities, DryRunResult
from activities.dryrun.rehearsal import Rehearsal, Rehearsed
from activities.dryrun.snapshot import Snapshot
from activities.protocols.abi import address_of
from activities.protocols.interface import MarketReading
from activities.protocols.reader import ChainReader
from activities.protocols.registry import Registry
from activities.rpc.client import Rpc
from domain.approvals import funding_usd8
from domain.identifiers import Address
from domain.sizing import Sizing, size_deal


class DryRuns(DryRunActivities):
    """Runs deals dry on one chain."""

    def __init__(self, reader: ChainReader, rpc: Rpc, treasury: Address) -> None:
        """Take the chain's reader and connection, and the treasury that pays by default."""
        self._reader = reader
        self._profile = reader.profile
        self._rpc = rpc
        self._treasury = treasury
        self._registry = Registry(reader)

    @activity.defn
    async def dry_run(self, order: DryRun) -> DryRunResult:
        """See `DryRunActivities.dry_run`."""
        self._profile.check_request(order.request)
        await self._reader.verify()
        snapshot = await Snapshot.taken(self._profile, self._rpc)
        reader = self._reader.over(snapshot)
        reading, from_safe, sizing = None, order.from_safe, order.sizing
        treasury = order.treasury or self._treasury
        if sizing is None:
            reading, from_safe, sizing = await self._sized(reader, order, treasury)
            treasury = self._profile.contract(reading.multisig.safe) if from_safe else treasury
        deal = Rehearsed(
            request=order.request,
            sizing=sizing,
            account=order.account or throwaway(order, snapshot.pinned.block_hash),
            funder=treasury,
            treasury=self._treasury,
            from_safe=from_safe,
        )
        prediction = await Rehearsal(reader, self._registry, snapshot, deal).run()
        await snapshot.ensure_unmoved()
        return DryRunResult(prediction=prediction, sizing=sizing, reading=reading)

    async def _sized(
        self, reader: ChainReader, order: DryRun, treasury: Address
    ) -> tuple[MarketReading, bool, Sizing]:
        """Size it as admission does; a deal that is large by itself is the Safe's to pay.

        What else its bank moves is not counted here: that is decided when it is admitted.
        """
        module, multisig = order.request.module, self._profile.multisig
        reading = MarketReading(
            module=self._profile.module(module),
            market=await reader.market(module, treasury),
            multisig=multisig,
        )
        worth = funding_usd8(order.request, reading.module, reading.market)
        from_safe = worth > multisig.threshold_usd8
        if from_safe:
            market = await reader.market(module, self._profile.contract(multisig.safe))
            reading = reading.model_copy(update={"market": market}).from_safe()
        return reading, from_safe, size_deal(order.request, reading.module, reading.market)


def throwaway(order: DryRun, block_hash: str) -> Address:
    """An address that nobody has a key of: the same request on the same block has the same one."""
    seed = f"dry run|{order.request.digest()}|{block_hash}"
    return address_of(hashlib.sha256(seed.encode()).digest())
