"""The workers, and the environment of each: what it needs and nothing of the others."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from starters.local import anvil, postgres, redis
from starters.local.ports import LOOPBACK
from starters.local.processes import ProcessSpec, base_environment, forget, mark
from starters.local.state import project_dir

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

LOCAL_KEYS = "local"
_USUAL_METRICS_PORT = 9464
_USUAL_HEALTH_PORT = 9564

# What a person may set for all workers by hand: where traces go and how much is logged.
_TELEMETRY = (
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_PROTOCOL",
    "OTEL_TRACES_SAMPLER",
    "OTEL_TRACES_SAMPLER_ARG",
    "DEAL_LOG_LEVEL",
)


@dataclass(frozen=True)
class WorkerSpec:
    """One worker role: its module and what it has access to.

    `role` is its Postgres role; None keeps the database from it. `environment` is added last, and
    so overrides (for tests: a proxy in place of a node, another key store, a coverage setting).
    """

    name: str
    module: str
    arguments: tuple[str, ...] = ()
    role: str | None = None
    redis: bool = False
    chains: bool = False
    keys: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def port_name(self) -> str:
        """Return the name under which its metrics port is remembered."""
        return f"{self.name}-metrics"

    @property
    def health_name(self) -> str:
        """Return the name under which its health's port is remembered."""
        return f"{self.name}-health"


@dataclass(frozen=True)
class Services:
    """Where the rest of the stack is, once it runs. `chains` maps chain ids to node ports."""

    temporal: Mapping[str, str]
    redis_port: int
    chains: Mapping[int, int]
    treasury: str
    config: Path
    codec: Mapping[str, str]


def default_workers(chains: tuple[int, ...]) -> tuple[WorkerSpec, ...]:
    """Return the three roles that run deals on these chains."""
    chain_options = tuple(part for chain_id in chains for part in ("--chain", str(chain_id)))
    return (
        WorkerSpec("deals", "workers.deals", role="deal_records", redis=True),
        WorkerSpec(
            "chain", "workers.chain", chain_options, role="deal_engine", redis=True, chains=True
        ),
        WorkerSpec("signer", "workers.signer", ("run",), role="deal_signer", keys=True),
    )


def usual_ports(worker: WorkerSpec, index: int) -> dict[str, int]:
    """Return the ports where the worker's metrics and its health are looked for first."""
    return {
        worker.port_name: _USUAL_METRICS_PORT + index,
        worker.health_name: _USUAL_HEALTH_PORT + index,
    }


def spec(
    stack: Path, worker: WorkerSpec, ports: Mapping[str, int], services: Services
) -> ProcessSpec:
    """Return how to run one worker."""
    folder = stack / "workers"
    folder.mkdir(parents=True, exist_ok=True)
    ready = folder / f"{worker.name}.ready"
    metrics = f"{LOOPBACK}:{ports[worker.port_name]}"
    own = {
        "DEAL_METRICS_ADDRESS": metrics,
        "DEAL_HEALTH_ADDRESS": f"{LOOPBACK}:{ports[worker.health_name]}",
        "DEAL_READY_FILE": str(ready),
    }
    return ProcessSpec(
        name=worker.name,
        command=(sys.executable, "-X", mark(stack), "-m", worker.module, *worker.arguments),
        environment=_environment(stack, folder, worker, services) | own | dict(worker.environment),
        folder=project_dir(),
        log=stack / "logs" / f"{worker.name}.log",
        probe=f"file://{ready}",
        stage=4,
        ports=ports,
        address=f"http://{metrics}/metrics",
        grace=40.0,  # longer than a worker's own drain time
        prepare=lambda: forget(ready),
    )


def _environment(
    stack: Path, folder: Path, worker: WorkerSpec, services: Services
) -> dict[str, str]:
    telemetry = {name: os.environ[name] for name in _TELEMETRY if name in os.environ}
    given = base_environment(stack, folder) | telemetry | common(services)
    given["PYTHONUNBUFFERED"] = "1"
    if worker.role:
        given["DEAL_DATABASE_URL"] = postgres.url(stack, worker.role)
    if worker.redis:
        given["DEAL_REDIS_URL"] = redis.url(services.redis_port)
    if worker.chains:
        given |= endpoints(services)
    if worker.keys:
        given |= key_store(stack)
    return given


def key_store(stack: Path) -> dict[str, str]:
    """Return how the signer reaches its keys, unless its specification says otherwise."""
    return {
        "KEY_PROVIDER": LOCAL_KEYS,
        "DEAL_KEYSTORE_FILE": str(keystore_file(stack)),
        "DEAL_KEYSTORE_PASSPHRASE_FILE": str(passphrase_file(stack)),
    }


def common(services: Services) -> dict[str, str]:
    """Return what every worker and the command line need."""
    return {
        **services.temporal,
        **services.codec,
        "DEAL_ENVIRONMENT": "development",
        "DEAL_CONFIG_DIR": str(services.config),
        "DEAL_TREASURY_ADDRESS": services.treasury,
    }


def endpoints(services: Services) -> dict[str, str]:
    """Return the endpoints of the nodes, one variable a chain."""
    return {
        f"DEAL_CHAIN_{chain_id}_ENDPOINTS": anvil.url(port)
        for chain_id, port in services.chains.items()
    }


def keystore_file(stack: Path) -> Path:
    """Return where the signer's encrypted seed is."""
    return stack / "keys" / "keystore.json"


def passphrase_file(stack: Path) -> Path:
    """Return where the passphrase of the signer's keystore is."""
    return stack / "keys" / "passphrase"
