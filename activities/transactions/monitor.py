"""Watching one chain, block by block: what is out, what came back, what people have to know of.

Deliveries look after their own transactions. This looks after the rest: those whose worker was
killed, those that are mined and not final, the nonces of accounts, and the chain itself. Several
processes may run it; one at a time watches, and nothing breaks if two do.
"""

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import psycopg
import structlog
from psycopg.types.json import Jsonb

from activities.rpc.client import Rpc
from activities.transactions.alerts import AlertKind, Alerts
from activities.transactions.broadcast import Broadcaster
from activities.transactions.interface import FillNonce
from activities.transactions.nonces import NonceHealth, Nonces
from activities.transactions.promises import Checkpoint, Promises
from activities.transactions.store import Pool, TransactionStore
from activities.transactions.tracker import Look, Tracker
from activities.transactions.unsettled import Change, Unsettled, UnsettledStore
from domain.chains import ChainProfile
from domain.errors import DealError, OutcomeUnknown, Unavailable
from domain.identifiers import Address
from domain.tracking import OUT, Notice
from domain.transactions import IntentState

_log = structlog.get_logger(__name__)

_LEASE_BLOCKS: Final = 3
_STALLED_BLOCKS: Final = 10
_UNSENT_SECONDS: Final = 60.0
_WATCH: Final = """
INSERT INTO transactions.chain_status AS s (chain_id, watcher, watches_until)
VALUES (%(chain_id)s, %(watcher)s, now() + make_interval(secs => %(seconds)s))
ON CONFLICT (chain_id) DO UPDATE
    SET watcher = excluded.watcher, watches_until = excluded.watches_until
    WHERE s.watcher = excluded.watcher OR s.watches_until < now()
RETURNING watcher
"""
_OBSERVE: Final = """
UPDATE transactions.chain_status SET observed = %s, updated_at = now() WHERE chain_id = %s
"""

Fill = Callable[[FillNonce], Awaitable[None]]
"""Has nonces filled with no-ops; returns when that has begun."""
Tell = Callable[[Notice], Awaitable[None]]
"""Tells a deal; returns also if the deal is closed and need not know."""


@dataclass(frozen=True)
class Surroundings:
    """What the monitor acts upon outside the engine."""

    tell: Tell
    fill: Fill
    under_way: Callable[[], set[str]]
    """The intents that deliveries of this process look after."""


