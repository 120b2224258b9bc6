"""Looking at the timelock of a chain: what an operation would change, and where it stands."""

import asyncio
from typing import Any, Final

from temporalio import activity

from activities.operations.interface import OperationActivities, OperationPlan, WatchOperation
from activities.protocols import multicall, timelock
from activities.protocols.abi import address_of
from activities.protocols.multicall import Read
from activities.protocols.reader import ChainReader
from domain.errors import InvalidConfiguration, InvalidInput
from domain.operations import (
    OperationRequest,
    Scheduled,
    Standing,
    TimelockState,
    ensure_changes,
    salt_of,
)

_STATES: Final = tuple(TimelockState)


class Operations(OperationActivities):
    """The timelock of one chain."""

    def __init__(self, reader: ChainReader) -> None:
        """Take the chain's reader."""
        self._reader = reader
        self._profile = reader.profile

    @activity.defn
    async def plan_operation(self, request: OperationRequest) -> OperationPlan:
        """See `OperationActivities.plan_operation`."""
        await self._reader.verify()
        delay = await self._delay(request)
        salt = salt_of(request.batch_owner)
        call = timelock.scheduled(self._profile, request.module, request.change, salt, delay)
        await self._ensure_owned(call)
        standing = await self._look(request, call)
        if standing.state is TimelockState.UNSET:
            ensure_changes(request, standing.value)
        return OperationPlan(scheduled=call, standing=standing)

    @activity.defn
    async def watch_operation(self, order: WatchOperation) -> Standing:
        """See `OperationActivities.watch_operation`."""
        while True:
            standing = await self._look(order.request, order.scheduled)
            if standing != order.known:
                return standing
            await asyncio.sleep(self._profile.block_time_seconds)

    async def _delay(self, request: OperationRequest) -> int:
        """The delay that is asked for, or the timelock's own."""
        address = self._profile.contract(self._profile.timelock.contract)
        ((least,),) = await self._read([Read(address, timelock.MIN_DELAY)])
        needed = self._profile.timelock.min_delay_seconds
        if least < needed:
            raise InvalidConfiguration(
                "the timelock's delay is shorter than the profile's",
                field="timelock.min_delay_seconds",
                value=needed,
                limit=f"at most {least}, which is the timelock's",
                actual=least,
                next_action="find out who shortened it; nothing is scheduled until then",
            )
        delay = request.delay_seconds or int(least)
        if delay < least:
            raise InvalidInput(
                "the delay is shorter than the timelock's",
                field="delay_seconds",
                value=delay,
                limit=f"at least {least}",
                next_action="ask for a longer delay, or for none to get the timelock's",
            )
        return delay

    async def _ensure_owned(self, call: Scheduled) -> None:
        """The timelock has to own what it is to change."""
        ((owner,),) = await self._read([Read(call.target, timelock.OWNER)])
        if address_of(owner) != call.timelock:
            raise InvalidConfiguration(
                "the timelock does not own what it is to change",
                field="owner",
                value=call.target,
                limit=call.timelock,
                actual=address_of(owner),
                next_action="find out who owns it; correct the address manifest if that is wrong",
            )

    async def _look(self, request: OperationRequest, call: Scheduled) -> Standing:
        identity = bytes.fromhex(call.timelock_id[2:])
        (state,), (ready_at,), value = await self._read(
            [
                Read(call.timelock, timelock.STATE, (identity,)),
                Read(call.timelock, timelock.TIMESTAMP, (identity,)),
                timelock.value_read(self._profile, request.module, request.change),
            ]
        )
        return Standing(
            state=_STATES[state],
            ready_at=ready_at if _STATES[state] is not TimelockState.DONE else 0,
            value=timelock.value_of(request.change, value),
        )

    async def _read(self, reads: list[Read]) -> list[tuple[Any, ...]]:
        (answer,) = await self._reader.rpc.batch([self._reader.read_call(reads)])
        return multicall.decode_reads(reads, self._reader.rpc.expect(answer))
