"""`deal tx`: what can be asked about transactions.

How it is done is imported when a command runs, as in `starters.cli.main`.
"""
# ruff: noqa: PLC0415 - see above

from typing import Annotated

import typer

from starters.cli.options import OutputOption
from starters.cli.output import settled
from starters.cli.process import run_async

app = typer.Typer(
    help="Look at transactions.",
    no_args_is_help=True,
)

IntentArgument = Annotated[
    str, typer.Argument(metavar="INTENT", help="Its intent id, or the hash of one of its attempts.")
]


@app.command(name="list")
def list_(  # noqa: PLR0913 - the options of the command
    *,
    deal: Annotated[str | None, typer.Option(help="Only this deal's.")] = None,
    chain: Annotated[str | None, typer.Option(help="Only on this chain id.")] = None,
    account: Annotated[str | None, typer.Option(help="Only from this address.")] = None,
    state: Annotated[
        list[str] | None, typer.Option(help="Only these; may be given several times.")
    ] = None,
    limit: Annotated[int, typer.Option(help="At most that many, up to 500.")] = 50,
    cursor: Annotated[
        str | None,
        typer.Option("--cursor", "--after", help="next_cursor of the page before."),
    ] = None,
    output: OutputOption = None,
) -> None:
    """List transactions from the engine's records, newest first."""
    from starters.cli.tx_show import list_intents, parse_filter

    chosen = parse_filter(
        deal=deal, chain=chain, account=account, states=state or [], limit=limit, cursor=cursor
    )
    run_async(list_intents(chosen, settled(output)))


@app.command()
def show(intent: IntentArgument, output: OutputOption = None) -> None:
    """Show a transaction: what it does, how it stands, every attempt, receipt and alerts."""
    from starters.cli.tx_show import show_intent

    run_async(show_intent(intent, settled(output)))
