"""The workers of the harness: the real ones, and a supervisor that restarts what is killed.

`python -m tests.faults.worker` runs as a component of the stack. It imports everything once and
then forks a process for every file of its roster: a role, with an environment of its own. One that
ends is forked again at once, as a supervisor with a warm standby would.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from psycopg.conninfo import make_conninfo
from temporalio.worker import Worker

import workers.chain
import workers.deals
import workers.signer
from tests.faults.batches import LedgerBatches
from tests.faults.ledger import LedgerBuilder, review_ledger
from tests.faults.wrapping import wrap_all
from workers.runtime.process import run_process
from workers.runtime.settings import (
    ChainWorkerSettings,
    DealsWorkerSettings,
    SignerSettings,
)

FOLDER: Final = "FAULTS_FOLDER"
_DATABASE_ROLES: Final = {"deals": "deal_records", "chain": "deal_engine", "signer": "deal_signer"}
_OF_ONE_PROCESS: Final = ("DEAL_METRICS_ADDRESS", "DEAL_HEALTH_ADDRESS")
"""What only one of several processes on an address could serve."""
_LOOK_SECONDS: Final = 0.1
_PAUSE_SECONDS: Final = 0.5
_SIGNALS: Final = (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT)


@dataclass(frozen=True)
class Member:
    """One process of the roster."""

    name: str
    role: str
    environment: dict[str, str]


class Supervisor:
    """Keeps the members of the roster running."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running: dict[str, int] = {}
        self._not_before: dict[str, float] = {}

    def run(self) -> None:
        """Run until SIGTERM; then end all members and wait for them."""
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        Path(os.environ["DEAL_READY_FILE"]).touch()
        while True:
            self._reap()
            self._adjust(self._roster())
            got = signal.sigtimedwait(_SIGNALS, _LOOK_SECONDS)
            if got is not None and got.si_signo != signal.SIGCHLD:
                break
        for pid in self._running.values():
            os.kill(pid, signal.SIGTERM)
        for pid in self._running.values():
            os.waitpid(pid, 0)

    def _roster(self) -> dict[str, Member]:
        found = [json.loads(file.read_text()) for file in (self._folder / "roster").glob("*.json")]
        return {each["name"]: Member(**each) for each in found}

    def _adjust(self, roster: dict[str, Member]) -> None:
        for name in [name for name in self._running if name not in roster]:
            os.kill(self._running[name], signal.SIGTERM)
        for name, member in roster.items():
            if name not in self._running and time.monotonic() >= self._not_before.get(name, 0.0):
                self._running[name] = self._fork(member)

    def _reap(self) -> None:
        for name, pid in list(self._running.items()):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                del self._running[name]
                if not os.WIFSIGNALED(status):  # it cannot run just now: a server is away
                    self._not_before[name] = time.monotonic() + _PAUSE_SECONDS

    def _fork(self, member: Member) -> int:
        pid = os.fork()
        if pid:
            draft = self._folder / f"{member.name}.pid"
            draft.write_text(str(pid))
            draft.rename(self._folder / "pids" / member.name)
            return pid
        status = 1
        try:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
            os.environ.update(member.environment)
            url, role = os.environ["DEAL_DATABASE_URL"], _DATABASE_ROLES[member.role]
            os.environ["DEAL_DATABASE_URL"] = make_conninfo(url, user=role)
            os.environ["DEAL_READY_FILE"] = str(
                self._folder / "ready" / f"{member.name}.{os.getpid()}"
            )
            for shared in _OF_ONE_PROCESS:
                os.environ.pop(shared, None)
            if member.role == "signer":
                _forget_nodes()
            wrap_all(member.role, self._folder / "crashes")
            ROLES[member.role]()
            status = 0
        except BaseException:  # the log is the only one to be told
            traceback.print_exc()
            raise
        finally:
            sys.stderr.flush()
            os._exit(status)


def _forget_nodes() -> None:
    """The supervisor has every role's settings; the signer's have no endpoint."""
    for name in [name for name in os.environ if name.startswith("DEAL_CHAIN_")]:
        del os.environ[name]


def run_chain() -> None:
    """Run a chain worker that drafts what the Ledger counts."""
    real: Any = workers.chain.TransactionEngine

    def engine(*arguments: Any, **options: Any) -> Any:
        reader, treasury = arguments[2], arguments[4]
        return real(*arguments, **options, builder=LedgerBuilder(reader, treasury))

    workers.chain.TransactionEngine = engine  # type: ignore[misc, assignment]
    run_process(
        "chain",
        ChainWorkerSettings,
        lambda settings, client, stack, health: workers.chain.build(
            settings, [138], client, stack, health
        ),
    )


def run_signer() -> None:
    """Run a signer that allows it, opening its keys by itself: a fork must not share them."""
    workers.signer.Signer = partial(workers.signer.Signer, review=review_ledger)  # type: ignore[misc, assignment]
    run_process("signer", SignerSettings, workers.signer.build)


def run_deals() -> None:
    """Run a deals worker that knows the workflow of batches."""

    def worker(*arguments: Any, workflows: Sequence[type] = (), **options: Any) -> Worker:
        # Only the one that runs workflows runs this one as well: there are others for activities.
        known = [*workflows, LedgerBatches] if workflows else []
        return Worker(*arguments, workflows=known, **options)

    workers.deals.Worker = worker  # type: ignore[misc, assignment]
    run_process("deals", DealsWorkerSettings, workers.deals.build)


ROLES: Final[dict[str, Callable[[], None]]] = {
    "chain": run_chain,
    "signer": run_signer,
    "deals": run_deals,
}


if __name__ == "__main__":
    Supervisor(Path(os.environ[FOLDER])).run()
