"""The deal policy of the local stack: the one that is shipped, put in force where there is none."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

import psycopg

from starters.control.policies import ADD, POLICY_FILE, read_policy, row_of
from starters.local import postgres
from starters.local.state import project_dir

if TYPE_CHECKING:
    from pathlib import Path

_WHO: Final = "local-stack"
_WHY: Final = "the first policy of a local stack"
_CAUSE: Final = json.dumps(
    {"who": _WHO, "kind": "system", "via": "cli", "why": _WHY, "action": "policy.install"}
)


def ensure_policy(stack: Path) -> None:
    """Have a policy in force; one that is there already is left alone."""
    policy = read_policy(project_dir() / "deploy" / "config" / POLICY_FILE)
    with psycopg.connect(postgres.url(stack, "deal_control")) as connection:
        connection.execute("SELECT set_config('deal.cause', %s, true)", (_CAUSE,))
        row = connection.execute("SELECT count(*) FROM control.policies").fetchone()
        if row == (0,):
            connection.execute(ADD, row_of(policy, _WHO, _WHY))
