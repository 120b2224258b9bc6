"""Real stacks for tests: all servers and workers, in a folder of their own, always brought down."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from starters.local.ports import is_free
from starters.local.processes import end_marked, marked, wait_until
from starters.local.stack import Stack
from starters.local.state import load_state
from starters.local.workers import WorkerSpec, default_workers

_COVERAGE = "COVERAGE_"
_OURS = ("TEMPORAL_", "DEAL_", "KEY_PROVIDER", "VAULT_")
_SECONDS_TO_LET_GO = 10.0
_DEFECTS = (
    '"level": "error"',
    '"level": "critical"',
    "Failed activation",  # of a workflow: it is nondeterministic, or raised what it should not
    "Failed handling activation",
    "UnfinishedUpdateHandlersWarning",
    "was never awaited",
    "was never retrieved",
)
_MEANT = ("head_stalled", "safe_payment", "keys")
"""Alerts of chains without blocks, of payments that may come late, and of keys that are away."""


@contextmanager
def running_stack(
    block_time: int | None, chains: tuple[int, ...], keys: Mapping[str, str] | None = None
) -> Iterator[Stack]:
    """Run a stack; it has to end without a process or a port left behind, or an error logged.

    `block_time` is in seconds; None mines every transaction at once. `keys` chooses a key store: it
    is what the signer's environment says of it.
    """
    folder = Path(tempfile.mkdtemp(prefix="deal-e2e-"))
    stack = Stack(
        folder,
        block_time,
        chains,
        worker_specs=measured_workers(chains, keys or {}),
        with_api=False,  # tests of the API run it in their own process, where it is measured
    )
    try:
        with own_environment():
            stack.up()
        yield stack
        stack.down()
        assert left_behind(stack) == []
        assert not complaints(stack), complaints(stack)
    finally:
        end_marked(folder)
        shutil.rmtree(folder, ignore_errors=True)


def measured_workers(
    chains: tuple[int, ...], keys: Mapping[str, str] | None = None
) -> tuple[WorkerSpec, ...]:
    """The usual workers; if these tests are measured by coverage, they are as well."""
    passed_on = {name: value for name, value in os.environ.items() if name.startswith(_COVERAGE)}
    return tuple(
        replace(spec, environment=passed_on | dict(keys or {} if spec.keys else {}))
        for spec in default_workers(chains)
    )


def left_behind(stack: Stack) -> list[str]:
    """The processes and ports that a stack has not let go of, some seconds after its end."""
    ports = load_state(stack.folder).ports

    def still_held() -> list[str]:
        processes = [f"process {process.pid}" for process in marked(stack.folder)]
        return processes + [name for name, port in ports.items() if not is_free(port)]

    wait_until(lambda: not still_held(), timeout=_SECONDS_TO_LET_GO)
    return still_held()


def complaints(stack: Stack) -> list[str]:
    """What the workers have logged that they never should, whatever is done to them."""
    lines = [
        line
        for worker in stack.workers
        for line in (stack.folder / "logs" / f"{worker.name}.log").read_text().splitlines()
    ]
    return [line for line in lines if any(sign in line for sign in _DEFECTS) and not _alert(line)]


def _alert(line: str) -> bool:
    """Whether it is the alert of something that tests bring about on purpose."""
    return '"event": "alert"' in line and any(f'"kind": "{kind}"' in line for kind in _MEANT)


def of_ours() -> dict[str, str]:
    """What the environment says of stacks and settings."""
    return {name: value for name, value in os.environ.items() if name.startswith(_OURS)}


def not_of_ours() -> dict[str, str]:
    """The rest of the environment, and where programs are cached."""
    ours = of_ours().keys() - {"DEAL_CACHE_DIR"}
    return {name: value for name, value in os.environ.items() if name not in ours}


@contextmanager
def own_environment(given: Mapping[str, str] | None = None) -> Iterator[None]:
    """Forget the stack that the environment names, if it does, and put another in its place."""
    before = dict(os.environ)
    for name in before.keys() - not_of_ours().keys():
        del os.environ[name]
    os.environ.update(given or {})
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
