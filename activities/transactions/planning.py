"""From an order to what its batch would be: built, simulated and checked; nothing is kept.

Real batches and dry runs are planned here, and only here.
"""

from dataclasses import dataclass, replace
from typing import Protocol

from activities.protocols.drafts import Call, Draft
from activities.rpc.client import Questions
from activities.transactions.interface import PrepareBatch
from activities.transactions.simulation import Simulator
from activities.transactions.trials import Simulation, Trial
from domain.chains import ChainProfile
from domain.deals import Step
from domain.errors import LimitExceeded, NotAllowed
from domain.transactions import Asset, Bound, check_bounds


class DraftBuilder(Protocol):
    """Builds the calls of an order, with the post-conditions they must meet."""

    async def build(self, order: PrepareBatch) -> Draft:
        """The draft; raises what the order's step cannot do now."""
        ...


@dataclass(frozen=True, slots=True)
class Plan:
    """The calls of a batch, which keep these bounds; for each its gas and its balance changes."""

    draft: Draft
    calls: tuple[Call, ...]
    bounds: tuple[Bound, ...]
    gas_used: tuple[int, ...]
    changes: tuple[dict[Asset, int], ...]
    block_number: int


class Planner:
    """Plans batches on one chain."""

    def __init__(self, profile: ChainProfile, rpc: Questions, builder: DraftBuilder) -> None:
        """Take what builds the drafts, and the connection that they are simulated over."""
        self._simulator = Simulator(profile, rpc)
        self._builder = builder

    async def build(self, order: PrepareBatch) -> Draft:
        """The draft of the order; raises what its step cannot do now."""
        return await self._builder.build(order)

    async def plan(self, order: PrepareBatch, draft: Draft) -> Plan:
        """Simulate the draft and hold it to its post-conditions.

        Raises `SimulationFailed`, `PostConditionFailed`, `LimitExceeded` (it cannot pay its gas),
        `NotAllowed` (a run of which the gas is not known) and `Unavailable`.
        """
        simulation = await self._simulator.simulate(_trial(order, draft))
        if not simulation.exact:
            _ensure_no_run(order)
            draft = _without_rest(draft)
        calls, ether = _with_rest(order, draft, simulation)
        changes = [*simulation.changes[: len(calls)]]
        if ether:  # it was simulated without its value
            changes[-1] = {Asset.ETHER: -calls[-1].value} if calls[-1].value else {}
        bounds = (*draft.bounds, *ether)
        check_bounds(changes, bounds)
        return Plan(
            draft=draft,
            calls=calls,
            bounds=bounds,
            gas_used=simulation.gas_used[: len(calls)],
            changes=tuple(changes),
            block_number=simulation.block_number,
        )


def _with_rest(
    order: PrepareBatch, draft: Draft, simulation: Simulation
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
