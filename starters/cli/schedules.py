"""`deal schedules`: what happens by itself, in time."""
# ruff: noqa: PLC0415 - help needs none of what the command does

import typer

from starters.cli.options import OutputOption
from starters.cli.output import Output, print_json, settled
from starters.cli.process import run_async

app = typer.Typer(help="Look after what happens by itself, in time.", no_args_is_help=True)


@app.callback()
def root() -> None:
    """Have a group even though it has one command."""


@app.command()
def apply(output: OutputOption = None) -> None:
    """Have Temporal keep every schedule as this version has it; may be repeated."""
    run_async(_apply(settled(output)))


async def _apply(output: Output) -> None:
    from domain.identity import Permission
    from starters.cli.session import caller, use_local_stack
    from starters.schedules import apply_schedules
    from workers.runtime.connect import connect, silent_runtime

    use_local_stack()
    await caller(Permission.SCHEDULES_ACT)
    applied = await apply_schedules(await connect(runtime=silent_runtime()))
    if output is Output.JSON:
        print_json([each.model_dump(mode="json") for each in applied])
        return
    for each in applied:
        done = "created" if each.created else "as it is here"
        typer.echo(f"{each.schedule}: every {each.every_days} days, {done}")
