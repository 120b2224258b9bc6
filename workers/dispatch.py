"""Delivering commands that were given while Temporal was away.

They wait as `QUEUED` rows of `control.commands`. Each is sent as an update under the id of the
command, so that Temporal takes it once, however often it is sent: a worker may die between sending
one and writing down what became of it, and several may do this at once.
"""

import asyncio
import json
from dataclasses import dataclass
from typing import Any, Final

import psycopg
import structlog
from psycopg import AsyncConnection
from psycopg.types.json import Jsonb
from psycopg_pool import AsyncConnectionPool, PoolTimeout
from temporalio.client import (
    Client,
    WorkflowHandle,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.service import RPCError, RPCStatusCode

from domain.commands import CommandKind, CommandState
from domain.deals import Command, DealStatus, check_command
from domain.errors import DealError, NotFound, Problem
from domain.identifiers import DealId
from workflows.deal.failures import problem_of
from workflows.deal.workflow import workflow_id

Pool = AsyncConnectionPool[AsyncConnection[Any]]

_LOOK_SECONDS: Final = 1.0
_ANSWER_SECONDS: Final = 10.0
_AT_ONCE: Final = 100
_QUEUED: Final = """
SELECT command_id, kind, subject, principal_id, why, body FROM control.commands
WHERE state = 'QUEUED' ORDER BY created_at, command_id LIMIT %s
"""
_CAUSE: Final = "SELECT set_config('deal.cause', %s, true)"
_DECIDE: Final = """
UPDATE control.commands
SET state = %s, problem = %s, answer = %s, decided_at = clock_timestamp()
WHERE command_id = %s AND state = 'QUEUED'
"""
_STATUS: Final = "SELECT status FROM deals.deals WHERE deal_id = %s"
_DATABASE_AWAY: Final = (psycopg.OperationalError, psycopg.InterfaceError, PoolTimeout)

_log = structlog.get_logger(__name__)


class TemporalAway(Exception):
    """Temporal, or every worker that could answer, is away: what waits goes on waiting."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A command that waits, and in whose name; `name` is the workflow's own for it."""

    command_id: str
    name: str
    deal_id: DealId
    who: str
    why: str
    body: dict[str, Any]


class Dispatcher:
    """Delivers what waits, the oldest first."""

    def __init__(self, pool: Pool, client: Client) -> None:
        """Take connections of the role deal_records, and the client to deliver with."""
        self._pool = pool
        self._client = client

    async def run(self) -> None:
        """Look about once a second, through times when Temporal or the database is away."""
        while True:
            try:
                await self.round()
            except TemporalAway as error:
                _log.warning("commands wait for Temporal", reason=str(error))
            except _DATABASE_AWAY as error:
                _log.warning("commands cannot be looked for", reason=str(error))
            await asyncio.sleep(_LOOK_SECONDS)

    async def round(self) -> None:
        """Deliver what waits now. Raises `TemporalAway`, having delivered what it could."""
        for command in await self._waiting():
            await self._deliver(command)

    async def _waiting(self) -> list[Waiting]:
        async with self._pool.connection() as connection:
            cursor = await connection.execute(_QUEUED, (_AT_ONCE,))
            rows = await cursor.fetchall()
        return [
            Waiting(row[0], CommandKind(row[1]).rpartition(".")[2], DealId(row[2]), *row[3:])
            for row in rows
        ]

    async def _deliver(self, command: Waiting) -> None:
        try:
            answer = await self._answer(command)
        except DealError as error:
            await self._decide(command, CommandState.REFUSED, problem=error.problem)
        except WorkflowUpdateFailedError as error:
            await self._decide(command, CommandState.REFUSED, problem=problem_of(error))
        else:
            await self._decide(command, CommandState.APPLIED, answer=answer)

    async def _answer(self, command: Waiting) -> object:
        """What the workflow says; raises what it refuses with, and `TemporalAway`."""
        handle = self._client.get_workflow_handle(workflow_id(command.deal_id))
        message = command.body | {"who": command.who, "why": command.why}
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                return await handle.execute_update(command.name, message, id=command.command_id)
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                return await self._answer_of_ended(command, handle)
            raise TemporalAway(error.message) from error
        except (TimeoutError, WorkflowUpdateRPCTimeoutOrCancelledError) as error:
            raise TemporalAway("no answer") from error

    async def _answer_of_ended(self, command: Waiting, handle: WorkflowHandle[Any, Any]) -> object:
        """The answer that it gave before it ended, if the command was delivered by then."""
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                return await handle.get_update_handle(command.command_id).result()
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                raise await self._too_late(command) from error
            raise TemporalAway(error.message) from error
        except (TimeoutError, WorkflowUpdateRPCTimeoutOrCancelledError) as error:
            raise TemporalAway("no answer") from error

    async def _too_late(self, command: Waiting) -> DealError:
        """Why a deal that runs no more takes no command."""
        async with self._pool.connection() as connection:
            row = await (await connection.execute(_STATUS, (command.deal_id,))).fetchone()
        if row is not None and command.name in set(Command):
            try:
                check_command(Command(command.name), DealStatus(row[0]))
            except DealError as error:
                return error
        return NotFound(
            f"there is no deal {command.deal_id} that could be given {command.name}",
            field="deal_id",
            value=command.deal_id,
            actual=None if row is None else row[0],
            next_action="look at the deal with `deal show`",
        )

    async def _decide(
        self,
        command: Waiting,
        state: CommandState,
        *,
        problem: Problem | None = None,
        answer: object = None,
    ) -> None:
        """Write down what became of it, unless another worker has."""
        cause = {
            "who": "deals-worker",
            "kind": "system",
            "via": "worker",
            "why": f"delivered for {command.who} when Temporal was back: {command.why}",
            "command_id": command.command_id,
        }
        told = problem and Jsonb(problem.model_dump(mode="json", exclude_none=True))
        given = Jsonb(answer) if isinstance(answer, dict) else None
        async with self._pool.connection() as connection, connection.transaction():
            await connection.execute(_CAUSE, (json.dumps(cause),))
            await connection.execute(_DECIDE, (state, told, given, command.command_id))
        _log.info("delivered", command=command.command_id, deal=command.deal_id, state=state)
