"""The chains: one anvil each, from the prepared state, saved so that a restart loses nothing.

`kept.json` is the last state known to be whole: the keeper replaces it while anvil runs. anvil
itself writes `state.json` when it ends. The next start goes on from the newer of the two.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from typing import TYPE_CHECKING, Any

from starters.local import chain_source
from starters.local.errors import LocalStackError
from starters.local.ports import LOOPBACK
from starters.local.processes import ProcessSpec, base_environment, forget
from starters.local.state import project_dir

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

KEEPER = "keeper"

_USUAL_PORT = {138: 8545, 651940: 8546}
_KEPT_BLOCK_STATES = 64  # enough for any reorg; without a limit anvil fills the disk


def name(chain_id: int) -> str:
    """Return the name of the chain's component."""
    return f"chain-{chain_id}"


def usual_ports(chain_id: int) -> dict[str, int]:
    """Return the port where the chain is looked for first."""
    return {name(chain_id): _USUAL_PORT.get(chain_id, 8547)}


def url(port: int) -> str:
    """Return the endpoint of a chain's node."""
    return f"http://{LOOPBACK}:{port}"


def spec(
    stack: Path, chain_id: int, ports: Mapping[str, int], block_time: int | None
) -> ProcessSpec:
    """Return how to run one chain, from its prepared state the first time.

    Args:
        stack: the stack's folder.
        chain_id: the chain.
        ports: the chosen port, under the component's name.
        block_time: seconds between blocks; None mines each transaction as it comes.

    """
    folder = stack / name(chain_id)
    folder.mkdir(parents=True, exist_ok=True)
    port = ports[name(chain_id)]
    mining = () if block_time is None else (f"--block-time={block_time}",)
    return ProcessSpec(
        name=name(chain_id),
        command=(*_command(chain_id, folder, port), *mining),
        environment=base_environment(stack, folder),
        folder=folder,
        log=stack / "logs" / f"{name(chain_id)}.log",
        probe=f"jsonrpc://{LOOPBACK}:{port}",
        stage=2,
        ports=ports,
        address=url(port),
        grace=30.0,  # it writes its state before it ends
        prepare=lambda: settle_state(stack, chain_id),
    )


def _command(chain_id: int, folder: Path, port: int) -> tuple[str, ...]:
    return (
        str(chain_source.anvil()),
        f"--host={LOOPBACK}",
        f"--port={port}",
        f"--chain-id={chain_id}",
        "--hardfork=prague",
        f"--prune-history={_KEPT_BLOCK_STATES}",
        f"--cache-path={folder / 'cache'}",
        f"--load-state={folder / 'kept.json'}",
        f"--dump-state={folder / 'state.json'}",
        "--no-cors",  # no web page has business with this node
        "--quiet",
    )


def settle_state(stack: Path, chain_id: int) -> tuple[str, ...]:
    """Make `kept.json` the state to start from; return the options that set the clock by it.

    The clock goes on from the last block: with the wall clock, the time between two runs would be
    charged as interest on every open loan.

    Raises:
        LocalStackError: no saved state is whole, or it is of other contracts.

    """
    folder = stack / name(chain_id)
    _begin(folder, chain_id)
    kept, dumped = folder / "kept.json", folder / "state.json"
    candidates = sorted(
        (file for file in (kept, dumped) if file.exists()),
        key=lambda file: file.stat().st_mtime,
        reverse=True,
    )
    for file in candidates:
        if tip := _tip_timestamp(file):
            if file == dumped:
                dumped.replace(kept)
            dumped.unlink(missing_ok=True)  # so that it is only ever newer than what is kept
            return (f"--timestamp={tip + 1}",)
    raise LocalStackError(
        what=f"Chain {chain_id} cannot be gone on with",
        why=f"neither {kept} nor {dumped} is a whole state",
        action=f"Remove {folder} for a new chain; deals that were under way on it are lost.",
    )


def _begin(folder: Path, chain_id: int) -> None:
    """Copy the prepared state the first time, and later check that the contracts are the same."""
    prepared = chain_source.prepared(chain_id)
    made_from = hashlib.sha256(prepared.manifest_file.read_bytes()).hexdigest()
    origin = folder / "origin"
    if not origin.exists():
        shutil.copyfile(prepared.state_file, folder / "kept.json")
        origin.write_text(made_from)
    elif origin.read_text() != made_from:
        raise LocalStackError(
            what=f"Chain {chain_id} in {folder} does not fit this version",
            why="its contracts are at other addresses than the committed manifest says",
            action="Run `deal local down` and remove the stack's folder to begin anew.",
        )


def _tip_timestamp(file: Path) -> int | None:
    """Return the time of the last block of a saved state; None if the file is not whole."""
    try:
        state: dict[str, Any] = json.loads(file.read_bytes())
        return int(state["block"]["timestamp"], 16)
    except (ValueError, KeyError, TypeError):
        return None


def manifest(chain_id: int) -> dict[str, Any]:
    """Return the addresses of the chain's contracts."""
    addresses: dict[str, Any] = json.loads(
        chain_source.prepared(chain_id).manifest_file.read_text()
    )
    return addresses


def keeper_spec(stack: Path, chains: Mapping[int, int]) -> ProcessSpec:
    """Return how to run the keeper for these chains (chain id to port)."""
    watched = [
        f"{port}={stack / name(chain_id) / 'kept.json'}" for chain_id, port in chains.items()
    ]
    ready = stack / "keeper.ready"
    return ProcessSpec(
        name=KEEPER,
        command=(sys.executable, "-m", "starters.local.keeper", str(ready), *watched),
        environment=base_environment(stack, stack),
        folder=project_dir(),
        log=stack / "logs" / "keeper.log",
        probe=f"file://{ready}",
        stage=3,
        prepare=lambda: forget(ready),
    )
