"""Callers for tests, and principals in a database."""

from __future__ import annotations

import json
from typing import Any

import psycopg

from domain.identity import Caller, Principal, Role, Via
from tests.support.postgres import Database

CAUSE = {"who": "root", "kind": "human", "via": "cli", "why": "a test"}


def caller(name: str, *roles: Role, banks: tuple[str, ...] = ("*",), **more: Any) -> Caller:
    """Somebody with these roles."""
    principal = Principal.model_validate(
        {"principal_id": name, "roles": roles, "banks": banks, "max_deal_usd8": 10**15}
    )
    return Caller(principal=principal, **{"via": Via.CLI} | more)


def change(database: Database, statement: str, *parameters: object, **cause: str) -> None:
    """Make one change as the role that may, with a cause."""
    with psycopg.connect(database.role("deal_control")) as connection:
        connection.execute(
            "SELECT set_config('deal.cause', %s, true)", (json.dumps(CAUSE | cause),)
        )
        connection.execute(statement.encode(), parameters)


def add_principal(
    database: Database,
    name: str,
    *roles: str,
    kind: str = "human",
    banks: tuple[str, ...] = ("*",),
    subject: str | None = None,
) -> None:
    """Add a principal."""
    change(
        database,
        "INSERT INTO control.principals (principal_id, kind, roles, banks, subject)"
        " VALUES (%s, %s, %s, %s, %s)",
        name,
        kind,
        list(roles),
        list(banks),
        subject,
    )
