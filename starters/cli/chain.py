"""`deal chain`: what can be asked about chains.

How it is done is imported when a command runs, as in `starters.cli.main`.
"""
# ruff: noqa: PLC0415 - see above

from typing import Annotated

import typer

from starters.cli.options import OutputOption
from starters.cli.output import settled
from starters.cli.process import run_async

app = typer.Typer(help="Look at chains.", no_args_is_help=True)


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
