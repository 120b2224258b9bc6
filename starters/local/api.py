"""The HTTP API of the stack."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from starters.local import postgres, redis
from starters.local.ports import LOOPBACK
from starters.local.processes import ProcessSpec, base_environment, mark
from starters.local.state import project_dir
from starters.local.workers import common, endpoints

if TYPE_CHECKING:
    from pathlib import Path

    from starters.local.workers import Services

NAME = "api"
USUAL_PORTS = {NAME: 8080}


def spec(stack: Path, port: int, services: Services, web_ui: str) -> ProcessSpec:
    """Return how to run the API."""
    folder = stack / "api"
    folder.mkdir(parents=True, exist_ok=True)
    own = {
        "DEAL_API_ADDRESS": f"{LOOPBACK}:{port}",
        "DEAL_API_DOCS": "true",
        "DEAL_DATABASE_URL": postgres.url(stack, "deal_reader"),
        "DEAL_CONTROL_DATABASE_URL": postgres.url(stack, "deal_control"),
        "DEAL_REDIS_URL": redis.url(services.redis_port),
        "DEAL_LOCAL_DIR": str(stack),
        "PYTHONUNBUFFERED": "1",
    }
    if web_ui:
        own["DEAL_WEB_UI"] = web_ui
    return ProcessSpec(
        name=NAME,
        command=(sys.executable, "-X", mark(stack), "-m", "starters.cli.main", "api"),
        environment=base_environment(stack, folder) | common(services) | endpoints(services) | own,
        folder=project_dir(),
        log=stack / "logs" / "api.log",
        probe=f"{url(port)}/startup",
        stage=4,
        ports={NAME: port},
        address=url(port),
        grace=40.0,  # longer than it lets requests come to their end
    )


def url(port: int) -> str:
    """Return where the API answers."""
    return f"http://{LOOPBACK}:{port}"
