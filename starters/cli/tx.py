"""`deal tx`: what can be asked about transactions and for them.

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
from starters.cli.output import Output, settled
from starters.cli.process import run_async

app = typer.Typer(
    help="Look at transactions; send one again, pay more for it, or replace it by a no-op.",
    no_args_is_help=True,
)

IntentArgument = Annotated[
    str, typer.Argument(metavar="INTENT", help="Its intent id, or the hash of one of its attempts.")
]
WaitOption = Annotated[bool, typer.Option("--wait", help="Follow it until it is in a block.")]
TimeoutOption = Annotated[
    float | None,
    typer.Option(min=0, help="Seconds to wait at most [default: as long as it takes]."),
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


@app.command()
def rebroadcast(  # noqa: PLR0913 - the options of the command
    intent: IntentArgument,
    reason: ReasonOption,
    command_id: CommandIdOption = None,
    *,
    yes: YesOption = False,
    wait: WaitOption = False,
    timeout: TimeoutOption = None,
    output: OutputOption = None,
) -> None:
    """Send the same bytes again, to every endpoint."""
    _act("rebroadcast", intent, reason, command_id, yes, wait, timeout, output)


@app.command()
def bump(  # noqa: PLR0913 - the options of the command
    intent: IntentArgument,
    reason: ReasonOption,
    command_id: CommandIdOption = None,
    *,
    yes: YesOption = False,
    wait: WaitOption = False,
    timeout: TimeoutOption = None,
    output: OutputOption = None,
) -> None:
    """Sign it again at a higher fee, at the same nonce, and send that."""
    _act("bump", intent, reason, command_id, yes, wait, timeout, output)


@app.command()
def cancel(  # noqa: PLR0913 - the options of the command
    intent: IntentArgument,
    reason: ReasonOption,
    command_id: CommandIdOption = None,
    *,
    yes: YesOption = False,
    wait: WaitOption = False,
    timeout: TimeoutOption = None,
    output: OutputOption = None,
) -> None:
    """Send a no-op at the same nonce; whichever of the two is mined decides."""
    _act("cancel", intent, reason, command_id, yes, wait, timeout, output)


def _act(  # noqa: PLR0913, PLR0917 - as the commands have them
    action: str,
    intent: str,
    reason: str,
    command_id: str | None,
    sure: bool,
    wait: bool,
    timeout: float | None,
    output: Output | None,
) -> None:
    from activities.transactions.interface import Action
    from starters.cli.tx_act import Order, act

    order = Order(
        action=Action(action),
        intent=intent,
        reason=reason,
        command_id=command_id,
        sure=sure,
        wait=wait,
        timeout=timeout,
    )
    run_async(act(order, settled(output)))
