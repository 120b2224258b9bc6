"""Temporal: found or fetched, and its development server as part of the stack."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from starters.local.cache import cache_dir, exclusive
from starters.local.errors import LocalStackError
from starters.local.logs import tail
from starters.local.ports import LOOPBACK
from starters.local.processes import ProcessSpec, base_environment
from starters.local.programs import BUILD_SECONDS, go_program, run_go, works

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

NAME = "temporal"
NAMESPACE = "default"
USUAL_PORTS = {
    "temporal": 7233,
    "temporal-ui": 8233,
    "temporal-http": 7243,
    "temporal-metrics": 7253,
}

# The last release whose module installs by itself; later ones carry replace directives.
_MODULE = "github.com/temporalio/cli/cmd/temporal@v1.5.1"
_DOWNLOAD_SECONDS = 120.0

# The server reads its queues 20 times a second unless told otherwise, which costs 45 ms at every
# step of a workflow; one partition a queue spares a development server the forwarding between them;
# an activity of the worker that has just scheduled it comes with the answer, not by the queue.
DYNAMIC_CONFIG = {
    "history.transferProcessorMaxPollRPS": 2000,
    "history.timerProcessorMaxPollRPS": 2000,
    "matching.numTaskqueueReadPartitions": 1,
    "matching.numTaskqueueWritePartitions": 1,
    "system.enableActivityEagerExecution": "true",
}
# Its garbage is collected a quarter as often, for a tenth less processor time at every step.
_RUNTIME = {"GOGC": "400"}
_SQLITE_PRAGMAS = {"journal_mode": "WAL", "synchronous": "NORMAL"}


def spec(stack: Path, ports: Mapping[str, int], binary: Path, codec: str) -> ProcessSpec:
    """Return how to run the development server, its data in `temporal/` of the stack's folder.

    `codec` is the address of the server by which its Web UI has payloads decrypted.
    """
    folder = stack / "temporal"
    folder.mkdir(parents=True, exist_ok=True)
    return ProcessSpec(
        name=NAME,
        command=_command(binary, folder / "temporal.sqlite", ports, codec),
        environment=base_environment(stack, folder) | _RUNTIME,
        folder=folder,
        log=stack / "logs" / "temporal.log",
        # Through the UI to the frontend to the namespace: all that users of the server need.
        probe=f"{web_ui(ports)}/api/v1/namespaces/{NAMESPACE}",
        stage=1,
        ports=ports,
        address=f"{LOOPBACK}:{ports['temporal']}, {web_ui(ports)}",
    )


def web_ui(ports: Mapping[str, int]) -> str:
    """Return where the Web UI is."""
    return f"http://{LOOPBACK}:{ports['temporal-ui']}"


def _command(binary: Path, database: Path, ports: Mapping[str, int], codec: str) -> tuple[str, ...]:
    pragmas = [f"--sqlite-pragma={name}={value}" for name, value in _SQLITE_PRAGMAS.items()]
    config = [f"--dynamic-config-value={key}={value}" for key, value in DYNAMIC_CONFIG.items()]
    return (
        str(binary),
        "server",
        "start-dev",
        f"--ip={LOOPBACK}",
        f"--port={ports['temporal']}",
        f"--ui-port={ports['temporal-ui']}",
        f"--ui-codec-endpoint={codec}",
        f"--http-port={ports['temporal-http']}",
        f"--metrics-port={ports['temporal-metrics']}",
        f"--db-filename={database}",
        "--log-level=warn",
        "--disable-config-file",  # the user's own profiles are for other servers
        *pragmas,
        *config,
    )


def ensure_temporal(progress: Callable[[str], None] = lambda _: None) -> Path:
    """Return a `temporal` program that works, fetching it once where there is none.

    Looked for on PATH, then in the cache; then fetched by the SDK's download, then built by Go.

    Args:
        progress: told in a few words what is being done, for as long as it takes.

    Raises:
        LocalStackError: it is missing and could not be fetched.

    """
    if found := _find():
        return found
    progress("waiting for another process that fetches Temporal")
    with exclusive(cache_dir() / "temporal.lock", timeout=BUILD_SECONDS):
        if found := _find():
            return found
        progress("downloading Temporal")
        if downloaded := _download():
            return downloaded
        return _install(progress)


def _find() -> Path | None:
    on_path = shutil.which("temporal")
    candidates = [Path(on_path)] if on_path else []
    candidates += [_built(), _downloaded()]
    return next((candidate for candidate in candidates if works(candidate)), None)


def _built() -> Path:
    return cache_dir() / "bin" / "temporal"


def _downloaded() -> Path:
    return cache_dir() / "bin" / "temporal-downloaded"


def _download() -> Path | None:
    """Let the SDK download its own server; None where that fails, as on an offline machine."""
    staging = cache_dir() / "download"
    staging.mkdir(parents=True, exist_ok=True)
    try:
        _download_into(staging)
        programs = [file for file in staging.iterdir() if works(file)]
        if not programs:
            return None
        _downloaded().parent.mkdir(parents=True, exist_ok=True)
        return programs[0].replace(_downloaded())
    except subprocess.SubprocessError:
        return None
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _download_into(staging: Path) -> None:
    # In a process of its own, because the SDK's download knows no time limit.
    subprocess.run(  # noqa: S603 - this very module
        [sys.executable, "-m", "starters.local.temporal", str(staging)],
        check=True,
        capture_output=True,
        timeout=_DOWNLOAD_SECONDS,
        cwd=Path(__file__).resolve().parents[2],
    )


async def _download_by_sdk(folder: str) -> None:
    from temporalio.testing import WorkflowEnvironment  # noqa: PLC0415 - needed on a first run only

    # The SDK downloads as part of starting; the server itself is of no use here.
    environment = await WorkflowEnvironment.start_local(download_dest_dir=folder)
    await environment.shutdown()


def _install(progress: Callable[[str], None]) -> Path:
    go = go_program()
    if go is None:
        raise LocalStackError(
            what="Temporal is missing",
            why="it is not on PATH, its download failed, and there is no Go to build it with",
            action="Install the `temporal` command line tool or Go, or set TEMPORAL_ADDRESS "
            "to a server that runs already.",
        )
    log = cache_dir() / "temporal-install.log"
    status = run_go(
        [go, "install", _MODULE],
        log=log,
        progress=lambda seconds: progress(
            f"building Temporal with Go, once; this takes minutes ({seconds:.0f} s)"
        ),
    )
    if status != 0 or not works(_built()):
        raise LocalStackError(
            what="Temporal could not be built",
            why=f"`go install {_MODULE}` ended with status {status}",
            action="Install the `temporal` command line tool, or set TEMPORAL_ADDRESS to a server "
            f"that runs already; the log is {log}.",
            detail=tail(log),
        )
    return _built()


if __name__ == "__main__":
    asyncio.run(_download_by_sdk(sys.argv[1]))
