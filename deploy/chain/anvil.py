"""Finds anvil and starts it on a free loopback port."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.chain.errors import ChainError
from deploy.chain.paths import LOCK_FILE, NODE_MODULES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# Versions whose state files this project was tried with; older ones cannot load them.
OLDEST = (1, 7)
BEFORE = (2, 0)

PROCESSORS = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}

START_SECONDS = 20.0
STOP_SECONDS = 20.0


@dataclass(frozen=True)
class RunningAnvil:
    """An anvil that answers."""

    url: str
    process_id: int


def anvil_binary() -> Path:
    """Return the anvil to use: `ANVIL`, then a fitting one on PATH, then the npm package's.

    Raises:
        ChainError: there is none, or `ANVIL` names something unusable.

    """
    if chosen := os.environ.get("ANVIL"):
        return _checked(Path(chosen))
    on_path = shutil.which("anvil")
    if on_path is not None and _fits(Path(on_path)):
        return Path(on_path)
    packaged = _packaged_binary()
    if packaged.is_file():
        return packaged
    cure = (
        "run `python -m deploy.chain build`" if _is_packaged() else "install Foundry 1.7 or later"
    )
    message = f"anvil is missing: {cure}, or set ANVIL to its path"
    raise ChainError(message)


def has_anvil() -> bool:
    """Say whether `anvil_binary` would find one."""
    try:
        anvil_binary()
    except ChainError:
        return False
    return True


def anvil_command(chain_id: int, *options: str, port: int = 0) -> list[str]:
    """Return the command line for one chain on loopback; port 0 lets the system choose.

    History is pruned because anvil would otherwise write a copy of the state to the disk for every
    block.
    """
    fixed = ["--chain-id", str(chain_id), "--port", str(port), "--host", "127.0.0.1"]
    rules = ["--hardfork", "prague", "--prune-history", "64"]
    return [str(anvil_binary()), *fixed, *rules, *options]


@contextmanager
def running_anvil(chain_id: int, *options: str) -> Iterator[RunningAnvil]:
    """Run anvil on a free port until the block ends; `options` are anvil's own.

    Raises:
        ChainError: it does not start.

    """
    with tempfile.TemporaryDirectory(prefix="deal-anvil-") as folder:
        log = Path(folder) / "log"
        command = anvil_command(chain_id, "--cache-path", folder, *options)
        with log.open("wb") as output:
            process = subprocess.Popen(  # noqa: S603 - anvil, with our caller's options
                command, stdout=output, stderr=subprocess.STDOUT
            )
        try:
            yield RunningAnvil(_await_url(process, log), process.pid)
        finally:
            _stop(process)


def _await_url(process: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if found := re.search(r"Listening on (127\.0\.0\.1:\d+)", log.read_text()):
            return f"http://{found[1]}"
        if process.poll() is not None:
            break
        time.sleep(0.01)
    lines = log.read_text().strip().splitlines() or ["it said nothing"]
    reason = next((line for line in lines if line.lower().startswith("error")), lines[-1])
    message = f"anvil did not start: {reason}"
    raise ChainError(message)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _package() -> str:
    processor = PROCESSORS.get(platform.machine().lower(), platform.machine())
    return f"@foundry-rs/anvil-{platform.system().lower()}-{processor}"


def _packaged_binary() -> Path:
    return NODE_MODULES / _package() / "bin" / "anvil"


def _is_packaged() -> bool:
    return f"node_modules/{_package()}" in json.loads(LOCK_FILE.read_text())["packages"]


def _checked(binary: Path) -> Path:
    if _fits(binary):
        return binary
    message = f"ANVIL={binary} is no anvil of version 1.7 or later: unset ANVIL or correct it"
    raise ChainError(message)


def _fits(binary: Path) -> bool:
    command: Sequence[str] = [str(binary), "--version"]
    try:
        result = subprocess.run(  # noqa: S603 - the binary the user chose
            command, capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    found = re.search(r"anvil Version: (\d+)\.(\d+)", result.stdout)
    return found is not None and OLDEST <= (int(found[1]), int(found[2])) < BEFORE
