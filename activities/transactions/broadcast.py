"""Sending signed bytes, and sending them again when a chain has forgotten them.

Blocks can be undone, even below what was called final: a node that comes back with an older chain
lacks transactions whose effects later steps build upon, and whose nonces later ones follow. Their
bytes are kept, and the same bytes can never have an effect twice.
"""

from typing import Final

import structlog

from activities.rpc.client import Rpc, RpcCall, RpcError
from activities.transactions.store import Attempt, TransactionStore
from domain.errors import Unavailable
from domain.identifiers import Address, ChainId, DealId

_log = structlog.get_logger(__name__)
_ALREADY_THERE: Final = ("already known", "already imported", "alreadyknown", "known transaction")


class Broadcaster:
    """Sends what was saved on one chain, to all its endpoints."""

    def __init__(self, chain_id: ChainId, rpc: Rpc, store: TransactionStore) -> None:
        """Take the chain's connections, and the attempts."""
        self._chain_id = chain_id
        self._rpc = rpc
        self._store = store

    async def send(self, attempts: list[Attempt]) -> None:
        """Send to every endpoint. Answers are noted; the receipts decide."""
        if not attempts:
            return
        calls = [RpcCall("eth_sendRawTransaction", (attempt.raw,)) for attempt in attempts]
        for answers in await self._rpc.everywhere(calls):
            for attempt, answer in zip(attempts, answers, strict=True):
                if isinstance(answer, RpcError) and not _is_already_there(answer):
                    _log.warning(
                        "not accepted",
                        intent=attempt.intent_id,
                        transaction=attempt.transaction_hash,
                        reason=answer.message,
                    )

    async def ensure_nothing_undone(self, deal_id: DealId) -> None:
        """Raise `Unavailable`, having sent it again, if something mined for the deal is missing."""
        undone = await self.resend_undone(deal_id)
        if undone:
            raise Unavailable(
                "the chain has gone back before transactions of this deal",
                field="transactions",
                value=", ".join(attempt.transaction_hash for attempt in undone),
                next_action="wait: the same transactions were sent again",
            )

    async def resend_undone(self, deal_id: DealId) -> list[Attempt]:
        """Send again what was seen mined for the deal and is no longer; return what that was."""
        reached = await self._store.reached(deal_id)
        if not reached:
            return []
        answers = await self._rpc.batch(
            [RpcCall("eth_getTransactionCount", (sender, "latest")) for sender in reached]
        )
        undone: list[Attempt] = []
        for (sender, nonce), answer in zip(reached.items(), answers, strict=True):
            mined = int(self._rpc.expect(answer), 16)
            if mined <= nonce:
                undone += await self.resend(sender, mined, nonce + 1)
        return undone

    async def resend(self, sender: Address, first_nonce: int, end_nonce: int) -> list[Attempt]:
        """Send again what was signed for these nonces of an account, and return it."""
        attempts = await self._store.sent(self._chain_id, sender, first_nonce, end_nonce)
        if attempts:
            _log.warning(
                "sending again what the chain does not have",
                sender=sender,
                transactions=[attempt.transaction_hash for attempt in attempts],
            )
        await self.send(attempts)
        return attempts


def _is_already_there(error: RpcError) -> bool:
    """Whether the node says that it has the transaction already, which is success."""
    message = error.message.lower()
    return any(known in message for known in _ALREADY_THERE)
