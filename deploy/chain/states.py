"""Deploys each chain once, and keeps what came of it as a state file that anvil loads quickly."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deploy.chain.anvil import has_anvil
from deploy.chain.artifacts import compile_contracts
from deploy.chain.errors import ChainError
from deploy.chain.executor import write_executor
from deploy.chain.locks import exclusive
from deploy.chain.manifest import manifest_file, manifest_text
from deploy.chain.packages import install
from deploy.chain.paths import state_dir, write_whole
from deploy.chain.progress import announce

if TYPE_CHECKING:
    from pathlib import Path

CHAIN_IDS = (138, 651940)


@dataclass(frozen=True)
class ChainState:
    """A deployed chain: the file to load, its manifest, and its last block's time (Unix seconds).

    anvil goes on from the wall clock after loading; give it `--timestamp tip_timestamp+1` to go on
    from the last block instead.
    """

    state_file: Path
    manifest_file: Path
    tip_timestamp: int


def ensure_state(chain_id: int) -> ChainState:
    """Return the chain's state, deploying it first where these sources have none yet.

    Raises:
        ChainError: the chain is unknown, a tool is missing, the deployment fails, or the committed
            manifest is not what it deploys.

    """
    if chain_id not in CHAIN_IDS:
        message = f"no local chain {chain_id}: there are {CHAIN_IDS}"
        raise ChainError(message)
    _ensure_files(chain_id)
    _check_manifest(chain_id)
    return _chain_state(chain_id)


def build() -> dict[int, ChainState]:
    """Deploy every chain whose state is missing, and bring what is committed of it up to date."""
    for chain_id in CHAIN_IDS:
        _ensure_files(chain_id)
        deployed = _deployed_manifest(chain_id).read_text()
        committed = manifest_file(chain_id)
        if not committed.is_file() or committed.read_text() != deployed:
            announce(f"writing deploy/config/{committed.name}")
            write_whole(committed, deployed)
    write_executor()
    return {chain_id: ensure_state(chain_id) for chain_id in CHAIN_IDS}


def _ensure_files(chain_id: int) -> None:
    if _summary(chain_id).is_file() and has_anvil():
        return
    install()
    compile_contracts()
    with exclusive(state_dir()):
        if not _summary(chain_id).is_file():
            _deploy(chain_id)


def _deploy(chain_id: int) -> None:
    # Imported here because web3 takes a second to load, which a state that exists can do without.
    from deploy.chain.deployment import deploy_chain  # noqa: PLC0415

    announce(f"deploying chain {chain_id}")
    began = time.monotonic()
    deployment = deploy_chain(chain_id)
    write_whole(_state_file(chain_id), deployment.state)
    write_whole(_deployed_manifest(chain_id), manifest_text(chain_id, deployment.contracts))
    # Written last: where it is, the other two are.
    write_whole(_summary(chain_id), json.dumps({"timestamp": deployment.tip_timestamp}))
    seconds = time.monotonic() - began
    announce(f"deployed chain {chain_id}: {deployment.blocks} blocks in {seconds:.1f} s")


def _check_manifest(chain_id: int) -> None:
    committed = manifest_file(chain_id)
    expected = _deployed_manifest(chain_id).read_text()
    if not committed.is_file() or committed.read_text() != expected:
        message = f"{committed.name} is out of date: run `python -m deploy.chain build`"
        raise ChainError(message)


def _chain_state(chain_id: int) -> ChainState:
    tip_timestamp: int = json.loads(_summary(chain_id).read_text())["timestamp"]
    return ChainState(_state_file(chain_id), manifest_file(chain_id), tip_timestamp)


def _state_file(chain_id: int) -> Path:
    return state_dir() / f"{chain_id}.json"


def _deployed_manifest(chain_id: int) -> Path:
    return state_dir() / f"{chain_id}.addresses.json"


def _summary(chain_id: int) -> Path:
    return state_dir() / f"{chain_id}.summary.json"
