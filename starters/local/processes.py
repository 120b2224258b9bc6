"""Server processes: started detached, recognised for certain, ended politely and then not."""

from __future__ import annotations

import hashlib
import json
import os
import pwd
import signal
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

import psutil

from starters.local.logs import begin_log

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

# Every process of a stack carries its folder under this name, so that even one that was never
# recorded (its starter was killed at the wrong moment) can be found and ended.
MARK = "DEAL_LOCAL_STACK"

POLL_SECONDS = 0.02

# What a server may know of its starter's environment: where programs and libraries are, language
# and time zone. Nothing that could hold a secret.
_PASSED_ON = (
    "PATH",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "TZ",
    "TMPDIR",
    "LD_LIBRARY_PATH",
    "PYTHONPATH",
    "PYTHONDONTWRITEBYTECODE",
    # Set while coverage is measured: the workers' part of it counts.
    "COVERAGE_PROCESS_CONFIG",
    "COVERAGE_PROCESS_START",
)

_PROC = Path("/proc")

# Children of this very process have to be waited for, or they stay as zombies.
_children: dict[int, subprocess.Popen[bytes]] = {}


@dataclass(frozen=True)
class ProcessSpec:
    """How to start, probe, show, and stop one server.

    `stage` orders the stopping: higher stages end before lower ones. `probe` is an address that
    `starters.local.probes.answers` understands. `account` is a user name to run as. `prepare` is
    called right before each start and returns what to add to the command.
    """

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    folder: Path
    log: Path
    probe: str
    stage: int
    ports: Mapping[str, int] = field(default_factory=dict)
    address: str = ""
    grace: float = 10.0
    stop_signal: int = signal.SIGTERM
    account: str | None = None
    prepare: Callable[[], tuple[str, ...]] = tuple

    def digest(self) -> str:
        """Return a fingerprint of what is run and with what settings; it reveals neither."""
        whole = [list(self.command), sorted(self.environment.items()), str(self.folder)]
        return hashlib.sha256(json.dumps(whole).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class ProcessRecord:
    """One started server, as kept in `stack.json`. `identity` outlives no process."""

    name: str
    pid: int
    identity: str
    started_at: float
    command: tuple[str, ...]
    log: str
    probe: str
    stage: int
    ports: dict[str, int]
    address: str
    grace: float
    stop_signal: int
    digest: str

    def alive(self) -> bool:
        """Tell whether this very process still runs (not another with the same number)."""
        return identity(self.pid) == self.identity


def identity(pid: int) -> str | None:
    """Return what tells this process from all others that ever had or will have its number.

    None if it does not run, or has ended and only waits to be collected.
    """
    child = _children.get(pid)
    if child is not None and child.poll() is not None:
        del _children[pid]
    if _PROC.exists():
        return _linux_identity(pid)
    try:
        process = psutil.Process(pid)
        ended = process.status() == psutil.STATUS_ZOMBIE
        return None if ended else f"at-{process.create_time():.2f}"
    except psutil.NoSuchProcess:
        return None


def _linux_identity(pid: int) -> str | None:
    # Clock ticks from boot to start: unlike the time of day it never shifts when a clock is set.
    folder = _PROC / str(pid)
    try:
        fields = (folder / "stat").read_text().rpartition(")")[2].split()
        threads = len(list((folder / "task").iterdir()))
    except (FileNotFoundError, ProcessLookupError):
        return None
    state, start_time = fields[0], fields[19]  # proc(5): the 3rd field and the 22nd
    if state in "ZX" and threads <= 1:  # until its last thread ends, it keeps its ports
        return None
    boot = (_PROC / "sys/kernel/random/boot_id").read_text()[:8]
    return f"{boot}-{start_time}"


def base_environment(stack: Path, home: Path) -> dict[str, str]:
    """Return what every server gets: the passed-on part, a home of its own, the stack's mark."""
    kept = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    return kept | {"HOME": str(home), MARK: str(stack)}


def spawn(spec: ProcessSpec) -> ProcessRecord:
    """Start the server in a session of its own, its output appended to its log.

    Raises:
        OSError: the program could not be started.

    """
    begin_log(spec.log)
    command = (*spec.command, *spec.prepare())
    with spec.log.open("ab") as log:
        child = subprocess.Popen(  # noqa: S603 - the command is built by this package, no shell
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=spec.folder,
            env=dict(spec.environment),
            start_new_session=True,  # a Ctrl-C on the terminal is not for the servers
            umask=0o077,
            **run_as(spec.account),
        )
    _children[child.pid] = child
    return ProcessRecord(
        name=spec.name,
        pid=child.pid,
        identity=identity(child.pid) or "gone",
        started_at=time.time(),
        command=command,
        log=str(spec.log),
        probe=spec.probe,
        stage=spec.stage,
        ports=dict(spec.ports),
        address=spec.address,
        grace=spec.grace,
        stop_signal=spec.stop_signal,
        digest=spec.digest(),
    )


class RunAs(TypedDict, total=False):
    """The arguments of `subprocess` for another account."""

    user: int
    group: int
    extra_groups: tuple[int, ...]


def run_as(account: str | None) -> RunAs:
    """Return what makes `subprocess` run a program as this account; nothing for None."""
    if account is None:
        return {}
    entry = pwd.getpwnam(account)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": ()}


def forget(ready: Path) -> tuple[str, ...]:
    """Remove the file by which an earlier process said that it was ready."""
    ready.unlink(missing_ok=True)
    return ()


def stop(record: ProcessRecord) -> bool:
    """End the process: its stop signal, its grace, then SIGKILL to its whole group.

    Returns whether it ended by itself. Does nothing if it no longer runs.
    """
    if not record.alive():
        return True
    with suppress(ProcessLookupError):
        os.kill(record.pid, record.stop_signal)
    if wait_until(lambda: not record.alive(), timeout=record.grace):
        return True
    kill(record)
    return False


def kill(record: ProcessRecord) -> None:
    """SIGKILL the process and everything in its group, and wait until it is gone."""
    if not record.alive():
        return
    with suppress(ProcessLookupError):
        os.killpg(record.pid, signal.SIGKILL)  # it leads its own session, so also its group
    wait_until(lambda: not record.alive(), timeout=10)


def wait_until(condition: Callable[[], bool], *, timeout: float) -> bool:
    """Poll the condition until it holds; return whether it did within `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def marked(stack: Path, known: Iterable[int] = ()) -> list[psutil.Process]:
    """Find the running processes that carry this stack's mark, apart from the known ones."""
    own = {os.getpid(), *(parent.pid for parent in psutil.Process().parents()), *known}
    found = []
    for process in psutil.process_iter():
        if process.pid in own:
            continue
        with suppress(psutil.Error, OSError):
            if _is_marked(process, stack) and _runs(process):
                found.append(process)
    return found


def _is_marked(process: psutil.Process, stack: Path) -> bool:
    """Whether it carries the mark; the signer lets nobody read its environment."""
    return mark(stack) in process.cmdline() or process.environ().get(MARK) == str(stack)


def mark(stack: Path) -> str:
    """Return the mark as an argument: ``python -X`` takes any, and does nothing about it."""
    return f"{MARK}={stack}"


def _runs(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def end_marked(stack: Path, known: Iterable[int] = ()) -> list[str]:
    """End every marked process that is not known; return what was ended."""
    strays = marked(stack, known)
    names = [f"{process.pid} {process.name()}" for process in strays if _runs(process)]
    for process in strays:
        with suppress(psutil.Error):
            process.terminate()
    _, stubborn = psutil.wait_procs(strays, timeout=5)
    for process in stubborn:
        with suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(stubborn, timeout=5)
    return names


def memory(pid: int) -> int:
    """Return the resident memory in bytes of a process and its children (0 if gone)."""
    try:
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0
    total = 0
    for member in family:
        with suppress(psutil.Error):
            total += int(member.memory_info().rss)
    return total
