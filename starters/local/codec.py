"""The payload codec of the stack: its keys, and the server by which the Web UI reads payloads."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

from starters.local.ports import LOOPBACK
from starters.local.processes import ProcessSpec, base_environment
from starters.local.state import project_dir

if TYPE_CHECKING:
    from pathlib import Path

NAME = "codec"
USUAL_PORTS = {NAME: 8081}


def spec(stack: Path, port: int, web_ui: str) -> ProcessSpec:
    """Return how to run the codec server; only the page at `web_ui` may ask it."""
    folder = keys_file(stack).parent
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    environment = {
        "DEAL_ENVIRONMENT": "development",
        "DEAL_CODEC_SERVER_ADDRESS": f"{LOOPBACK}:{port}",
        "DEAL_WEB_UI": web_ui,
    }
    return ProcessSpec(
        name=NAME,
        command=(sys.executable, "-m", "starters.cli.main", "codec", "serve"),
        environment=base_environment(stack, folder) | environment | variables(stack),
        folder=project_dir(),
        log=stack / "logs" / "codec.log",
        probe=f"{url(port)}/health",
        stage=1,
        ports={NAME: port},
        address=url(port),
        prepare=lambda: _ensure_keys(stack),
    )


def url(port: int) -> str:
    """Return where the codec server answers."""
    return f"http://{LOOPBACK}:{port}"


def keys_file(stack: Path) -> Path:
    """Return where the codec's keys are."""
    return stack / "codec" / "keys.json"


def variables(stack: Path) -> dict[str, str]:
    """Return what tells a process where the keys are."""
    return {"DEAL_CODEC_KEYS": "file", "DEAL_CODEC_KEYS_FILE": str(keys_file(stack))}


def _ensure_keys(stack: Path) -> tuple[str, ...]:
    """Make the first key where there is none."""
    from workers.runtime.key_ring import CodecKey, FileKeySource  # noqa: PLC0415 - a start only

    if not keys_file(stack).exists():
        asyncio.run(FileKeySource(keys_file(stack)).add(CodecKey.generate()))
    return ()
