"""The API in this process, served by uvicorn, on a real stack."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from domain.identity import Role
from starters.access.keys import ApiKey
from starters.api.serving import application
from starters.api.settings import ApiSettings
from starters.local import postgres
from starters.local.stack import Stack
from starters.local.state import load_environment
from tests.api.serving import served
from tests.control.people import add_principal, change
from tests.support.postgres import Database
from tests.support.stacks import own_environment

RATES = ("address", "unauthenticated", "read", "safety", "change", "launch")
QUIET = {f"api_rate_{name}": "1000000/minute" for name in RATES}
"""Limits that no test reaches."""


@contextmanager
def served_on(stack: Stack, **changes: Any) -> Iterator[str]:
    """Serve it on the stack's servers, as the stack itself would; gives the address."""
    with (
        own_environment(load_environment(stack.folder)),
        served(application(ApiSettings(**QUIET | changes))) as address,
    ):
        yield address


def database_of(stack: Stack) -> Database:
    """The stack's own database."""
    return Database(postgres.url(stack.folder, postgres.OWNER))


def add_person(stack: Stack, name: str, *roles: Role, banks: tuple[str, ...] = ("*",)) -> ApiKey:
    """Add somebody who may do this, with a key."""
    database, key = database_of(stack), ApiKey.generate()
    add_principal(database, name, *roles, banks=banks)
    change(
        database,
        "UPDATE control.principals SET max_deal_usd8 = %s WHERE principal_id = %s",
        10**17,
        name,
    )
    change(
        database,
        "INSERT INTO control.api_keys (key_id, principal_id, hash, label, expires_at)"
        " VALUES (%s, %s, %s, 'a test', clock_timestamp() + interval '1 day')",
        key.key_id,
        name,
        key.hash,
    )
    return key
