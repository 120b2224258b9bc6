"""Commands, written down before they go to a workflow: one id is one command, for ever.

Whoever looks at the records later believes what stands here, because only an authenticated caller
could write it; what a message to a workflow says of its sender is only what it says.
"""

from typing import Any, Final, LiteralString

from psycopg import AsyncConnection
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from domain.commands import CommandState, NewCommand, RecordedCommand
from domain.errors import NotFound, Problem
from domain.identity import Caller
from starters.control.database import ControlDatabase
from starters.deals.database import Connections, fetch

_COLUMNS: Final[LiteralString] = (
    "command_id, kind, subject, deal_id, bank, body, body_digest, request_digest, principal_id,"
    " via, address, why, state, problem, answer, created_at, decided_at"
)
_FIND: Final[LiteralString] = "SELECT " + _COLUMNS + " FROM control.commands WHERE command_id = %s"  # noqa: S608 - constants only
_QUEUED: Final[LiteralString] = (
    "SELECT " + _COLUMNS + " FROM control.commands WHERE state = 'QUEUED'"  # noqa: S608 - likewise
    " ORDER BY created_at, command_id LIMIT %s"
)
_INSERT: Final[LiteralString] = (
    "INSERT INTO control.commands (command_id, kind, subject, deal_id, bank, body, body_digest,"  # noqa: S608 - likewise
    " request_digest, principal_id, via, address, why)"
    " VALUES (%(command_id)s, %(kind)s, %(subject)s, %(deal_id)s, %(bank)s, %(body)s,"
    " %(body_digest)s, %(request_digest)s, %(who)s, %(via)s, %(address)s, %(why)s)"
    " ON CONFLICT (command_id) DO NOTHING RETURNING " + _COLUMNS
)
_AGAIN: Final[LiteralString] = (
    "UPDATE control.commands SET state = 'RECORDED', problem = NULL, decided_at = NULL"  # noqa: S608 - likewise
    " WHERE command_id = %s AND state = 'REFUSED' AND problem ->> 'code' = 'unavailable'"
    " RETURNING " + _COLUMNS
)
_DECIDE: Final[LiteralString] = (
    "UPDATE control.commands SET state = %(state)s, problem = %(problem)s, answer = %(answer)s,"  # noqa: S608 - likewise
    " decided_at = CASE WHEN %(state)s IN ('APPLIED', 'REFUSED') THEN clock_timestamp() END"
    " WHERE command_id = %(command_id)s AND state IN ('RECORDED', 'QUEUED')"
    " RETURNING " + _COLUMNS
)


class CommandStore:
    """The table `control.commands`."""

    def __init__(self, database: ControlDatabase, reading: Connections) -> None:
        """Write by the control database, and read by these connections."""
        self._database = database
        self._reading = reading

    async def record(self, caller: Caller, command: NewCommand) -> RecordedCommand:
        """Write a command down, or return the first one of its id with what became of it.

        One that was refused because somebody did not answer is `RECORDED` again, to be tried again.
        Raises `Conflict` if the id was used for something else or by somebody else, and
        `Unavailable`.
        """
        first = await self.find(command.command_id)
        if first is not None:
            return await self._again(caller, command, first)
        async with self._database.change(caller, command.why, command.command_id) as connection:
            row = await _row(connection, _INSERT, _parameters(caller, command))
        if row is not None:
            return RecordedCommand.model_validate(row)
        first = await self.find(command.command_id)
        if first is None:
            raise AssertionError  # rows are never deleted
        return await self._again(caller, command, first)

    async def find(self, command_id: str) -> RecordedCommand | None:
        """Return one command. Raises `Unavailable`."""
        rows = await fetch(self._reading, _FIND, (command_id,))
        return RecordedCommand.model_validate(rows[0]) if rows else None

    async def queued(self, limit: int = 100) -> list[RecordedCommand]:
        """Return what waits for Temporal, the oldest first. Raises `Unavailable`."""
        rows = await fetch(self._reading, _QUEUED, (limit,))
        return [RecordedCommand.model_validate(row) for row in rows]

    async def queue(self, caller: Caller, command: RecordedCommand) -> RecordedCommand:
        """Have it delivered when Temporal is back."""
        return await self._decide(caller, command, CommandState.QUEUED)

    async def apply(
        self, caller: Caller, command: RecordedCommand, answer: dict[str, Any] | None
    ) -> RecordedCommand:
        """Write down that it was done, and what was answered."""
        return await self._decide(caller, command, CommandState.APPLIED, answer=answer)

    async def refuse(
        self, caller: Caller, command: RecordedCommand, problem: Problem
    ) -> RecordedCommand:
        """Write down that nothing was done, and why."""
        return await self._decide(caller, command, CommandState.REFUSED, problem=problem)

    async def _decide(
        self,
        caller: Caller,
        command: RecordedCommand,
        state: CommandState,
        *,
        problem: Problem | None = None,
        answer: dict[str, Any] | None = None,
    ) -> RecordedCommand:
        """Decide it, unless somebody else has: what was decided first stands, and is returned."""
        parameters = {
            "command_id": command.command_id,
            "state": state,
            "problem": problem and Jsonb(problem.model_dump(mode="json", exclude_none=True)),
            "answer": None if answer is None else Jsonb(answer),
        }
        async with self._database.change(caller, command.why, command.command_id) as connection:
            row = await _row(connection, _DECIDE, parameters)
        if row is not None:
            return RecordedCommand.model_validate(row)
        first = await self.find(command.command_id)
        if first is None:
            raise NotFound(
                f"there is no command {command.command_id}",
                field="command_id",
                value=command.command_id,
                next_action="give the command again under a new id",
            )
        return first

    async def _again(
        self, caller: Caller, command: NewCommand, first: RecordedCommand
    ) -> RecordedCommand:
        first.ensure_same(command, caller.who)
        if first.problem is None or first.problem.code != "unavailable":
            return first
        async with self._database.change(caller, command.why, command.command_id) as connection:
            row = await _row(connection, _AGAIN, (command.command_id,))
        return first if row is None else RecordedCommand.model_validate(row)


def _parameters(caller: Caller, command: NewCommand) -> dict[str, Any]:
    return {
        "command_id": command.command_id,
        "kind": command.kind,
        "subject": command.subject,
        "deal_id": command.deal_id,
        "bank": command.bank,
        "body": Jsonb(command.body),
        "body_digest": command.digest(),
        "request_digest": command.request_digest,
        "who": caller.who,
        "via": caller.via,
        "address": caller.address,
        "why": command.why,
    }


async def _row(
    connection: AsyncConnection[Any],
    statement: LiteralString,
    parameters: Any,  # noqa: ANN401 - both styles
) -> dict[str, Any] | None:
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(statement, parameters)
        return await cursor.fetchone()
