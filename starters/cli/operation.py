"""`deal operation`: critical changes through the timelock.

How it is done is imported when a command runs, as in `starters.cli.main`.
"""
# ruff: noqa: PLC0415 - see above

from typing import Annotated

import typer

from starters.cli.options import (
    CommandIdOption,
    OutputOption,
    ReasonOption,
    YesOption,
)
from starters.cli.output import settled
from starters.cli.process import run_async

app = typer.Typer(
    help="Change what only the timelock can: propose, look, cancel.",
    no_args_is_help=True,
)

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The operation's name.")]


@app.command()
def propose(  # noqa: PLR0913 - the options of the command
    kind: Annotated[
        str,
        typer.Argument(
            metavar="KIND",
            help="What changes: treasury, destination, safe_owner, redemption_fee, redemption_cap.",
        ),
    ],
    *,
    name: Annotated[str, typer.Option("--id", help="A new name: a-z, 0-9, hyphens.")],
    chain: Annotated[str, typer.Option(help="The chain id, such as 138.")],
    module: Annotated[str, typer.Option(help="The market, such as usdtz.")],
    reason: ReasonOption,
    to: Annotated[
        str,
        typer.Option(
            help="The new value: an address (treasury, safe_owner), allowed or forbidden "
            "(destination), basis points (redemption_fee), smallest units a day (redemption_cap)."
        ),
    ],
    of: Annotated[
        str | None,
        typer.Option(
            "--of", help="Whose: the owner to be replaced (safe_owner), the contract (destination)."
        ),
    ] = None,
    delay: Annotated[
        int | None, typer.Option(help="Seconds [default: the timelock's own delay].")
    ] = None,
    yes: YesOption = False,
    output: OutputOption = None,
) -> None:
    """Schedule a change; it is executed by itself when the timelock's delay is over."""
    from starters.cli.operation_act import Proposal, propose_operation

    proposal = Proposal(kind, name, chain, module, to, of, delay, reason)
    run_async(propose_operation(proposal, sure=yes, output=settled(output)))


@app.command(name="list")
def list_(
    *,
    chain: Annotated[str | None, typer.Option(help="Only on this chain id.")] = None,
    limit: Annotated[int, typer.Option(help="At most that many, up to 500.")] = 50,
    output: OutputOption = None,
) -> None:
    """List operations from the records, newest first."""
    from starters.cli.operation_act import list_operations

    run_async(list_operations(chain, limit, settled(output)))


@app.command()
def show(name: NameArgument, output: OutputOption = None) -> None:
    """Show what an operation changes, from what to what, when, and where it stands."""
    from starters.cli.operation_act import show_operation

    run_async(show_operation(name, settled(output)))


@app.command()
def cancel(
    name: NameArgument,
    reason: ReasonOption,
    command_id: CommandIdOption = None,
    *,
    yes: YesOption = False,
    output: OutputOption = None,
) -> None:
    """Cancel an operation before it is executed."""
    from starters.cli.operation_act import cancel_operation

    run_async(
        cancel_operation(name, reason, command_id=command_id, sure=yes, output=settled(output))
    )
