"""From a draft to a numbered batch: simulate, check, price, store."""

import asyncio
import time
from dataclasses import replace
from decimal import ROUND_CEILING
from typing import Protocol

from activities.protocols.drafts import Call, Draft
from activities.rpc.client import Rpc
from activities.transactions.broadcast import Broadcaster
from activities.transactions.interface import PrepareBatch
from activities.transactions.simulation import Simulator
from activities.transactions.store import TransactionStore
from activities.transactions.trials import Simulation, Trial
from domain.chains import ChainProfile
from domain.deals import Step
from domain.errors import LimitExceeded, NotAllowed
from domain.transactions import (
    Asset,
    BatchKey,
    Bound,
    Intent,
    PreparedBatch,
    added_up,
    check_bounds,
)


class DraftBuilder(Protocol):
    """Builds the calls of an order, with the post-conditions they must meet."""

    async def build(self, order: PrepareBatch) -> Draft:
        """The draft; raises what the order's step cannot do now."""
        ...


class Preparer:
    """Prepares batches for one chain; the same key always gives the same batch."""

    def __init__(
        self,
        profile: ChainProfile,
        rpc: Rpc,
        builder: DraftBuilder,
        store: TransactionStore,
        broadcaster: Broadcaster,
    ) -> None:
        """Take what one chain's batches are made with."""
        self._profile = profile
        self._simulator = Simulator(profile, rpc)
        self._builder = builder
        self._store = store
        self._broadcaster = broadcaster

    async def prepare(self, order: PrepareBatch) -> PreparedBatch:
        """The batch of the order's key, building, simulating and storing it the first time."""
        ordered = order.digest()
        stored = await self._store.batch(order.key, ordered=ordered)
        if stored is not None:
            return stored
        prepared_at = int(time.time())
        undone = asyncio.create_task(self._broadcaster.ensure_nothing_undone(order.key.deal_id))
        try:
            draft = await self._builder.build(order)
        finally:
            await undone  # if it raises, that is why the rest looked wrong, too
        simulation = await self._simulator.simulate(_trial(order, draft))
        if not simulation.exact:
            _ensure_no_run(order)
            draft = _without_rest(draft)
        calls, ether = self._with_rest(order, draft, simulation)
        changes = [*simulation.changes[: len(calls)]]
        if ether:  # it was simulated without its value
            changes[-1] = {Asset.ETHER: -calls[-1].value} if calls[-1].value else {}
        bounds = (*draft.bounds, *ether)
        check_bounds(changes, bounds)
        batch = PreparedBatch(
            key=order.key,
            account=order.account,
            intents=tuple(
                self._intent(order.key, draft, index, call, simulation.gas_used[index])
                for index, call in enumerate(calls)
            ),
            bounds=bounds,
            simulated_block=simulation.block_number,
            simulated_changes=added_up(changes),
            prepared_at=prepared_at,
        )
        return await self._store.add_batch(batch, mined_nonce=draft.mined_nonce, ordered=ordered)

    def _with_rest(
        self, order: PrepareBatch, draft: Draft, simulation: Simulation
    ) -> tuple[tuple[Call, ...], tuple[Bound, ...]]:
        """Give the call that spends the rest its value, now that the gas before it is known."""
        if not draft.calls[-1].spends_rest:
            return draft.calls, ()
        price = draft.fees.max_fee_per_gas
        gas = sum(simulation.gas_used)
        rest = draft.balance_wei - gas * price
        if rest < 0:
            raise LimitExceeded(
                "the account cannot pay the gas of its last transactions",
                field="gas",
                limit=draft.balance_wei,
                actual=gas * price,
                next_action=f"send {-rest} wei to {order.account}, or wait for cheaper gas",
            )
        last = Call(draft.calls[-1].to, draft.calls[-1].purpose, value=rest, spends_rest=True)
        bound = Bound(asset=Asset.ETHER, minimum=-rest, maximum=-rest)
        return (*draft.calls[:-1], last), (bound,)

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


def _ensure_no_run(order: PrepareBatch) -> None:
    """Raise `NotAllowed` for a run, whose later calls may not be short of gas.

    What estimates the gas of calls that are tried as one transaction finds nearly everything that
    they touch warm by then, and allows them too little.
    """
    if order.key.step is Step.RUN:
        raise NotAllowed(
            "this chain's nodes cannot say what the gas of a run is",
            field="mode",
            value=order.request.mode,
            limit="nodes with eth_simulateV1",
            next_action="start the deal in stepwise mode, or name an endpoint that has the method",
        )


def _without_rest(draft: Draft) -> Draft:
    """Leave the rest to a batch of its own, if it depends on gas that is not known exactly.

    What is offered too little would be left over, and be too little for the gas of another sweep.
    """
    if len(draft.calls) > 1 and draft.calls[-1].spends_rest:
        return replace(draft, calls=draft.calls[:-1])
    return draft


def _trial(order: PrepareBatch, draft: Draft) -> Trial:
    return Trial(
        sender=draft.sender,
        calls=draft.calls,
        account=order.account,
        module=order.request.module,
        block_number=draft.block_number,
        timestamp=draft.timestamp,
    )
