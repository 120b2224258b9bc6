"""Changing the control database as the role ``deal_control``, each change with its cause.

The database refuses a change of its watched tables without one, and writes the row of the audit
trail when the transaction commits.
"""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import psycopg
from psycopg import AsyncConnection

from domain.errors import InvalidInput, Unavailable
from domain.identity import Caller
from starters.deals.database import Connections, single_connection

_SET_CAUSE: Final = "SELECT set_config('deal.cause', %s, true)"


class ControlDatabase:
    """The control database; one change is one transaction."""

    def __init__(self, connections: Connections) -> None:
        """Use these connections of the role ``deal_control``: a pool's, or `single_connection`."""
        self._connections = connections

    @classmethod
    def at(cls, database_url: str) -> "ControlDatabase":
        """Connect anew for each change: what a command that changes once needs."""
        return cls(single_connection(database_url, "DEAL_CONTROL_DATABASE_URL"))

    @asynccontextmanager
    async def change(
        self, caller: Caller, why: str, command_id: str | None = None, *, action: str | None = None
    ) -> AsyncIterator[AsyncConnection[Any]]:
        """Lend a connection in a transaction that has its cause; committed at the end.

        `action` names what is done in the audit trail (``policy.approve``); without it the trail
        says which kind of row was added, changed or removed.

        Raises `InvalidInput` without a reason, and `Unavailable`; a broken constraint is an answer
        and is passed on.
        """
        text = json.dumps(cause_of(caller, why, command_id, action=action))
        async with self.lend() as connection:
            await connection.execute(_SET_CAUSE, (text,))
            yield connection

    @asynccontextmanager
    async def lend(self) -> AsyncIterator[AsyncConnection[Any]]:
        """Lend a connection in a transaction without a cause: for what nothing follows from.

        Raises `Unavailable`.
        """
        try:
            async with self._connections() as connection, connection.transaction():
                yield connection
        except (psycopg.OperationalError, psycopg.InterfaceError) as error:
            raise Unavailable(
                "nothing can be changed now: the control database does not answer",
                field="DEAL_CONTROL_DATABASE_URL",
                actual=str(error).partition("\n")[0],
                next_action="start Postgres, or wait, and try again",
            ) from error


def cause_of(
    caller: Caller, why: str, command_id: str | None = None, *, action: str | None = None
) -> dict[str, str | None]:
    """Who, why and from where, as the database takes it. Raises `InvalidInput` without a reason."""
    if not why.strip():
        raise InvalidInput(
            "a change needs a reason",
            field="reason",
            limit="at least one word",
            next_action="say why, for whoever reads the audit trail",
        )
    return {
        "who": caller.principal.principal_id,
        "kind": caller.principal.kind,
        "via": caller.via,
        "address": caller.address,
        "why": why.strip(),
        "request_id": caller.request_id,
        "command_id": command_id,
        "action": action,
    }
