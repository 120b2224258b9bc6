"""Delivering signed batches: save, send, send again, look, confirm.

What is sent is only ever what was saved. Whether it worked is decided by looking at the chain,
never by what an endpoint answered to the sending.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

import structlog
from temporalio import activity

from activities.protocols import multicall
from activities.protocols.effects import EffectReader
from activities.protocols.reader import ChainReader, position_from
from activities.protocols.reverts import reason_of
from activities.rpc.client import RpcCall, RpcError
from activities.rpc.fees import fee_level, price_call
from activities.transactions.broadcast import Broadcaster
from activities.transactions.heads import HeadWatcher
from activities.transactions.interface import DeliverBatch, Delivery
from activities.transactions.receipts import (
    Sighting,
    changes_of,
    gas_paid_by,
    inclusions_of,
    look_for,
)
from activities.transactions.store import Attempt, TransactionStore
from domain.errors import (
    DealError,
    LimitExceeded,
    OutcomeUnknown,
    Problem,
    TransactionReverted,
    Unavailable,
)
from domain.identifiers import Address
from domain.positions import Position
from domain.transactions import (
    Asset,
    Fees,
    Inclusion,
    Intent,
    PreparedBatch,
    StepOutcome,
    added_up,
    check_bounds,
)

_log = structlog.get_logger(__name__)
_HEARTBEAT_SECONDS: Final = 5.0
_BLOCKS_OF_SILENCE: Final = 2
"""A head that stands still for that many block times is no reason not to look and send again."""
_NO_BLOCK: Final = -1


class Deliverer:
    """Delivers batches on one chain."""

    def __init__(
        self,
        reader: ChainReader,
        store: TransactionStore,
        broadcaster: Broadcaster,
        treasury: Address,
    ) -> None:
        """Take what one chain's batches are delivered with."""
        self._reader = reader
        self._profile = profile = reader.profile
        self._rpc = rpc = reader.rpc
        self._store = store
        self._broadcaster = broadcaster
        self._treasury = treasury
        self._heads = HeadWatcher(rpc, float(profile.limits.poll_interval_seconds))

    async def deliver(self, order: DeliverBatch) -> Delivery:
        """Return the confirmed outcome, or the fees without which it will not be included.

        Raises `Unavailable` when the time limit passes without inclusion and `OutcomeUnknown` when
        it passes although the nonces are used: the retry goes on looking.
        """
        attempts, sent_before = await self._store.save_attempts(order.batch, order.signed)
        newest = {attempt.intent_id: attempt for attempt in attempts}
        limit = self._profile.limits.submission_timeout_seconds
        try:
            async with _heartbeats(), asyncio.timeout(limit):
                # What may have been sent before is looked for before it is sent again.
                if not sent_before:
                    await self._broadcaster.send(list(newest.values()))
                return await self._wait(order, attempts, newest, resend=sent_before)
        except TimeoutError:
            raise await self._overdue(order, attempts) from None

    async def finalize(self, mined: Mapping[str, tuple[str, int, str]]) -> None:
        """Wait until these intents (hash, block number, block hash) are final.

        Raises `OutcomeUnknown` if a block was replaced by another.
        """
        highest = max(number for _, number, _ in mined.values())
        async with _heartbeats():
            while not await self._is_final(highest):
                await self._next_head(int(await self._rpc.call("eth_blockNumber"), 16))
        answers = await self._rpc.batch(
            [RpcCall("eth_getTransactionReceipt", (tx_hash,)) for tx_hash, _, _ in mined.values()]
        )
        for (intent_id, (_, _, block_hash)), answer in zip(mined.items(), answers, strict=True):
            receipt = self._rpc.expect(answer)
            if receipt is None or receipt["blockHash"] != block_hash:
                raise OutcomeUnknown(
                    "a confirmed transaction is no longer where it was",
                    field="intent",
                    value=intent_id,
                    limit=block_hash,
                    actual=receipt and receipt["blockHash"],
                    next_action="the chain was reorganised: stop deals on it and look",
                )

    async def _wait(
        self,
        order: DeliverBatch,
        attempts: list[Attempt],
        newest: Mapping[str, Attempt],
        *,
        resend: bool,
    ) -> Delivery:
        """Look until it is confirmed; `resend` says to send what the first look does not find."""
        batch, first_head = order.batch, -1
        reads = self._reader.position_reads(
            self._profile.module(order.request.module), batch.account
        )
        while True:
            sighting = await look_for(self._rpc, batch, attempts, self._reader.read_call(reads))
            self._heads.seen(sighting.head)
            first_head = sighting.head if first_head < 0 else first_head
            if sighting.confirmed(batch, self._profile.confirmations):
                return await self._conclude(order, sighting, reads)
            missing = sighting.missing(batch)
            await self._note_unknown(missing, sighting)
            pending = [i for i in missing if i.nonce >= sighting.mined_nonce]
            passed_over = sighting.head - first_head >= self._profile.fees.bump_after_blocks
            if order.replaceable and passed_over:
                replacements = await self._replacements(order, pending, newest)
                if replacements:
                    return Delivery(replacements=replacements)
            if resend and pending:
                # What comes before them may be missing too, with nobody looking after it.
                first = pending[0]
                await self._broadcaster.resend_undone(batch.key.deal_id)
                await self._broadcaster.resend(first.sender, sighting.mined_nonce, first.nonce)
                await self._broadcaster.send([newest[i.intent_id] for i in pending])
            resend = True
            await self._next_head(sighting.head)

    async def _conclude(
        self, order: DeliverBatch, sighting: Sighting, reads: list[multicall.Read]
    ) -> Delivery:
        batch = order.batch
        inclusions = inclusions_of(batch, sighting)
        position = await self._position_after(order, inclusions, reads, sighting.extra)
        module = self._profile.module(order.request.module)
        effects = EffectReader(self._profile, module)
        changes = changes_of(effects, batch.account, batch, inclusions, sighting)
        home = added_up(changes_of(effects, self._treasury, batch, inclusions, sighting))
        home[Asset.ETHER] = home.get(Asset.ETHER, 0) - gas_paid_by(
            self._treasury, batch, inclusions
        )
        final = self._final_by_depth(sighting.head, inclusions)
        await self._store.include(inclusions, final=final)
        return Delivery(
            outcome=StepOutcome(
                key=batch.key,
                inclusions=inclusions,
                changes=added_up(changes),
                treasury_changes=home,
                position=position,
                problem=await self._problem(batch, inclusions, changes),
            ),
            final=final,
        )

    async def _position_after(
        self,
        order: DeliverBatch,
        inclusions: tuple[Inclusion, ...],
        reads: list[multicall.Read],
        answer: Any,  # noqa: ANN401 - JSON of any shape
    ) -> Position:
        """The account after these inclusions, by this answer, or by looking once more.

        The calls of one request may be answered from different blocks, as a cluster does, and a
        node that mines meanwhile may call on the new state with the old clock, which reverts.
        Raises `Unavailable` if the node is still behind its own receipts.
        """
        module, account = order.request.module, order.batch.account
        if not isinstance(answer, RpcError):
            decimals = await self._reader.decimals(module)
            position = position_from(account, decimals, multicall.decode_reads(reads, answer))
            if _is_after(position, inclusions):
                return position
        position = await self._reader.position(module, account)
        if _is_after(position, inclusions):
            return position
        raise Unavailable(
            "the node's state is behind its own receipts",
            field="endpoints",
            value=self._profile.chain_id,
            limit=max(inclusion.block_number for inclusion in inclusions),
            actual=position.block_number,
            next_action="wait: the engine looks again",
        )

    async def _problem(
        self,
        batch: PreparedBatch,
        inclusions: tuple[Inclusion, ...],
        changes: Sequence[Mapping[Asset, int]],
    ) -> Problem | None:
        """Why the step did not do what it promised, if it did not."""
        for intent, inclusion in zip(batch.intents, inclusions, strict=True):
            if not inclusion.succeeded:
                reason = await self._revert_reason(intent, inclusion)
                return TransactionReverted(
                    f"{intent.purpose} reverted: {reason}",
                    field=intent.purpose,
                    value=inclusion.transaction_hash,
                    actual=reason,
                    next_action="the deal builds the step anew or unwinds by itself",
                ).problem
        try:
            check_bounds(changes, batch.bounds)
        except DealError as error:
            return error.problem
        return None

    async def _revert_reason(self, intent: Intent, inclusion: Inclusion) -> str:
        """The reason, by calling it again.

        First on the state after its block, which has what came before it in the batch, then on the
        state before.
        """
        call = {
            "from": intent.sender,
            "to": intent.to,
            "data": intent.data,
            "value": hex(intent.value),
        }
        blocks = (inclusion.block_number, inclusion.block_number - 1)
        answers = await self._rpc.batch([RpcCall("eth_call", (call, hex(b))) for b in blocks])
        for answer in answers:
            if isinstance(answer, RpcError):
                return reason_of(answer.data) or answer.message
        return "no reason found: the call succeeds on the states before and after its block"

    async def _replacements(
        self, order: DeliverBatch, pending: list[Intent], newest: Mapping[str, Attempt]
    ) -> dict[str, Fees]:
        """Higher fees for what was passed over, where they help and the account can pay them."""
        if not pending or _must_keep_fees(pending):
            return {}
        history = await self._rpc.batch([price_call(self._profile.fees)])
        level = fee_level(self._profile, self._rpc.expect(history[0]))
        level = level.under(order.request.max_fee_per_gas_wei)
        bumped = {i.intent_id: level.replacement(newest[i.intent_id].fees).fees for i in pending}
        fees = {intent_id: fees for intent_id, fees in bumped.items() if fees is not None}
        try:
            order.batch.with_fees(fees)
        except LimitExceeded as error:
            _log.warning("no higher fee", **error.problem.model_dump(exclude_none=True))
            return {}
        return fees

    async def _note_unknown(self, missing: list[Intent], sighting: Sighting) -> None:
        unknown = [i.intent_id for i in missing if i.nonce < sighting.mined_nonce]
        if unknown:
            await self._store.mark_unknown(unknown)

    async def _overdue(self, order: DeliverBatch, attempts: list[Attempt]) -> DealError:
        """The error to end this try with; the next one begins by looking."""
        nonce = await self._rpc.call(
            "eth_getTransactionCount", order.batch.intents[0].sender, "latest"
        )
        used = int(nonce, 16) > order.batch.intents[-1].nonce
        kind = OutcomeUnknown if used else Unavailable
        return kind(
            "the nonces are used but receipts are missing"
            if used
            else "the transactions were not included in time",
            field="submission_timeout_seconds",
            value=order.batch.key,
            limit=self._profile.limits.submission_timeout_seconds,
            actual=", ".join(attempt.transaction_hash for attempt in attempts),
            next_action="the engine goes on looking; check the node and the fee cap",
        )

    async def _next_head(self, head: int) -> None:
        """Wait for another block, but not for ever: where none comes, looking again may help."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_BLOCKS_OF_SILENCE * self._profile.block_time_seconds):
                await self._heads.after(head)

    def _final_by_depth(self, head: int, inclusions: tuple[Inclusion, ...]) -> bool:
        finality = self._profile.finality
        highest = max(inclusion.block_number for inclusion in inclusions)
        return finality.kind == "depth" and head - highest >= finality.depth

    async def _is_final(self, block_number: int) -> bool:
        return await self._final_head() >= block_number

    async def _final_head(self) -> int:
        """The newest block that cannot be undone."""
        finality = self._profile.finality
        if finality.kind == "tag":
            block: dict[str, Any] | None = await self._rpc.call(
                "eth_getBlockByNumber",
                "finalized",
                False,  # noqa: FBT003 - JSON-RPC positional
            )
            # A young chain, and a node that has just started, know of no such block.
            return int(block["number"], 16) if block else _NO_BLOCK
        return int(await self._rpc.call("eth_blockNumber"), 16) - finality.depth


def _is_after(position: Position, inclusions: tuple[Inclusion, ...]) -> bool:
    """Whether the position has seen every one of these transactions."""
    return all(position.block_number >= inclusion.block_number for inclusion in inclusions)


def _must_keep_fees(pending: list[Intent]) -> bool:
    """Whether a higher fee would use up ether that a later one of them has promised to send.

    The last one of a sweep sends what the gas before it leaves over, at the fees that were signed.
    """
    return len(pending) > 1 and pending[-1].spends_rest


@asynccontextmanager
async def _heartbeats() -> AsyncIterator[None]:
    """Tell Temporal all the while that this delivery is alive, however slow a node may answer."""

    async def beat() -> None:
        while True:  # most deliveries are over before the first one, which would cost the server
            await asyncio.sleep(_HEARTBEAT_SECONDS)
            activity.heartbeat()

    beating = asyncio.create_task(beat())
    try:
        yield
    finally:
        beating.cancel()
