"""The transaction engine's activities for one chain."""

from temporalio import activity

from activities.halts.standing import Halts
from activities.protocols.reader import ChainReader
from activities.protocols.registry import Registry
from activities.protocols.steps import StepBuilder
from activities.rpc.client import Rpc
from activities.transactions.alerts import Alerts
from activities.transactions.broadcast import Broadcaster
from activities.transactions.deliver import Deliverer
from activities.transactions.filling import Filler
from activities.transactions.finalize import Finalizer
from activities.transactions.interface import (
    ChainReleased,
    DeliverBatch,
    Delivery,
    FillNonce,
    FinalizeDeal,
    FinalTransactions,
    FindBatches,
    FoundBatches,
    NonceFill,
    PrepareBatch,
    ReleaseChain,
    Replacement,
    ReplaceTransaction,
    SendAttempts,
    TransactionActivities,
    TransactionView,
)
from activities.transactions.monitor import ChainMonitor, Fill, Surroundings, Tell
from activities.transactions.outbidding import Outbidder
from activities.transactions.outcomes import OutcomeReader
from activities.transactions.planning import DraftBuilder
from activities.transactions.prepare import Preparer
from activities.transactions.promises import Promises
from activities.transactions.replacing import Replacer
from activities.transactions.store import Pool, TransactionStore
from activities.transactions.unknowns import Unknowns
from domain.chains import ChainProfile
from domain.deals import Step
from domain.errors import DealError, OutcomeUnknown
from domain.identifiers import Address
from domain.transactions import PreparedBatch


class TransactionEngine(TransactionActivities):
    """Prepares, delivers, replaces, abandons and finalises transactions on one chain."""

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
        self._profile, self._rpc, self._pool, self._treasury = profile, rpc, pool, treasury
        self._reader = reader
        self._store = store = TransactionStore(pool)
        alerts = Alerts(profile.chain_id, pool)
        self._broadcaster = broadcaster = Broadcaster(profile, rpc, store, alerts)
        outbidder = Outbidder(profile, rpc, alerts)
        halts = Halts(pool)
        self._preparer = Preparer(
            profile, rpc, builder or StepBuilder(reader, treasury), store, broadcaster, halts=halts
        )
        self._deliverer = Deliverer(
            reader,
            store,
            broadcaster,
            outcomes=OutcomeReader(reader, treasury),
            outbidder=outbidder,
            unknowns=Unknowns(profile, rpc, store, alerts),
            halts=halts,
        )
        self._finalizer = Finalizer(profile, rpc, pool, broadcaster)
        self._replacer = Replacer(store, broadcaster, outbidder, halts)
        self._filler = Filler(profile, store, outbidder)
        self._promises = Promises(profile, rpc, pool)
        self._registry = Registry(reader)

    def monitor(self, tell: Tell, fill: Fill) -> ChainMonitor:
        """What watches over this chain.

        `tell` tells a deal what has become of its transactions, `fill` has nonces filled that
        nothing holds.
        """
        around = Surroundings(tell, fill, under_way=lambda: self._deliverer.under_way)
        return ChainMonitor(
            self._profile,
            self._rpc,
            self._pool,
            self._treasury,
            broadcaster=self._broadcaster,
            around=around,
        )

    @activity.defn
    async def prepare_batch(self, order: PrepareBatch) -> PreparedBatch:
        """See `TransactionActivities.prepare_batch`."""
        await self._reader.verify()
        await self._registry.check(order)
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
        return await self._store.abandon(batch, batch.no_ops())

    @activity.defn
    async def finalize_deal(self, order: FinalizeDeal) -> FinalTransactions:
        """See `TransactionActivities.finalize_deal`."""
        return FinalTransactions(receipts=await self._finalizer.finalize(order.deal_id))

    @activity.defn
    async def find_batches(self, order: FindBatches) -> FoundBatches:
        """See `TransactionActivities.find_batches`."""
        known = await self._store.batches_of(order.chain_id, order.deal_id)
        rounds: dict[Step, int] = {}
        for batch, _ in known:
            rounds[batch.key.step] = max(batch.key.round, rounds.get(batch.key.step, 0))
        open_ones = [batch for batch, is_open in known if is_open]
        left = [batch for batch in open_ones if str(batch.key) not in order.recorded]
        return FoundBatches(batches=tuple(left), rounds=rounds)

    @activity.defn
    async def replace_transaction(self, order: ReplaceTransaction) -> Replacement:
        """See `TransactionActivities.replace_transaction`."""
        return await self._replacer.replace(order)

    @activity.defn
    async def send_attempts(self, order: SendAttempts) -> TransactionView:
        """See `TransactionActivities.send_attempts`."""
        return await self._replacer.send(order)

    @activity.defn
    async def plan_no_op(self, order: FillNonce) -> NonceFill:
        """See `TransactionActivities.plan_no_op`."""
        return await self._filler.plan(order)

    @activity.defn
    async def release_chain(self, order: ReleaseChain) -> ChainReleased:
        """See `TransactionActivities.release_chain`."""
        problem = await self._promises.release(order.who, order.why)
        return ChainReleased(chain_id=order.chain_id, cleared=problem is not None, problem=problem)
