"""Critical operations as a caller may see and change them, by command line and API alike."""

from collections.abc import Awaitable, Callable

from domain.commands import CommandKind, NewCommand
from domain.errors import Unavailable
from domain.identity import Caller, Permission
from domain.operations import OperationId, OperationRequest, OperationView
from starters.control.commands import CommandStore
from starters.control.giving import Giving, heard
from starters.deals.operations import OperationClient, OperationsReader
from workflows.deal.messages import CommandMessage

Clients = Callable[[], Awaitable[OperationClient]]
"""Connects to Temporal; raises `Unavailable`."""


class OperationDesk:
    """Operations for callers. Every method raises `Forbidden` and `Unavailable`."""

    def __init__(self, clients: Clients, reader: OperationsReader, commands: CommandStore) -> None:
        """Talk to workflows by these clients, list from the records, write commands down there."""
        self._clients = clients
        self._reader = reader
        self._giving = Giving(clients, commands)

    async def list(self, caller: Caller, chain_id: int | None, limit: int) -> list[OperationView]:
        """The newest operations first. Raises `InvalidInput`."""
        caller.require(Permission.OPERATIONS_READ)
        return await self._reader.list(chain_id, limit)

    async def view(self, caller: Caller, operation_id: OperationId) -> OperationView:
        """Ask the operation where it stands. Raises `NotFound`.

        While Temporal is away it is told as it was recorded, at `updated_at`.
        """
        caller.require(Permission.OPERATIONS_READ)
        try:
            return await (await self._clients()).view(operation_id)
        except Unavailable:
            return await self._reader.get(operation_id)

    async def propose(
        self, caller: Caller, request: OperationRequest, command_id: str
    ) -> OperationView:
        """Schedule a change in the caller's name; the same request again is the same operation.

        Raises `Conflict` if its name was used for another one.
        """
        caller.require(Permission.OPERATIONS_ACT)
        request = request.model_copy(update={"who": caller.who})

        async def hand_over(client: OperationClient) -> OperationView:
            return await client.propose(request)

        body = request.model_dump(mode="json", exclude_none=True)
        command = _about(
            CommandKind.SCHEDULE_OPERATION, request.operation_id, body, request.why, command_id
        )
        return await self._given(caller, command, hand_over)

    async def cancel(
        self, caller: Caller, operation_id: OperationId, why: str, command_id: str
    ) -> OperationView:
        """Cancel it before it is executed. Raises `NotFound`, `NotAllowed` and `OutcomeUnknown`."""
        caller.require(Permission.OPERATIONS_ACT)
        message = CommandMessage(who=caller.who, why=why, via=caller.via)

        async def hand_over(client: OperationClient) -> OperationView:
            return await client.cancel(operation_id, message, command_id)

        body = message.model_dump(mode="json")
        command = _about(CommandKind.CANCEL_OPERATION, operation_id, body, message.why, command_id)
        return await self._given(caller, command, hand_over)

    async def _given(
        self,
        caller: Caller,
        command: NewCommand,
        hand_over: Callable[[OperationClient], Awaitable[OperationView]],
    ) -> OperationView:
        return heard(await self._giving.give(caller, command, hand_over, OperationView))


def _about(
    kind: CommandKind, operation_id: OperationId, body: dict[str, object], why: str, command_id: str
) -> NewCommand:
    return NewCommand(command_id=command_id, kind=kind, subject=operation_id, body=body, why=why)
