"""`deal halt`: stopping what adds risk, and letting it go on.

How it is done is imported when a command runs, as in `starters.cli.main`.
"""
# ruff: noqa: PLC0415 - see above

from typing import Annotated

import typer

from starters.cli.options import CommandIdOption, OutputOption, ReasonOption, YesOption
from starters.cli.output import settled
from starters.cli.process import run_async

app = typer.Typer(
    help="Stop what adds risk - exits go on - and let it go on again.", no_args_is_help=True
)

ScopeArgument = Annotated[
    str, typer.Argument(metavar="SCOPE", help="desk, bank=ID, chain=ID or module=ID.")
]


@app.command(name="set")
def set_(  # noqa: PLR0913 - the options of the command
    scope: ScopeArgument,
    reason: ReasonOption,
    state: Annotated[
        str, typer.Option(help="HALTED: deals wait; REDUCING: they unwind.")
    ] = "HALTED",
    command_id: CommandIdOption = None,
    *,
    yes: YesOption = False,
    output: OutputOption = None,
) -> None:
    """Halt at once. It takes nobody else; to release it does. Needs Postgres only."""
    from starters.cli.halts import halt

    run_async(halt(scope, state, reason, command_id, settled(output), sure=yes))


@app.command()
def release(  # noqa: PLR0913 - the options of the command
    scope: ScopeArgument,
    reason: ReasonOption,
    to: Annotated[str, typer.Option(help="ACTIVE, or REDUCING first.")] = "ACTIVE",
    command_id: CommandIdOption = None,
    *,
    yes: YesOption = False,
    output: OutputOption = None,
) -> None:
    """Release a halt that somebody else has set; waiting deals go on by themselves."""
    from starters.cli.halts import release as run

    run_async(run(scope, to, reason, command_id, settled(output), sure=yes))


@app.command()
def show(output: OutputOption = None) -> None:
    """Show what is halted, by whom, why and since when."""
    from starters.cli.halts import show_halts

    run_async(show_halts(settled(output)))
