"""When another attempt is needed: a higher bid for the same, or a no-op in its place."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from activities.rpc.client import Rpc, RpcCall
from activities.rpc.fees import FeeLevel, ReplacementReason, fee_level, price_call
from activities.transactions.alerts import AlertKind, Alerts
from activities.transactions.interface import DeliverBatch, Delivery
from activities.transactions.receipts import Sighting
from activities.transactions.store import Attempt
from domain.chains import ChainProfile
from domain.errors import LimitExceeded
from domain.transactions import Fees, Intent, PreparedBatch


@dataclass
class _Bids:
    same: dict[str, Fees] = field(default_factory=dict)
    no_ops: dict[str, Fees] = field(default_factory=dict)


class Outbidder:
    """Decides on one chain what a batch that is not mined needs."""

    def __init__(self, profile: ChainProfile, rpc: Rpc, alerts: Alerts) -> None:
        """Take the chain's fees and limits, and whom to tell that the cap is in the way."""
        self._profile = profile
        self._rpc = rpc
        self._alerts = alerts

    async def wanted(
        self,
        order: DeliverBatch,
        sighting: Sighting,
        attempts: list[Attempt],
        waited: int,
        *,
        unwanted: bool = False,
    ) -> Delivery | None:
        """What has to be signed for the pending intents, if anything.

        Those after one that failed must not happen any more, and none of them if `unwanted`; those
        that were passed over for `waited` blocks bid more, and those that are still not mined at
        their deadline although they bid enough become no-ops: nobody can say any more what has
        become of them.
        """
        pending, newest = sighting.pending(order.batch), {a.intent_id: a for a in attempts}
        doomed = (
            [i.intent_id for i in pending] if unwanted else after_failure(order.batch, sighting)
        )
        fresh = {i for i in doomed if not newest[i].no_op}
        if fresh and not unwanted and not await self._still_failed(sighting):
            fresh = set()
        overdue = self._overdue(pending, attempts)
        passed_over = waited >= self._profile.fees.bump_after_blocks
        if not fresh and not passed_over and not overdue:
            return None
        level = await self.level(order.request.max_fee_per_gas_wei)
        bids = _Bids()
        for intent in pending:
            attempt = newest[intent.intent_id]
            if intent.intent_id in fresh:
                await self._bid_no_op(bids, level, attempt)
            elif passed_over or intent.intent_id in overdue:
                await self._bid_more(bids, level, attempt, overdue=intent.intent_id in overdue)
        if not _affordable(order.batch, pending, bids.same):
            bids.same = {}
        if not bids.same and not bids.no_ops:
            return None
        return Delivery(replacements=bids.same, no_ops=bids.no_ops)

    async def _still_failed(self, sighting: Sighting) -> bool:
        """Whether what failed did so in a block that still stands.

        What is signed for it cannot be taken back, so one look, whose answers may be of two
        moments, is not enough.
        """
        failed = sighting.failed()
        calls = [
            RpcCall("eth_getTransactionReceipt", (sighting.mined[each].transaction_hash,))
            for each in failed
        ]
        answers = [self._rpc.expect(answer) for answer in await self._rpc.batch(calls)]
        return all(
            answer is not None and answer["blockHash"] == sighting.receipts[each]["blockHash"]
            for each, answer in zip(failed, answers, strict=True)
        )

    async def level(self, deal_cap: int | None) -> FeeLevel:
        """What gas costs now, under the chain's cap and the deal's."""
        (answer,) = await self._rpc.batch([price_call(self._profile.fees)])
        return fee_level(self._profile, self._rpc.expect(answer)).under(deal_cap)

    async def _bid_more(
        self, bids: _Bids, level: FeeLevel, attempt: Attempt, *, overdue: bool
    ) -> None:
        replacement = level.replacement(attempt.fees)
        if replacement.reason is ReplacementReason.COMPETITIVE:
            if overdue and not attempt.no_op:
                await self._bid_no_op(bids, level, attempt)
        elif replacement.fees is not None:
            (bids.no_ops if attempt.no_op else bids.same)[attempt.intent_id] = replacement.fees
        else:
            await self._capped(level, attempt)

    async def _bid_no_op(self, bids: _Bids, level: FeeLevel, attempt: Attempt) -> None:
        """Outbid an attempt with a no-op, whether or not it would be mined as it is."""
        fees = level.outbidding(attempt.fees).fees
        if fees is None:
            await self._capped(level, attempt)
        else:
            bids.no_ops[attempt.intent_id] = fees

    async def _capped(self, level: FeeLevel, attempt: Attempt) -> None:
        await self._alerts.notice(AlertKind.FEE_CAP, attempt.intent_id, capped(level, attempt))

    def _overdue(self, pending: Iterable[Intent], attempts: list[Attempt]) -> set[str]:
        oldest: Mapping[str, Attempt] = {a.intent_id: a for a in reversed(attempts)}
        limit = self._profile.limits.unknown_deadline_seconds
        return {i.intent_id for i in pending if oldest[i.intent_id].age_seconds > limit}


def capped(level: FeeLevel, attempt: Attempt) -> LimitExceeded:
    """The error of a transaction that no bid under the cap can help."""
    return LimitExceeded(
        "gas costs more than the fee cap allows: the same transaction is sent again and again",
        field="max_fee_per_gas_wei",
        value=attempt.fees.max_fee_per_gas,
        limit=level.cap,
        actual=level.expected_price,
        next_action="wait for the base fee to fall, or raise the cap in the profile",
    )


def after_failure(batch: PreparedBatch, sighting: Sighting) -> list[str]:
    """The pending intents that come after one that failed.

    The answers of one look may be of two moments, with a reorganisation in between: a receipt then
    tells of a failure in a block that is gone, while nonces before it are free again. So a failure
    counts only where its nonce is used, and never against what comes before it.
    """
    failed = set(sighting.failed())
    nonces = [
        intent.nonce
        for intent in batch.intents
        if intent.intent_id in failed and intent.nonce < sighting.mined_nonce
    ]
    return [i.intent_id for i in sighting.pending(batch) if nonces and i.nonce > min(nonces)]


def _affordable(batch: PreparedBatch, pending: list[Intent], fees: Mapping[str, Fees]) -> bool:
    """Whether the account can pay these fees.

    The last one of a sweep sends what the gas before it leaves over, at the fees that were signed:
    a higher fee before it would use up ether that it has promised to send.
    """
    if not fees or (len(pending) > 1 and pending[-1].spends_rest):
        return not fees
    try:
        batch.with_fees(fees)
    except LimitExceeded:
        return False
    return True
