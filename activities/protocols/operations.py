"""The batches of an operation: one call of the timelock each, if the timelock is at it."""

from collections.abc import Mapping
from typing import Final

from activities.protocols import timelock
from activities.protocols.drafts import Call, Draft, draft_of, look_for
from activities.protocols.multicall import Read
from activities.protocols.reader import ChainReader
from activities.transactions.interface import PrepareBatch
from domain.deals import Step
from domain.errors import InvalidInput, NotAllowed
from domain.operations import Scheduled, TimelockState

_DUE: Final[Mapping[Step, frozenset[TimelockState]]] = {
    Step.SCHEDULE: frozenset({TimelockState.UNSET}),
    Step.EXECUTE: frozenset({TimelockState.READY}),
    Step.REVOKE: frozenset({TimelockState.WAITING, TimelockState.READY}),
}
_STATES: Final = tuple(TimelockState)


class OperationBuilder:
    """Builds drafts for the timelock of one chain."""

    def __init__(self, reader: ChainReader) -> None:
        """Take the chain's reader."""
        self._reader = reader

    async def build(self, order: PrepareBatch) -> Draft:
        """The draft of the order's step, sent by its account, which is the fee account.

        Raises `NotAllowed` if the timelock would refuse it: it is not yet ready, was executed or
        cancelled, or is scheduled already.
        """
        call = _call_of(order)
        read = Read(call.timelock, timelock.STATE, (bytes.fromhex(call.timelock_id[2:]),))
        look = await look_for(self._reader, order, [read])
        ((state,),) = look.values
        step = order.key.step
        if _STATES[state] not in _DUE[step]:
            raise NotAllowed(
                f"the timelock does not let anybody {step} it now",
                field="state",
                value=_STATES[state],
                limit=", ".join(sorted(_DUE[step])),
                actual=call.timelock_id,
                next_action="look at it with `deal operation show`",
            )
        data, purpose = {
            Step.SCHEDULE: (timelock.schedule_call, "Schedule the operation"),
            Step.EXECUTE: (timelock.execute_call, "Execute the operation"),
            Step.REVOKE: (timelock.cancel_call, "Cancel the operation"),
        }[step]
        return draft_of(look, [Call(call.timelock, purpose, data(call))], [])


def _call_of(order: PrepareBatch) -> Scheduled:
    if order.operation is None:
        raise InvalidInput(
            "the step belongs to an operation, and the order has none",
            field="operation",
            value=order.key.step,
            next_action="find out who has ordered it",
        )
    return order.operation
