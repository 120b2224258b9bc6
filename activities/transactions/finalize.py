"""Waiting until a deal's transactions cannot be undone any more."""

import asyncio
from typing import Final

from activities.rpc.client import Rpc
from activities.transactions.broadcast import Broadcaster
from activities.transactions.promises import Promises
from activities.transactions.store import Pool
from activities.transactions.tracker import Tracker
from activities.transactions.unsettled import Unsettled, UnsettledStore
from domain.chains import ChainProfile
from domain.identifiers import DealId
from domain.tracking import OUT, Receipt
from domain.transactions import IntentState

_LEAST_PAUSE_SECONDS: Final = 0.05


class Finalizer:
    """Sees the transactions of deals on one chain to their end."""

    def __init__(
        self, profile: ChainProfile, rpc: Rpc, pool: Pool, broadcaster: Broadcaster
    ) -> None:
        """Take the chain's connections and the engine's database."""
        self._pause = max(_LEAST_PAUSE_SECONDS, profile.block_time_seconds / 2)
        self._intents = UnsettledStore(profile.chain_id, pool)
        self._tracker = Tracker(profile, rpc)
        self._promises = Promises(profile, rpc, pool)
        self._broadcaster = broadcaster

    async def finalize(self, deal_id: DealId) -> tuple[Receipt, ...]:
        """Wait until all are final, and return every transaction as it ended up, by nonce.

        What comes back in a reorganisation is sent again; it may end up in another block, and with
        another result. Raises `Unavailable` if the node does not answer.
        """
        while intents := await self._signed(deal_id):
            checkpoint = await self._promises.checkpoint()
            blocks = [checkpoint[0]] if checkpoint else []
            look = await self._tracker.look(intents, blocks=blocks)
            # A chain that has broken its promise is the monitor's to deal with.
            changes = (await self._promises.check(look, checkpoint)).allowed(look.changes)
            await self._intents.apply(changes)
            after = {change.intent.intent_id: change.path[-1] for change in changes}
            await self._broadcaster.send(
                [
                    intent.attempts[-1]
                    for intent in intents
                    if after.get(intent.intent_id) in OUT and intent.attempts
                ]
            )
            if set(after.values()) != {IntentState.FINALIZED} or len(after) < len(intents):
                await asyncio.sleep(self._pause)
        return await self._intents.receipts(deal_id)

    async def _signed(self, deal_id: DealId) -> list[Unsettled]:
        """What is not final; what was never signed never will be."""
        intents = await self._intents.all(deal_id)
        return [intent for intent in intents if intent.state is not IntentState.PREPARED]
