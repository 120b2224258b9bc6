"""Sending signed bytes, and sending them again when a chain has forgotten them.

Blocks can be undone, even below what was called final: a node that comes back with an older chain
lacks transactions whose effects later steps build upon, and whose nonces later ones follow. Their
bytes are kept, and the same bytes can never have an effect twice.
"""

from collections.abc import Sequence

import structlog

from activities.rpc.client import Rpc, RpcCall
from activities.rpc.submission import Submission
from activities.transactions.alerts import AlertKind, Alerts
from activities.transactions.store import Attempt, TransactionStore
from domain.chains import ChainProfile
from domain.errors import OutcomeUnknown, Unavailable
from domain.identifiers import Address, DealId

_log = structlog.get_logger(__name__)


class Broadcaster:
    """Sends what was saved on one chain, to all its endpoints."""

    def __init__(
        self, profile: ChainProfile, rpc: Rpc, store: TransactionStore, alerts: Alerts
    ) -> None:
        """Take the chain's connections, the attempts, and whom to tell of contradictions."""
        self._profile = profile
        self._rpc = rpc
        self._store = store
        self._alerts = alerts

    async def send(self, attempts: Sequence[Attempt], *, public: bool = False) -> None:
        """Send to every endpoint. Answers are noted; the receipts decide.

        `public`: where the chain has private endpoints, to the others as well.
        """
        if not attempts:
            return
        submissions = await self._rpc.submit([attempt.raw for attempt in attempts], public=public)
        for attempt, submission in zip(attempts, submissions, strict=True):
            if not submission.result.succeeded:
                _log.warning(
                    "not accepted",
                    intent=attempt.intent_id,
                    transaction=attempt.transaction_hash,
                    result=submission.result,
                    answers=[f"{each.label}: {each.message}" for each in submission.answers],
                )
            if submission.contradiction is not None:
                error = _contradicted(attempt, submission)
                await self._alerts.notice(AlertKind.CONTRADICTION, attempt.intent_id, error)

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
        attempts = await self._store.sent(self._profile.chain_id, sender, first_nonce, end_nonce)
        if attempts:
            _log.warning(
                "sending again what the chain does not have",
                sender=sender,
                transactions=[attempt.transaction_hash for attempt in attempts],
            )
        await self.send(attempts)
        return attempts


def _contradicted(attempt: Attempt, submission: Submission) -> OutcomeUnknown:
    return OutcomeUnknown(
        "endpoints contradict each other about a transaction",
        field="endpoints",
        value=attempt.transaction_hash,
        actual=submission.contradiction,
        next_action="find out which endpoint is wrong, and take it out of the profile",
    )
