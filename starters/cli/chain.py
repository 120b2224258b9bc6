"""`deal chain`: what can be asked about chains and for them.

How it is done is imported when a command runs, as in `starters.cli.main`.
"""
# ruff: noqa: PLC0415 - see above

from typing import Annotated

import typer

from starters.cli.options import CommandIdOption, OutputOption, ReasonOption, YesOption
from starters.cli.output import settled
from starters.cli.process import run_async

app = typer.Typer(help="Look at chains, and release one that was latched.", no_args_is_help=True)


@app.command()
def status(
    chain: Annotated[
        str | None, typer.Argument(metavar="CHAIN", help="A chain id [default: all].")
    ] = None,
    *,
    watch: Annotated[bool, typer.Option("--watch", help="Go on showing what changes.")] = False,
    output: OutputOption = None,
) -> None:
    """Show endpoints, head, finality, fees, latches, alerts and nonces, and how old that is."""
    from starters.cli.chain_status import status as run

    run_async(run(chain, settled(output), watch=watch))


@app.command()
def release(
    chain: Annotated[str, typer.Argument(metavar="CHAIN", help="The chain's id.")],
    reason: ReasonOption,
    command_id: CommandIdOption = None,
    *,
    yes: YesOption = False,
    output: OutputOption = None,
) -> None:
    """Let a latched chain be signed for again, after having looked at it."""
    from starters.cli.chain_release import release as run

    run_async(run(chain, reason, command_id, settled(output), sure=yes))
