"""How `deal halt` does what it does."""

from typing import Any, Final

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from domain.errors import InvalidInput
from domain.halts import Halt, Scope, TradingState
from starters.cli import formats
from starters.cli.asking import require_terminal
from starters.cli.output import Output, print_json, show
from starters.cli.session import caller, load_settings
from starters.control.database import ControlDatabase
from starters.control.halts import HaltChange, HaltDesk
from starters.deals.database import single_connection

_COLOURS: Final = {
    TradingState.ACTIVE: "green",
    TradingState.REDUCING: "yellow",
    TradingState.HALTED: "bold red",
}


async def halt(  # noqa: PLR0913 - the options of the command
    scope: str, state: str, reason: str, command_id: str | None, output: Output, *, sure: bool
) -> None:
    """`deal halt set`."""
    chosen, to = Scope.parse(scope), parse_state(state)
    _ensure_meant("set", f"{to} for {chosen}: nothing that adds risk goes out", sure=sure)
    who, desk = await caller(), _desk()
    _print(await desk.set(who, chosen, reason, to, command_id=command_id), output)


async def release(  # noqa: PLR0913 - the options of the command
    scope: str, state: str, reason: str, command_id: str | None, output: Output, *, sure: bool
) -> None:
    """`deal halt release`."""
    chosen, to = Scope.parse(scope), parse_state(state)
    who, desk = await caller(), _desk()
    if not sure:
        require_terminal("release", "what is halted")
        typer.echo((await desk.find(who, chosen)).told(), err=True)
    _ensure_meant("release", f"{to} for {chosen}: waiting deals go on", sure=sure)
    _print(await desk.release(who, chosen, reason, to, command_id=command_id), output)


async def show_halts(output: Output) -> None:
    """`deal halt show`."""
    halts = await _desk().all(await caller())
    if output is Output.JSON:
        print_json({"source": "records", "halts": [halt_document(each) for each in halts]})
    elif halts:
        show(_table(halts))
    else:
        typer.echo("nothing was ever halted")


def parse_state(text: str) -> TradingState:
    """Read a trading state in either case; raises `InvalidInput`."""
    try:
        return TradingState(text.upper())
    except ValueError:
        raise InvalidInput(
            "there is no such trading state",
            field="state",
            value=text,
            limit=", ".join(TradingState),
            next_action="choose one of the states listed",
        ) from None


def halt_document(halt: Halt) -> dict[str, Any]:
    """A halt as JSON; the scope as it is typed."""
    return halt.model_dump(mode="json") | {"scope": str(halt.scope)}


def _ensure_meant(command: str, what: str, *, sure: bool) -> None:
    """Ask on standard error whether it is meant, unless that was said."""
    if sure:
        return
    require_terminal(command, "what may be done")
    if not typer.confirm(f"{what}?", err=True):
        typer.echo("nothing was changed", err=True)
        raise typer.Exit(1)


def _desk() -> HaltDesk:
    settings = load_settings()
    return HaltDesk(
        ControlDatabase.at(settings.control_database()),
        single_connection(settings.database_url.get_secret_value()),
    )


def _print(change: HaltChange, output: Output) -> None:
    if output is Output.JSON:
        print_json(halt_document(change.halt) | {"changed": change.changed})
        return
    show(_table([change.halt]))
    if not change.changed:
        typer.echo("it was so before; nothing was changed")


def _table(halts: list[Halt]) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for name in ("scope", "state", "by", "why", "since (UTC)", "not released by"):
        table.add_column(name, overflow="fold")
    for each in halts:
        table.add_row(
            str(each.scope),
            Text(each.state, style=_COLOURS[each.state]),
            each.who,
            each.why,
            formats.moment(each.since),
            ", ".join(each.set_by),
        )
    return table
