"""Critical operations as their workflows and the records answer for them."""

import asyncio
from collections.abc import Awaitable
from contextlib import suppress
from typing import Any, Final, TypeVar

from temporalio.client import Client, WorkflowHandle
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError

from domain.errors import Conflict, InvalidInput, NotFound, OutcomeUnknown, Unavailable
from domain.operations import OperationId, OperationRequest, OperationView, ensure_cancellable
from starters.deals.client import TASK_TIMEOUT
from starters.deals.database import Connections, fetch
from starters.deals.failures import About, errors_about
from starters.deals.paging import MAX_LIMIT
from workflows.deal.messages import CommandMessage
from workflows.operations.workflow import TASK_QUEUE, CriticalOperationWorkflow, workflow_id

_ANSWER_SECONDS: Final = 60
_FIND: Final = "SELECT view FROM deals.operations WHERE operation_id = %s"
_LIST: Final = """
SELECT view FROM deals.operations WHERE (%s::bigint IS NULL OR chain_id = %s)
ORDER BY created_at DESC, operation_id LIMIT %s
"""
T = TypeVar("T")


class OperationClient:
    """Talks to the workflows. Every method raises the domain's errors only."""

    def __init__(self, client: Client) -> None:
        """Use a connected client."""
        self._client = client

    async def propose(self, request: OperationRequest) -> OperationView:
        """Start an operation once; the same request again is the same operation.

        Raises `Conflict` if its name was used for another one, and `Unavailable`.
        """
        starting = self._client.start_workflow(
            CriticalOperationWorkflow.run,
            request,
            id=workflow_id(request.operation_id),
            task_queue=TASK_QUEUE,
            id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            task_timeout=TASK_TIMEOUT,
            static_summary=f"{request.change.kind}: {request.why}",
        )
        with suppress(WorkflowAlreadyStartedError):  # and it has ended: its view says how
            await self._answer(request.operation_id, starting)
        view = await self.view(request.operation_id)
        if view.request != request:
            raise conflict(view)
        return view

    async def view(self, operation_id: OperationId) -> OperationView:
        """Ask the workflow where it stands. Raises `NotFound` and `Unavailable`."""
        query = self._handle(operation_id).query(CriticalOperationWorkflow.view)
        return await self._answer(operation_id, query)

    async def cancel(
        self, operation_id: OperationId, message: CommandMessage, command_id: str
    ) -> OperationView:
        """Cancel it, and return it as it ended.

        Raises `NotAllowed` if it is too late, `NotFound` and `OutcomeUnknown`.
        """
        update = self._handle(operation_id).execute_update(
            CriticalOperationWorkflow.cancel, message, id=command_id
        )
        try:
            return await self._answer(operation_id, update)
        except NotFound:
            # Temporal says so of a workflow that has ended, too.
            ensure_cancellable((await self.view(operation_id)).status)
            raise
        except Unavailable as error:
            raise OutcomeUnknown(
                f"it is not known whether operation {operation_id} is cancelled",
                field="operation_id",
                value=operation_id,
                actual=error.problem.actual,
                next_action=f"give it again under the same command id, {command_id}",
            ) from error

    async def end(self, operation_id: OperationId) -> OperationView:
        """Wait until it has ended."""
        with errors_about(_about(operation_id)):
            return await self._handle(operation_id).result()

    def _handle(
        self, operation_id: OperationId
    ) -> WorkflowHandle[CriticalOperationWorkflow, OperationView]:
        return self._client.get_workflow_handle_for(
            CriticalOperationWorkflow.run, workflow_id(operation_id)
        )

    @staticmethod
    async def _answer(operation_id: OperationId, call: Awaitable[T]) -> T:
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                with errors_about(_about(operation_id)):
                    return await call
        except RPCError as error:
            raise not_found(operation_id) from error
        except TimeoutError as error:
            raise Unavailable(
                f"no worker answers for operation {operation_id}",
                field="operation_id",
                value=operation_id,
                limit=f"an answer within {_ANSWER_SECONDS} s",
                next_action="check that the deals worker runs, and try again",
            ) from error


class OperationsReader:
    """The records of operations, as the role ``deal_reader``: as they were last written."""

    def __init__(self, connections: Connections) -> None:
        """Use these connections."""
        self._connections = connections

    async def get(self, operation_id: OperationId) -> OperationView:
        """One operation. Raises `NotFound` if it was never recorded, and `Unavailable`."""
        rows: list[Any] = await fetch(self._connections, _FIND, (operation_id,))
        if not rows:
            raise not_found(operation_id)
        return OperationView.model_validate(rows[0]["view"])

    async def list(self, chain_id: int | None, limit: int) -> list[OperationView]:
        """The newest operations first. Raises `InvalidInput` and `Unavailable`."""
        if not 1 <= limit <= MAX_LIMIT:
            raise InvalidInput(
                "limit is out of range",
                field="limit",
                value=limit,
                limit=f"1 to {MAX_LIMIT}",
                next_action="ask for so many operations, or for one by its name",
            )
        rows: list[Any] = await fetch(self._connections, _LIST, (chain_id, chain_id, limit))
        return [OperationView.model_validate(row["view"]) for row in rows]


def conflict(view: OperationView) -> Conflict:
    """There is one of this name, and it is another."""
    request = view.request
    return Conflict(
        f"operation {request.operation_id} exists with another body",
        field="operation_id",
        value=request.operation_id,
        limit=request.model_dump_json(exclude_none=True),
        next_action="use a new name",
    )


def not_found(operation_id: OperationId) -> NotFound:
    """There is no such operation."""
    return NotFound(
        f"there is no operation {operation_id}",
        field="operation_id",
        value=operation_id,
        next_action="compare the name with `deal operation list`",
    )


def _about(operation_id: OperationId) -> About:
    return About(f"operation {operation_id}", "operation_id", operation_id)
