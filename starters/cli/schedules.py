"""`deal schedules`: what happens by itself, in time."""
# ruff: noqa: PLC0415 - help needs none of what the command does

from typing import Annotated

import typer

from starters.cli.options import OutputOption
from starters.cli.output import Output, print_json, settled
from starters.cli.process import run_async

app = typer.Typer(help="Look after what happens by itself, in time.", no_args_is_help=True)


@app.callback()
def root() -> None:
    """Have a group even though it has one command."""


@app.command()
def apply(
    reason: Annotated[
        str, typer.Option("--reason", "--why", help="Why, for the audit trail.")
    ] = "as this version has them",
    output: OutputOption = None,
) -> None:
    """Have Temporal keep every schedule as this version has it; may be repeated."""
    run_async(_apply(reason, settled(output)))


async def _apply(reason: str, output: Output) -> None:
    from uuid import uuid4

    from domain.identity import Permission
    from starters.cli.control import check_reason
    from starters.cli.session import caller, command_store, load_settings
    from starters.cli.temporal import connected
    from starters.control.schedules import ScheduleDesk

    check_reason(reason)
    who = await caller(Permission.SCHEDULES_ACT)
    desk = ScheduleDesk(connected, command_store(load_settings()))
    applied = (await desk.apply(who, reason.strip(), str(uuid4()))).schedules
    if output is Output.JSON:
        print_json([each.model_dump(mode="json") for each in applied])
        return
    for each in applied:
        done = "created" if each.created else "as it is here"
        typer.echo(f"{each.schedule}: every {each.every_days} days, {done}")
