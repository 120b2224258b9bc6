"""Fetches everything the stack needs: `python -m starters.local.fetch`.

After that a start needs no network.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from starters.local import chain_source, postgres, redis
from starters.local.errors import LocalStackError
from starters.local.stack import CHAINS
from starters.local.telling import Telling
from starters.local.temporal import ensure_temporal

if TYPE_CHECKING:
    from pathlib import Path


def fetch_all(telling: Telling) -> dict[str, Path]:
    """Fetch and prepare what is missing; return where each thing is.

    Args:
        telling: told what is being done, for as long as it takes.

    Raises:
        LocalStackError: something is missing and cannot be fetched.

    """
    servers = {
        "postgres": postgres.postgres_binary(),
        "redis": redis.redis_binary(),
        "temporal": ensure_temporal(telling),
    }
    chains = {f"chain {chain}": chain_source.prepared(chain).state_file for chain in CHAINS}
    return servers | chains | {"anvil": chain_source.anvil()}


def main() -> int:
    """Fetch everything; print where it is, or in one line what is missing."""
    telling = Telling()
    try:
        found = fetch_all(telling)
    except LocalStackError as error:
        telling.end()
        sys.stderr.write(f"{error}\n")
        return 1
    telling.end()
    for name, place in found.items():
        sys.stdout.write(f"{name:14} {place}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
