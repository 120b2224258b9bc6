"""Setting and releasing halts in tests, as different people, straight in the database."""

from __future__ import annotations

import json
from typing import Final

import psycopg

_CAUSE: Final = "SELECT set_config('deal.cause', %s, true)"
_CHANGE: Final = "UPDATE control.halts SET state = %s, who = %s, why = %s WHERE scope = %s"
_NOW: Final = "SELECT extract(epoch FROM clock_timestamp())::float8"
_SET: Final = "INSERT INTO control.halts (scope, state, who, why) VALUES (%s, %s, %s, %s)"


def put_halt(url: str, scope: str, state: str, who: str = "risk-1") -> float:
    """Halt a scope, or change its halt, as one who may; `url` is of the role deal_control.

    Returns when that was about to be committed, in Unix seconds of the server's clock.
    """
    cause = {"who": who, "kind": "human", "via": "cli", "why": "the market moves"}
    with psycopg.connect(url) as connection:
        connection.execute(_CAUSE, (json.dumps(cause),))
        changed = connection.execute(_CHANGE, (state, who, cause["why"], scope))
        if not changed.rowcount:
            connection.execute(_SET, (scope, state, who, cause["why"]))
        row = connection.execute(_NOW).fetchone()
    assert row is not None
    return float(row[0])


def forget_halts(owner_url: str) -> None:
    """Leave the database as if nothing had ever been halted."""
    with psycopg.connect(owner_url, autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute("DELETE FROM control.halts")
