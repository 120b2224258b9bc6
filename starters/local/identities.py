"""The people of the local stack, each with a key of their own: for trying out, and for tests.

`desk` does what a desk does by day and is meant when nobody is named. What takes a second person
takes one of the others (`deal --as approver-1 ...`).
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Final

import psycopg

from domain.errors import InvalidInput
from domain.identity import ALL_BANKS, PrincipalId, PrincipalKind, Role
from starters.access.keys import ApiKey
from starters.local import postgres
from starters.local.state import default_dir

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

DESK: Final = "desk"
PEOPLE: Final[Mapping[str, tuple[Role, ...]]] = {
    DESK: (
        Role.VIEWER,
        Role.TRADER,
        Role.SENIOR_TRADER,
        Role.ONCALL,
        Role.COMPLIANCE,
        Role.ADMIN,
    ),
    "trader": (Role.TRADER,),
    "senior": (Role.SENIOR_TRADER,),
    "approver-1": (Role.APPROVER,),
    "approver-2": (Role.APPROVER,),
    "risk-1": (Role.RISK_MANAGER,),
    "risk-2": (Role.RISK_MANAGER,),
    "oncall-1": (Role.ONCALL,),
    "oncall-2": (Role.ONCALL,),
    "compliance": (Role.COMPLIANCE,),
    "viewer": (Role.VIEWER,),
    "admin-1": (Role.ADMIN,),
    "admin-2": (Role.ADMIN,),
}
"""All of them for every bank."""

_MAX_DEAL_USD8: Final = 10**19
"""A hundred billion dollars: the local chains' own markets are smaller."""
_CAUSE: Final = json.dumps(
    {"who": "local-stack", "kind": "system", "via": "cli", "why": "the people of a local stack"}
)
_ADD_PERSON: Final = """
INSERT INTO control.principals (principal_id, kind, roles, banks, max_deal_usd8)
VALUES (%s, %s, %s, %s, %s) ON CONFLICT DO NOTHING
"""
_ADD_KEY: Final = """
INSERT INTO control.api_keys (key_id, principal_id, hash, label, expires_at)
VALUES (%s, %s, %s, 'local stack', clock_timestamp() + interval '365 days')
"""
_COUNTS: Final = """
SELECT hash FROM control.api_keys WHERE key_id = %s AND revoked_at IS NULL
    AND expires_at > clock_timestamp() + interval '1 day'
"""


def folder(stack: Path | None = None) -> Path:
    """Return where the keys are."""
    return (stack or default_dir()).expanduser().absolute() / "identities"


def key_file(name: str, stack: Path | None = None) -> Path:
    """Return the file with somebody's key; raises `InvalidInput` if there is no such person."""
    if name not in PEOPLE:
        raise InvalidInput(
            "the local stack has nobody of this name",
            field="as",
            value=name,
            limit=", ".join(PEOPLE),
            next_action="choose one of them, or name your own credential in DEAL_CREDENTIAL_FILE",
        )
    return folder(stack) / f"{name}.key"


def ensure_identities(stack: Path) -> None:
    """Have everybody exist with a key that counts; those who do already are left alone."""
    folder(stack).mkdir(mode=0o700, parents=True, exist_ok=True)
    with psycopg.connect(postgres.url(stack, "deal_control")) as connection:
        connection.execute("SELECT set_config('deal.cause', %s, true)", (_CAUSE,))
        for name, roles in PEOPLE.items():
            connection.execute(
                _ADD_PERSON,
                (PrincipalId(name), PrincipalKind.HUMAN, list(roles), [ALL_BANKS], _MAX_DEAL_USD8),
            )
            if not _counts(connection, key_file(name, stack)):
                _add_key(connection, name, key_file(name, stack))


def _counts(connection: psycopg.Connection[tuple[object, ...]], file: Path) -> bool:
    try:
        key = ApiKey.parse(file.read_text(encoding="utf-8").strip())
    except OSError:
        return False
    row = None if key is None else connection.execute(_COUNTS, (key.key_id,)).fetchone()
    return key is not None and row is not None and key.has_hash(str(row[0]))


def _add_key(connection: psycopg.Connection[tuple[object, ...]], name: str, file: Path) -> None:
    key = ApiKey.generate()
    connection.execute(_ADD_KEY, (key.key_id, name, key.hash))
    write_key(file, key)


def write_key(file: Path, key: ApiKey) -> None:
    """Write a key to a file for its owner alone; one that is there is replaced as a whole."""
    draft = file.with_name(f".{file.name}.new")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
        opened.write(f"{key.text}\n")
    draft.replace(file)
