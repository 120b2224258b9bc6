"""Delivering signed batches: save, send, send again, look, confirm.

What is sent is only ever what was saved. Whether it worked is decided by looking at the chain,
never by what an endpoint answered to the sending.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Final

import structlog

from activities.halts.standing import Halts
from activities.protocols.multicall import Read
from activities.protocols.reader import ChainReader
from activities.transactions.broadcast import Broadcaster
from activities.transactions.finality import newest_final
from activities.transactions.heads import HeadWatcher
from activities.transactions.interface import DeliverBatch, Delivery
from activities.transactions.outbidding import Outbidder
from activities.transactions.outcomes import OutcomeReader
from activities.transactions.receipts import Sighting, look_for
from activities.transactions.recheck import is_due, recheck, recheck_loan
from activities.transactions.simulation import Simulator
from activities.transactions.store import Attempt, TransactionStore
from activities.transactions.unknowns import Unknowns
from domain.errors import (
    DealError,
    Halted,
    NotAllowed,
    OutcomeUnknown,
    Problem,
    Unavailable,
)
from domain.halts import halted
from domain.transactions import Intent

_log = structlog.get_logger(__name__)

_BLOCKS_OF_SILENCE: Final = 2
"""A head that stands still for that many block times is no reason not to look and send again."""
_NOT_SEEN: Final = -1
_MOMENT_SECONDS: Final = 0.25
"""What was saved longer ago than this is asked about again before it is sent."""


@dataclass
class _Watch:
    """One try of delivering one batch."""

    order: DeliverBatch
    attempts: list[Attempt]
    reads: list[Read]
    resend: bool
    """Whether to send what the next look does not find."""
    first_head: int = _NOT_SEEN
    lost: set[str] = field(default_factory=set)
    """Intents whose nonces somebody else has used."""

    @property
    def newest(self) -> dict[str, Attempt]:
        """The newest attempt of each intent."""
        return {attempt.intent_id: attempt for attempt in self.attempts}

    def settled(self, sighting: Sighting, confirmations: int) -> bool:
        """Whether nothing can come of this batch any more but what is in the chain."""
        waiting = [i for i in sighting.missing(self.order.batch) if i.intent_id not in self.lost]
        return not waiting and sighting.confirmed(confirmations)


class Deliverer:
    """Delivers batches on one chain."""

    def __init__(  # noqa: PLR0913 - what delivering needs
        self,
        reader: ChainReader,
        store: TransactionStore,
        broadcaster: Broadcaster,
        *,
        outcomes: OutcomeReader,
        outbidder: Outbidder,
        unknowns: Unknowns,
        halts: Halts,
    ) -> None:
        """Take what one chain's batches are delivered with."""
        self._profile = profile = reader.profile
        self._reader = reader
        self._rpc = reader.rpc
        self._store = store
        self._broadcaster = broadcaster
        self._outcomes = outcomes
        self._outbidder = outbidder
        self._unknowns = unknowns
        self._halts = halts
        self._simulator = Simulator(profile, reader.rpc)
        self._heads = HeadWatcher(reader.rpc, float(profile.limits.poll_interval_seconds))
        self.under_way: set[str] = set()
        """The intents that a delivery of this process looks after."""

    async def deliver(self, order: DeliverBatch) -> Delivery:
        """Return the confirmed outcome, or what has to be signed before there can be one.

        Raises `Unavailable` when the time limit passes without inclusion and `OutcomeUnknown` when
        it passes although the nonces are used: the retry goes on looking.
        """
        if await self._is_stale(order):
            return _all_no_ops(order)
        saving = time.monotonic()
        try:
            attempts, sent_before = await self._store.save_attempts(order.batch, order.signed)
        except (Halted, NotAllowed) as error:
            _log.warning("not sent", **error.problem.model_dump(exclude_none=True))
            attempts, sent_before = await self._store.attempts(order.batch), True
            if not attempts:
                return _all_no_ops(order, error.problem)
        watch = _Watch(order, attempts, self._outcomes.position_reads(order), resend=sent_before)
        limit = self._profile.limits.submission_timeout_seconds
        try:
            async with self._looking_after(order), asyncio.timeout(limit):
                # What may have been sent before is looked for before it is sent again.
                if not sent_before and not await self._came_too_late(order, saving):
                    await self._broadcaster.send(list(watch.newest.values()))
                return await self._wait(watch)
        except TimeoutError:
            raise await self._overdue(watch) from None

    async def _came_too_late(self, order: DeliverBatch, saving: float) -> bool:
        """Whether a halt has come since what is to be sent was saved, when it was let through.

        That is a moment, unless this process was stopped or is short of processor time.
        """
        if time.monotonic() - saving < _MOMENT_SECONDS:
            return False
        return await self._halts.of_batch(order.batch.key) is not None

    async def _is_stale(self, order: DeliverBatch) -> bool:
        """Whether the state has moved on so far that the batch must not be sent for the first time.

        Then none of it is saved as an attempt, so that nobody ever sends it, and its nonces go to
        no-ops.
        """
        if any(signed.no_op for signed in order.signed) or await self._store.attempts(order.batch):
            return False
        if is_due(self._profile, order.batch, time.time()):
            problem = await recheck(self._simulator, self._reader, order.batch, order.request)
        else:
            problem = await recheck_loan(self._reader, order.batch, order.request)
        if problem is not None:
            _log.warning("not sent: the state has moved", **problem.model_dump(exclude_none=True))
        return problem is not None

    @asynccontextmanager
    async def _looking_after(self, order: DeliverBatch) -> AsyncIterator[None]:
        ours = {intent.intent_id for intent in order.batch.intents}
        self.under_way |= ours
        try:
            yield
        finally:
            self.under_way -= ours

    async def _wait(self, watch: _Watch) -> Delivery:
        """Look until it is confirmed, or until something has to be signed."""
        order, batch = watch.order, watch.order.batch
        while True:
            sighting = await look_for(
                self._rpc, batch, watch.attempts, self._reader.read_call(watch.reads)
            )
            if watch.first_head == _NOT_SEEN:
                watch.first_head = sighting.head
            watch.lost |= await self._unknowns.look(batch, watch.attempts, sighting)
            if watch.settled(sighting, self._profile.confirmations):
                return await self._conclude(watch, sighting)
            pending = sighting.pending(batch)
            halt = await self._halts.of_batch(batch.key) if pending else None
            if order.replaceable and pending:
                because = None if halt is None else halted(halt).problem
                wanted = await self._wanted(watch, sighting, because)
                if wanted is not None:
                    return wanted
            if watch.resend and pending:
                await self._resend(watch, sighting, pending, halted=halt is not None)
            watch.resend = True
            await self._next_head(watch, sighting.head, pending=bool(pending))
            # Somebody may have sent another attempt meanwhile: `deal tx bump` and `cancel` do.
            watch.attempts = await self._store.attempts(batch)

    async def _wanted(
        self, watch: _Watch, sighting: Sighting, halt: Problem | None
    ) -> Delivery | None:
        """What has to be signed: under a halt no-ops, also in place of a loan too large by now."""
        order, waited = watch.order, sighting.head - watch.first_head
        wanted = await self._outbidder.wanted(
            order, sighting, watch.attempts, waited, unwanted=halt is not None
        )
        if wanted is None or halt is not None:
            return wanted and wanted.model_copy(update={"because": halt})
        if not wanted.replacements or sighting.pending(order.batch) != [*order.batch.intents]:
            return wanted
        problem = await recheck_loan(self._reader, order.batch, order.request)
        if problem is None:
            return wanted
        _log.warning("not bid for again", **problem.model_dump(exclude_none=True))
        return await self._outbidder.wanted(order, sighting, watch.attempts, waited, unwanted=True)

    async def _resend(
        self, watch: _Watch, sighting: Sighting, pending: list[Intent], *, halted: bool
    ) -> None:
        """Send again what is pending, and what comes before it, which may be missing, too.

        Under a halt of the pending only no-ops: what was sent may be mined, but is not pushed.
        """
        first, newest = pending[0], watch.newest
        await self._broadcaster.resend_undone(watch.order.batch.key.deal_id)
        await self._broadcaster.resend(first.sender, sighting.mined_nonce, first.nonce)
        after = self._profile.goes_public_after
        public = after is not None and sighting.head - watch.first_head >= after
        attempts = [newest[i.intent_id] for i in pending]
        wanted = [attempt for attempt in attempts if attempt.no_op or not halted]
        await self._broadcaster.send(wanted, public=public)

    async def _conclude(self, watch: _Watch, sighting: Sighting) -> Delivery:
        outcome = await self._outcomes.outcome(watch.order, sighting, watch.reads)
        highest = max((i.block_number for i in outcome.inclusions), default=sighting.head)
        final = highest <= newest_final(self._profile, sighting.head)
        await self._store.include(outcome.inclusions)
        return Delivery(outcome=outcome, final=final)

    async def _overdue(self, watch: _Watch) -> DealError:
        """The error to end this try with; the next one begins by looking."""
        intents = watch.order.batch.intents
        nonce = await self._rpc.call("eth_getTransactionCount", intents[0].sender, "latest")
        used = int(nonce, 16) > intents[-1].nonce
        kind = OutcomeUnknown if used else Unavailable
        return kind(
            "the nonces are used but receipts are missing"
            if used
            else "the transactions were not included in time",
            field="submission_timeout_seconds",
            value=watch.order.batch.key,
            limit=self._profile.limits.submission_timeout_seconds,
            actual=", ".join(attempt.transaction_hash for attempt in watch.attempts),
            next_action="the engine goes on looking; check the node and the fee cap",
        )

    async def _next_head(self, watch: _Watch, head: int, *, pending: bool) -> None:
        """Wait for a block that there is a reason to look at.

        What waits to be mined need only be looked at when it is, and sent again about once a block:
        where blocks are instant, the many between are other deals'. For confirmations every block
        counts. Not for ever: where no block comes, looking again may help.
        """
        clock, block_time = asyncio.get_running_loop().time, self._profile.block_time_seconds
        ours = {attempt.transaction_hash for attempt in watch.attempts}
        due = clock() + block_time / 2
        with suppress(TimeoutError):
            async with asyncio.timeout(_BLOCKS_OF_SILENCE * block_time):
                while (newer := await self._heads.after(head)) and pending and clock() < due:
                    mined = self._heads.mined(head, newer)
                    if mined is None or not ours.isdisjoint(mined):
                        return
                    head = newer


def _all_no_ops(order: DeliverBatch, because: Problem | None = None) -> Delivery:
    """Ask for a no-op in place of everything, at the fees that it was signed with."""
    fees = {intent.intent_id: intent.fees for intent in order.batch.intents}
    return Delivery(no_ops=fees, because=because)
