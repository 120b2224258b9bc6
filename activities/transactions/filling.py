"""No-ops at nonces that nothing holds: without them nothing that follows can ever be mined."""

import time

from activities.transactions.interface import FillNonce, NonceFill
from activities.transactions.outbidding import Outbidder
from activities.transactions.store import TransactionStore
from domain.chains import ChainProfile
from domain.transactions import TRANSFER_GAS, BatchKey, Fees, Intent, PreparedBatch

_APART = 1_000_000
"""Attempts from here on are no attempts of a step, so that no key of a deal is ever the same."""


class Filler:
    """Plans such no-ops on one chain."""

    def __init__(
        self,
        profile: ChainProfile,
        store: TransactionStore,
        outbidder: Outbidder,
    ) -> None:
        """Take what prices and stores them."""
        self._profile = profile
        self._store = store
        self._outbidder = outbidder

    async def plan(self, order: FillNonce) -> NonceFill:
        """The no-op, stored; raises `Conflict` if the nonce is held after all."""
        key = BatchKey(
            deal_id=order.deal_id, step=order.step, attempt=_APART + order.nonce, fills_gap=True
        )
        batch = await self._store.batch(key)
        if batch is None:
            level = await self._outbidder.level(None)
            batch = await self._store.add_at(self._batch(order, key, level.maximum))
        return NonceFill(batch=batch, module=next(iter(self._profile.modules)))

    def _batch(self, order: FillNonce, key: BatchKey, fees: Fees) -> PreparedBatch:
        intent = Intent(
            intent_id=f"{key}/0",
            chain_id=order.chain_id,
            sender=order.account,
            nonce=order.nonce,
            to=order.account,
            value=0,
            data="0x",
            gas_limit=TRANSFER_GAS,
            fees=fees,
            purpose="No-op at a nonce that nothing held",
        )
        return PreparedBatch(
            key=key,
            account=order.deal_account,
            intents=(intent,),
            bounds=(),
            simulated_block=0,
            simulated_changes={},
            prepared_at=int(time.time()),
        )
