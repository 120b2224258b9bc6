"""What a person does to a transaction that is out: send it again, bid more, or cancel it.

Cancelling is a no-op at the same nonce that bids more. Both may be on their way then, and the one
that is mined decides; so this never says that a transaction is cancelled, only that it was tried.
"""

from activities.halts.standing import Halts
from activities.rpc.fees import FeeLevel
from activities.transactions.broadcast import Broadcaster
from activities.transactions.interface import (
    Action,
    Replacement,
    ReplaceTransaction,
    SendAttempts,
    TransactionView,
)
from activities.transactions.outbidding import Outbidder, capped
from activities.transactions.store import Attempt, StoredIntent, TransactionStore
from domain.errors import NotAllowed, NotFound
from domain.halts import halted
from domain.tracking import OUT


class Replacer:
    """Acts upon transactions of one chain."""

    def __init__(
        self, store: TransactionStore, broadcaster: Broadcaster, outbidder: Outbidder, halts: Halts
    ) -> None:
        """Take what it sends and prices with, and what stops it."""
        self._store = store
        self._broadcaster = broadcaster
        self._outbidder = outbidder
        self._halts = halts

    async def replace(self, order: ReplaceTransaction) -> Replacement:
        """Send it again, or say what has to be signed.

        Raises `NotFound`, `NotAllowed` if it is in a block or was never signed, `Halted` unless it
        is a no-op or is to become one, and `LimitExceeded` if no bid that nodes would take instead
        fits under the cap.
        """
        stored = await self._stored(order)
        attempts = [
            each
            for each in await self._store.attempts(stored.batch)
            if each.intent_id == order.intent_id
        ]
        newest = attempts[-1]
        if not newest.no_op and order.action is not Action.CANCEL:
            await self._ensure_not_stopped(stored)
        if order.action is Action.REBROADCAST:
            await self._broadcaster.send([newest])
            return Replacement(view=_view(stored, newest, order.action, "sent again"))
        if newest.no_op:
            note = "it is being cancelled already: a no-op is out at its nonce"
            return Replacement(view=_view(stored, newest, order.action, note))
        level = await self._outbidder.level(order.max_fee_per_gas_wei)
        return self._higher(order, stored, newest, level)

    async def send(self, order: SendAttempts) -> TransactionView:
        """Save the new attempts, send them, and say how the intent stands now."""
        await self._store.save_attempts(order.batch, order.signed)
        attempts = await self._store.attempts(order.batch)
        newest = next(a for a in reversed(attempts) if a.intent_id == order.view.intent_id)
        await self._broadcaster.send([newest])
        note = "a no-op was sent at its nonce" if newest.no_op else "sent with higher fees"
        return order.view.model_copy(
            update={"transaction_hash": newest.transaction_hash, "note": note}
        )

    def _higher(
        self,
        order: ReplaceTransaction,
        stored: StoredIntent,
        newest: Attempt,
        level: FeeLevel,
    ) -> Replacement:
        fees = level.outbidding(newest.fees).fees
        if fees is None:
            raise capped(level, newest)
        bids = {order.intent_id: fees}
        batch = stored.batch
        # The signer reviews steps as wholes: the rest of the batch is signed as it was.
        to_sign = batch.no_ops(bids) if order.action is Action.CANCEL else batch.with_fees(bids)
        view = _view(stored, newest, order.action, "to be signed")
        return Replacement(view=view, batch=batch, to_sign=to_sign)

    async def _ensure_not_stopped(self, stored: StoredIntent) -> None:
        halt = await self._halts.of_batch(stored.batch.key)
        if halt is not None:
            raise halted(halt)

    async def _stored(self, order: ReplaceTransaction) -> StoredIntent:
        stored = await self._store.intent(order.chain_id, order.deal_id, order.intent_id)
        if stored is None:
            raise NotFound(
                "the deal has no such transaction",
                field="intent",
                value=order.intent_id,
                limit=f"a transaction of deal {order.deal_id}",
                next_action="list them with `deal tx list`",
            )
        if stored.state not in OUT:
            raise NotAllowed(
                f"nothing can be done to a transaction that is {stored.state}",
                field="intent",
                value=order.intent_id,
                limit=", ".join(sorted(OUT)),
                actual=stored.state,
                next_action="look at it with `deal tx show`",
            )
        return stored


def _view(stored: StoredIntent, newest: Attempt, action: Action, note: str) -> TransactionView:
    return TransactionView(
        intent_id=newest.intent_id,
        nonce=stored.nonce,
        state=stored.state,
        transaction_hash=newest.transaction_hash,
        action=action,
        note=note,
    )
