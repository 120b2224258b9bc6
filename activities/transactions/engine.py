"""The transaction engine's activities for one chain."""

from temporalio import activity

from activities.protocols.reader import ChainReader
from activities.protocols.steps import StepBuilder
from activities.rpc.client import Rpc
from activities.transactions.broadcast import Broadcaster
from activities.transactions.deliver import Deliverer
from activities.transactions.interface import (
    DeliverBatch,
    Delivery,
    FinalizeDeal,
    PrepareBatch,
    TransactionActivities,
)
from activities.transactions.prepare import DraftBuilder, Preparer, gap_filler
from activities.transactions.store import Pool, TransactionStore
from domain.chains import ChainProfile
from domain.errors import DealError, OutcomeUnknown
from domain.identifiers import Address
from domain.transactions import PreparedBatch


class TransactionEngine(TransactionActivities):
    """Prepares, delivers, abandons and finalises batches on one chain."""

    def __init__(  # noqa: PLR0913 - what one chain's engine consists of
        self,
        profile: ChainProfile,
        rpc: Rpc,
        reader: ChainReader,
        pool: Pool,
        treasury: Address,
        *,
        builder: DraftBuilder | None = None,
    ) -> None:
        """Take the chain's profile and connections, and the treasury's address.

        `builder` makes the drafts, by default those of a deal's steps.
        """
        self._reader = reader
        self._store = TransactionStore(pool)
        broadcaster = Broadcaster(profile.chain_id, rpc, self._store)
        builder = builder or StepBuilder(reader, treasury)
        self._preparer = Preparer(profile, rpc, builder, self._store, broadcaster)
        self._deliverer = Deliverer(reader, self._store, broadcaster, treasury)

    @activity.defn
    async def prepare_batch(self, order: PrepareBatch) -> PreparedBatch:
        """See `TransactionActivities.prepare_batch`."""
        await self._reader.verify()
        return await self._preparer.prepare(order)

    @activity.defn
    async def deliver_batch(self, order: DeliverBatch) -> Delivery:
        """See `TransactionActivities.deliver_batch`."""
        try:
            return await self._deliverer.deliver(order)
        except DealError as error:
            if error.retryable:
                raise
            # The bytes are signed and may be out: whatever stands against it has to be waited out.
            raise OutcomeUnknown.from_problem(error.problem) from error

    @activity.defn
    async def abandon_batch(self, batch: PreparedBatch) -> PreparedBatch | None:
        """See `TransactionActivities.abandon_batch`."""
        return await self._store.abandon(batch, gap_filler(batch))

    @activity.defn
    async def finalize_deal(self, order: FinalizeDeal) -> int:
        """See `TransactionActivities.finalize_deal`."""
        mined = await self._store.not_final(order.deal_id)
        if mined:
            await self._deliverer.finalize(
                {m.intent_id: (m.transaction_hash, m.block_number, m.block_hash) for m in mined}
            )
            await self._store.finalize([m.intent_id for m in mined])
        return await self._store.count(order.deal_id)