class ChainMonitor:
    """Watches one chain for as long as `run` runs."""

    def __init__(  # noqa: PLR0913 - what watching needs
        self,
        profile: ChainProfile,
        rpc: Rpc,
        pool: Pool,
        treasury: Address,
        *,
        broadcaster: Broadcaster,
        around: Surroundings,
    ) -> None:
        """Take the chain's connections, the engine's database, and whom to turn to."""
        self._profile = profile
        self._rpc = rpc
        self._pool = pool
        self._treasury = treasury
        self._around = around
        block = profile.block_time_seconds
        self._alerts = Alerts(profile.chain_id, pool, shown_seconds=max(30.0, 10.0 * block))
        self._store = TransactionStore(pool)
        self._intents = UnsettledStore(profile.chain_id, pool)
        self._tracker = Tracker(profile, rpc)
        self._broadcaster = broadcaster
        self._nonces = Nonces(profile.chain_id, pool)
        self.promises = Promises(profile, rpc, pool)
        self._name = f"{socket.gethostname()}-{os.getpid()}-{id(self):x}"
        self._head = (-1, 0.0)

    async def run(self) -> None:
        """Look once now, whoever watches, and then about once a block while nobody else does."""
        first = True
        while True:
            # A failure of a node or the database is waited through, and said: it does not end this.
            try:
                if await self.watches() or first:
                    await self.round()
                first = False
            except (DealError, psycopg.Error) as error:
                _log.warning("cannot watch", chain=self._profile.chain_id, reason=str(error))
            await asyncio.sleep(self._profile.block_time_seconds)

    async def round(self) -> None:
        """Look at everything once, and do what follows."""
        checkpoint = await self.promises.checkpoint()
        intents = await self._intents.all()
        blocks = [checkpoint[0]] if checkpoint else []
        look = await self._tracker.look(intents, accounts=[self._treasury], blocks=blocks)
        standing = await self.promises.check(look, checkpoint)
        if checkpoint is not None and standing.broken is not None:
            await self._on_violation(standing.broken, checkpoint)
        made = await self._intents.apply(standing.allowed(look.changes))
        await self._tell_of(made)
        await self._send_what_is_missing(intents, look)
        health = await self._nonces.check(look.nonces)
        await self._tell_of_nonces(health)
        await self._tell_of_waiting(intents, look)
        await self._alerts.clear_old()
        await self._observe(look, health)

    async def watches(self) -> bool:
        """Take or keep the watch; False while another process has it."""
        seconds = float(max(2, _LEASE_BLOCKS * self._profile.block_time_seconds))
        lease = {"chain_id": self._profile.chain_id, "watcher": self._name, "seconds": seconds}
        async with self._pool.connection() as connection:
            cursor = await connection.execute(_WATCH, lease)
            return await cursor.fetchone() is not None

    async def _on_violation(self, broken: OutcomeUnknown, checkpoint: Checkpoint) -> None:
        kind = AlertKind.LATCH if self._halts else AlertKind.REORG
        await self._alerts.notice(kind, f"chain {self._profile.chain_id}", broken)
        await self.promises.latch(broken, checkpoint)
        if not self._halts:
            await self.promises.release("the chain's profile", "finality.on_violation is resend")

    @property
    def _halts(self) -> bool:
        return self._profile.finality.on_violation == "halt"

    async def _tell_of(self, made: Sequence[Change]) -> None:
        for change in made:
            if change.undone:
                error = _undone(change)
                await self._alerts.notice(AlertKind.REORG, change.intent.intent_id, error)
        for notice in await self._intents.unsent_notices():
            await self._around.tell(notice)
            await self._intents.notice_sent(notice.notice_id)

    async def _send_what_is_missing(self, intents: Sequence[Unsettled], look: Look) -> None:
        """Send what is signed and not mined, unless a delivery of this process does.

        Nor what a halt stops, unless it was mined before: then later ones build upon it.
        """
        changed = {change.intent.intent_id: change.path[-1] for change in look.changes}
        looked_after = self._around.under_way()
        halted = await self._intents.halted()
        pending = [
            intent.attempts[-1]
            for intent in intents
            if changed.get(intent.intent_id, intent.state) in OUT
            and intent.attempts
            and intent.nonce >= look.nonces[intent.sender]
            and intent.intent_id not in looked_after
            and (intent.intent_id not in halted or intent.mined_hash or intent.attempts[-1].no_op)
        ]
        after = self._profile.goes_public_after
        limit = None if after is None else after * self._profile.block_time_seconds
        late = [a for a in pending if limit is not None and a.age_seconds > limit]
        await self._broadcaster.send([a for a in pending if a not in late])
        await self._broadcaster.send(late, public=True)

    async def _tell_of_nonces(self, health: Sequence[NonceHealth]) -> None:
        for account in health:
            if account.foreign:
                error = account.used_elsewhere()
                await self._alerts.notice(AlertKind.FOREIGN_NONCE, account.address, error)
            if account.taken_back:
                await self._alerts.notice(AlertKind.REORG, account.address, account.behind())
                first, last = account.taken_back[0], account.taken_back[-1]
                await self._broadcaster.resend(account.address, first, last + 1)
            if account.gap:
                await self._alerts.notice(AlertKind.NONCE_GAP, account.address, account.missing())
                await self._repair(account)

    async def _repair(self, account: NonceHealth) -> None:
        """Send what was signed for the missing nonces, and have the others filled."""
        lost = [
            nonce
            for nonce in account.gap
            if not await self._broadcaster.resend(account.address, nonce, nonce + 1)
        ]
        if not lost:
            return
        last = await self._store.last_batch(self._profile.chain_id, account.address)
        if last is None:
            return
        for nonce in lost:
            await self._around.fill(
                FillNonce(
                    chain_id=self._profile.chain_id,
                    account=account.address,
                    deal_id=last.key.deal_id,
                    deal_account=last.account,
                    step=last.key.step,
                    nonce=nonce,
                )
            )

    async def _tell_of_waiting(self, intents: Sequence[Unsettled], look: Look) -> None:
        for intent in intents:
            if intent.state is IntentState.PREPARED and intent.seconds > _UNSENT_SECONDS:
                await self._alerts.notice(AlertKind.UNSENT, intent.intent_id, _unsent(intent))
        now = asyncio.get_running_loop().time()
        if look.head.number != self._head[0]:
            self._head = (look.head.number, now)
        still = now - self._head[1]
        out = any(intent.state in OUT for intent in intents)
        if out and still > _STALLED_BLOCKS * self._profile.block_time_seconds:
            error = _stalled(self._profile, look.head.number, still)
            subject = f"chain {self._profile.chain_id}"
            await self._alerts.notice(AlertKind.HEAD_STALLED, subject, error)

    async def _observe(self, look: Look, health: Sequence[NonceHealth]) -> None:
        observed: dict[str, Any] = {
            "head": look.head.number,
            "head_timestamp": look.head.timestamp,
            "base_fee_wei": None if look.head.base_fee is None else str(look.head.base_fee),
            "priority_fee_wei": str(look.fees.priority_fee),
            "finalized": look.finalized,
            "watcher": self._name,
            "endpoints": [status.model_dump(mode="json") for status in self._rpc.status()],
            "accounts": [account.document() for account in health],
        }
        async with self._pool.connection() as connection:
            await connection.execute(_OBSERVE, (Jsonb(observed), self._profile.chain_id))


def _undone(change: Change) -> Unavailable:
    return Unavailable(
        "a transaction's block was undone; the same transaction is sent again",
        field="intent",
        value=change.intent.intent_id,
        limit=change.intent.block_hash,
        actual="in no block" if change.receipt is None else change.receipt.block_hash,
        next_action="wait: the deal goes on when it is mined again",
    )


def _unsent(intent: Unsettled) -> Unavailable:
    return Unavailable(
        "a transaction has a nonce and is not signed: what comes after it cannot be mined",
        field="intent",
        value=intent.intent_id,
        limit=_UNSENT_SECONDS,
        actual=f"{intent.seconds:.0f} seconds",
        next_action="look whether the signer runs, and what its log says that it waits for; then "
        "whether the deal's workflow runs",
    )


def _stalled(profile: ChainProfile, head: int, seconds: float) -> Unavailable:
    return Unavailable(
        f"chain {profile.chain_id} has had no block for {seconds:.0f} seconds",
        field="head",
        value=head,
        limit=_STALLED_BLOCKS * profile.block_time_seconds,
        actual=f"{seconds:.0f} seconds",
        next_action="check the endpoints and the chain itself; transactions wait meanwhile",
    )
