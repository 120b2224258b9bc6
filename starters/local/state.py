"""What a stack remembers between commands: `stack.json` in its folder."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starters.local.errors import LocalStackError

if TYPE_CHECKING:
    from starters.local.processes import ProcessRecord

STATE_FILE = "stack.json"
_PROJECT = Path(__file__).resolve().parents[2]


def project_dir() -> Path:
    """Return the checkout this package runs from, or the working folder if it was installed."""
    return _PROJECT if (_PROJECT / "pyproject.toml").exists() else Path.cwd()


def default_dir() -> Path:
    """Return the stack's folder: `DEAL_LOCAL_DIR`, or `.local` in the project."""
    chosen = os.environ.get("DEAL_LOCAL_DIR")
    return Path(chosen).expanduser().absolute() if chosen else project_dir() / ".local"


@dataclass
class StackState:
    """The processes, ports, and settings of one stack.

    `environment` is what the command line needs to reach the stack; empty while it is down.
    `key_provider` is where the keys of `treasury` and `fee` are.
    """

    processes: dict[str, ProcessRecord] = field(default_factory=dict)
    ports: dict[str, int] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    treasury: str = ""
    fee: str = ""
    key_provider: str = ""
    block_time: int | None = 1
    chains: tuple[int, ...] = ()


def load_state(folder: Path) -> StackState:
    """Read the stack's state; a folder without one has a stack that was never started.

    Raises:
        LocalStackError: the file is not a stack's state.

    """
    stored = _read(folder)
    if not stored:
        return StackState()
    try:
        records = {name: _record(fields) for name, fields in stored.pop("processes").items()}
        stored["chains"] = tuple(stored["chains"])
        return StackState(processes=records, **stored)
    except (AttributeError, KeyError, TypeError) as error:
        raise _unreadable(folder, error) from error


def _read(folder: Path) -> dict[str, Any]:
    try:
        stored = json.loads((folder / STATE_FILE).read_text())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise _unreadable(folder, error) from error
    if not isinstance(stored, dict):
        raise _unreadable(folder, TypeError(type(stored).__name__))
    return stored


def _record(fields: dict[str, Any]) -> ProcessRecord:
    # Imported here because reading the environment must do without what only a stack needs.
    from starters.local.processes import ProcessRecord  # noqa: PLC0415

    command: dict[str, Any] = {"command": tuple(fields["command"])}
    return ProcessRecord(**{**fields, **command})


def _unreadable(folder: Path, error: Exception) -> LocalStackError:
    return LocalStackError(
        what=f"{folder / STATE_FILE} cannot be read",
        why=f"it is not the state of a stack ({error!r})",
        action="Move it away and run `deal local up` again; data in the folder is kept.",
    )


def save_state(folder: Path, state: StackState) -> None:
    """Write the state so that a reader, or a crash, sees the old one or the new one whole."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / STATE_FILE
    draft = folder / f".{STATE_FILE}.{os.getpid()}"
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as handle:
        json.dump(asdict(state), handle, indent=2)
    draft.replace(file)


def load_environment(folder: Path | None = None) -> dict[str, str]:
    """Return the variables with which the command line reaches the stack; {} if there is none."""
    environment: dict[str, str] = _read(folder or default_dir()).get("environment", {})
    return environment
