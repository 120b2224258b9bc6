"""Intents whose nonce is used and that have no receipt: looked for until it is known whose."""

from typing import Any, Final

from activities.rpc.client import Rpc, RpcCall
from activities.transactions.alerts import AlertKind, Alerts
from activities.transactions.finality import final_head
from activities.transactions.receipts import Sighting
from activities.transactions.store import Attempt, TransactionStore, UnknownIntent
from domain.chains import ChainProfile
from domain.errors import Conflict, OutcomeUnknown
from domain.transactions import PreparedBatch

_BLOCKS_TO_SETTLE: Final = 2


class Unknowns:
    """Resolves on one chain what became of intents, by looking and never by sending."""

    def __init__(
        self, profile: ChainProfile, rpc: Rpc, store: TransactionStore, alerts: Alerts
    ) -> None:
        """Take the chain's connections, and whom to tell."""
        self._profile = profile
        self._rpc = rpc
        self._store = store
        self._alerts = alerts

    async def look(
        self, batch: PreparedBatch, attempts: list[Attempt], sighting: Sighting
    ) -> set[str]:
        """Note what is unknown now, and return the intents whose nonces others have used.

        That is only said of a nonce whose use is final, after the deadline, and if no endpoint has
        a receipt of any attempt.
        """
        ids = [i.intent_id for i in sighting.missing(batch) if i.nonce < sighting.mined_nonce]
        if not ids:
            return set()
        unknown = await self._store.mark_unknown(ids, head=sighting.head)
        for intent in unknown:
            # Nodes count a nonce a moment before they have the receipt.
            if intent.seconds < _BLOCKS_TO_SETTLE * self._profile.block_time_seconds:
                continue
            await self._alerts.notice(AlertKind.UNKNOWN, intent.intent_id, _unknown(intent))
        lost = [i.intent_id for i in unknown if await self._is_lost(i, attempts)]
        if lost:
            await self._store.mark_used_elsewhere(lost)
            for intent_id in lost:
                await self._alerts.notice(
                    AlertKind.FOREIGN_NONCE, batch.intents[0].sender, _foreign(batch, intent_id)
                )
        return await self._store.used_elsewhere(ids)

    async def _is_lost(self, intent: UnknownIntent, attempts: list[Attempt]) -> bool:
        if intent.seconds < self._profile.limits.unknown_deadline_seconds:
            return False
        if await final_head(self._rpc, self._profile) < intent.head:
            return False
        hashes = [a.transaction_hash for a in attempts if a.intent_id == intent.intent_id]
        calls = [RpcCall("eth_getTransactionReceipt", (each,)) for each in hashes]
        everywhere: list[list[Any]] = await self._rpc.everywhere(calls)
        if len(everywhere) < len(self._profile.endpoints):
            return False  # the one that does not answer may have it
        return all(answer is None for answers in everywhere for answer in answers)


def _unknown(intent: UnknownIntent) -> OutcomeUnknown:
    return OutcomeUnknown(
        "the nonce is used but no attempt has a receipt",
        field="intent",
        value=intent.intent_id,
        actual=f"for {intent.seconds:.0f} seconds",
        next_action="the engine goes on looking; check the endpoints",
    )


def _foreign(batch: PreparedBatch, intent_id: str) -> Conflict:
    intent = next(each for each in batch.intents if each.intent_id == intent_id)
    return Conflict(
        "somebody else has used a nonce of this account",
        field="account",
        value=intent.sender,
        limit="this engine alone signs for it",
        actual=f"nonce {intent.nonce}, given to {intent_id}",
        next_action="find out who else holds the key; the deal goes on with new nonces",
    )
