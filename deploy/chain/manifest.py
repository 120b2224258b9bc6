"""The address manifest of a chain: which contract is where, as one committed JSON file."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from deploy.chain.paths import CONFIG_DIR

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def manifest_file(chain_id: int) -> Path:
    """Return where the chain's committed manifest is."""
    return CONFIG_DIR / f"{chain_id}.addresses.json"


def manifest_text(chain_id: int, contracts: Mapping[str, str]) -> str:
    """Return the manifest: the chain id, and EIP-55 addresses sorted by key."""
    content = {"chain_id": chain_id, "contracts": dict(sorted(contracts.items()))}
    return json.dumps(content, indent=2) + "\n"
