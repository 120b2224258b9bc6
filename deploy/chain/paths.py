"""Where the local chain's sources, builds, and cached states are."""

from __future__ import annotations

import hashlib
import os
from functools import cache
from pathlib import Path

CHAIN_DIR = Path(__file__).resolve().parent
CONFIG_DIR = CHAIN_DIR.parent / "config"
CONTRACTS_DIR = CHAIN_DIR / "contracts"
BUILD_DIR = CHAIN_DIR / "build"
NODE_MODULES = CHAIN_DIR / "node_modules"
LOCK_FILE = CHAIN_DIR / "package-lock.json"
EXECUTOR_FILE = CHAIN_DIR.parents[1] / "activities" / "transactions" / "executor.json"
COMPILE_SCRIPT = CHAIN_DIR / "compile.js"


def cache_dir() -> Path:
    """Return the user's cache folder for this project, which need not exist yet."""
    if chosen := os.environ.get("DEAL_CACHE_DIR"):
        return Path(chosen).resolve()
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "deal-orchestrator"


def solidity_sources() -> list[Path]:
    """Return everything that decides what the compiler prints."""
    return [*sorted(CONTRACTS_DIR.glob("*.sol")), COMPILE_SCRIPT, LOCK_FILE]


def digest(files: list[Path]) -> str:
    """Return 16 hexadecimal digits over the names and the contents of files."""
    total = hashlib.sha256()
    for file in files:
        content = file.read_bytes()
        total.update(f"{file.name}:{len(content)}:".encode())
        total.update(content)
    return total.hexdigest()[:16]


@cache
def content_hash() -> str:
    """Return the digest over all that shapes a deployed state: Solidity, deployment code, locks."""
    return digest([*solidity_sources(), *sorted(CHAIN_DIR.glob("*.py"))])


def write_whole(target: Path, text: str) -> None:
    """Write a file so that a reader sees the old one or the new one, never half of one."""
    partial = target.with_name(f"{target.name}.{os.getpid()}.partial")
    partial.write_text(text)
    partial.replace(target)


def state_dir() -> Path:
    """Return the folder that holds the states deployed from the present sources."""
    return cache_dir() / "chain" / content_hash()
