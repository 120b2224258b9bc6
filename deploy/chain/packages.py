"""The npm packages: protocol artifacts, the Solidity compiler, and anvil."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

from deploy.chain.errors import ChainError
from deploy.chain.locks import exclusive
from deploy.chain.paths import BUILD_DIR, CHAIN_DIR, LOCK_FILE, NODE_MODULES, cache_dir
from deploy.chain.progress import announce

if TYPE_CHECKING:
    from pathlib import Path

# Scripts are not run because none is needed and any of them could run anything; the peers are
# another major version of ethers that only the packages' own TypeScript helpers would use.
INSTALL = ("ci", "--ignore-scripts", "--legacy-peer-deps", "--no-audit", "--no-fund")


def node_tool(name: str) -> str:
    """Return the path of `node` or `npm`.

    Raises:
        ChainError: it is not on PATH.

    """
    found = shutil.which(name)
    if found is None:
        message = f"{name} is missing: install Node.js 20 or later (it brings npm), then try again"
        raise ChainError(message)
    return found


def _locked_packages(file: Path) -> dict[str, dict[str, Any]]:
    packages: dict[str, dict[str, Any]] = json.loads(file.read_text())["packages"]
    return {name: package for name, package in packages.items() if name}


def installed() -> bool:
    """Say whether node_modules holds what package-lock.json asks for.

    npm keeps its own account of what it put there; it is written last, so a broken-off
    installation has none. Optional packages may be absent: they are other platforms' anvils.
    """
    account = NODE_MODULES / ".package-lock.json"
    if not account.is_file():
        return False
    present = _locked_packages(account)
    wanted = _locked_packages(LOCK_FILE)
    return all(
        present[name]["version"] == package["version"]
        if name in present
        else package.get("optional", False)
        for name, package in wanted.items()
    )


def install() -> None:
    """Install the npm packages where they are missing or older than the lock file.

    Raises:
        ChainError: npm is missing or fails.

    """
    if installed():
        return
    with exclusive(BUILD_DIR):
        if not installed():
            _run_npm()


def _run_npm() -> None:
    command = [node_tool("npm"), *INSTALL]
    announce("installing npm packages")
    environment = {**os.environ, "npm_config_cache": str(cache_dir() / "npm")}
    result = subprocess.run(  # noqa: S603 - npm, with fixed arguments
        command, cwd=CHAIN_DIR, env=environment, capture_output=True, text=True, check=False
    )
    if result.returncode != 0:
        message = f"npm could not install deploy/chain's packages: {_reason(result.stderr)}"
        raise ChainError(message)


def _reason(output: str) -> str:
    """Return the line that says most: npm warns first, then gives a code, then explains."""
    lines = [line for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("npm error")]
    explained = [line for line in errors if not line.startswith("npm error code")]
    return next(iter([*explained, *errors, *lines]), "it gave no message").removeprefix(
        "npm error "
    )
