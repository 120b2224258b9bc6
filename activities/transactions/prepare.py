"""From a plan to a numbered batch: type, price, store."""

import asyncio
import time
from decimal import ROUND_CEILING

from activities.halts.standing import Halts
from activities.protocols.drafts import Call, Draft
from activities.rpc.client import Rpc
from activities.transactions.broadcast import Broadcaster
from activities.transactions.interface import PrepareBatch
from activities.transactions.planning import DraftBuilder, Planner
from activities.transactions.store import TransactionStore
from domain.chains import ChainProfile
from domain.halts import RISK_INCREASING
from domain.transactions import BatchKey, Intent, PreparedBatch, added_up


class Preparer:
    """Prepares batches for one chain; the same key always gives the same batch."""

    def __init__(  # noqa: PLR0913 - what preparing needs
        self,
        profile: ChainProfile,
        rpc: Rpc,
        builder: DraftBuilder,
        store: TransactionStore,
        broadcaster: Broadcaster,
        *,
        halts: Halts,
    ) -> None:
        """Take what one chain's batches are made with."""
        self._profile = profile
        self._planner = Planner(profile, rpc, builder)
        self._store = store
        self._broadcaster = broadcaster
        self._halts = halts

    async def prepare(self, order: PrepareBatch) -> PreparedBatch:
        """The batch of the order's key, building, simulating and storing it the first time.

        Raises `Halted` for a new one that would add risk while that may not be done, and what the
        step itself cannot do.
        """
        ordered = order.digest()
        stored = await self._store.batch(order.key, ordered=ordered)
        if stored is not None:
            return stored
        if order.key.step in RISK_INCREASING:
            request = order.request
            await self._halts.ensure_active(request.bank, request.chain_id, request.module)
        prepared_at = int(time.time())
        undone = asyncio.create_task(self._broadcaster.ensure_nothing_undone(order.key.deal_id))
        try:
            draft = await self._planner.build(order)
        finally:
            await undone  # if it raises, that is why the rest looked wrong, too
        plan = await self._planner.plan(order, draft)
        batch = PreparedBatch(
            key=order.key,
            account=order.account,
            intents=tuple(
                self._intent(order.key, plan.draft, index, call, plan.gas_used[index])
                for index, call in enumerate(plan.calls)
            ),
            bounds=plan.bounds,
            simulated_block=plan.block_number,
            simulated_changes=added_up(plan.changes),
            prepared_at=prepared_at,
        )
        return await self._store.add_batch(
            batch,
            mined_nonce=plan.draft.mined_nonce,
            ordered=ordered,
            request=order.request,
        )

    def _intent(self, key: BatchKey, draft: Draft, index: int, call: Call, gas: int) -> Intent:
        """Type the call; its nonce is given when it is stored."""
        margin = self._profile.fees.gas_margin
        limit = int((gas * margin).to_integral_value(ROUND_CEILING))
        return Intent(
            intent_id=f"{key}/{index}",
            chain_id=self._profile.chain_id,
            sender=draft.sender,
            nonce=0,
            to=call.to,
            value=call.value,
            data=call.data,
            # A plain transfer costs exactly so much; more would leave something in the account.
            gas_limit=gas if call.data == "0x" else limit,
            fees=draft.fees,
            purpose=call.purpose,
            spends_rest=call.spends_rest,
        )
