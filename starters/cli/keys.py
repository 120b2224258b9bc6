"""`deal keys`: what can be asked of the signer about its keys.

How it is done is imported when a command runs, as in `starters.cli.main`.
"""
# ruff: noqa: PLC0415 - see above

from typing import Annotated

import typer

from starters.cli.options import (
    DealIdArgument,
    OutputOption,
    ReasonOption,
    YesOption,
)
from starters.cli.output import Output, settled
from starters.cli.process import run_async

app = typer.Typer(
    help="List, rotate and retire keys, and verify the signing journal. No key is ever shown.",
    no_args_is_help=True,
)


@app.command(name="list")
def list_(
    *,
    deal: Annotated[str | None, typer.Option(help="Only this deal's.")] = None,
    retired: Annotated[
        bool | None,
        typer.Option("--retired/--in-use", help="Only those that are retired, or are not."),
    ] = None,
    limit: Annotated[int, typer.Option(help="At most that many of deals, up to 500.")] = 50,
    cursor: Annotated[
        int | None, typer.Option("--cursor", "--after", help="next_cursor of the page before.")
    ] = None,
    output: OutputOption = None,
) -> None:
    """List accounts and their keys' labels from the signer's records, newest first."""
    from starters.cli.keys_show import list_keys

    run_async(list_keys(deal, settled(output), retired=retired, limit=limit, cursor=cursor))


@app.command()
def rotate(
    *,
    seed: Annotated[bool, typer.Option("--seed", help="A new seed for deals to come.")] = False,
    wrapping: Annotated[
        bool, typer.Option("--wrapping", help="A new key over the seeds; no account changes.")
    ] = False,
    reason: ReasonOption,
    yes: YesOption = False,
    output: OutputOption = None,
) -> None:
    """Rotate the seed, the wrapping key, or both; deals that run keep their keys."""
    from starters.cli.keys_act import rotate as run

    run_async(run(reason, settled(output), seed=seed, wrapping=wrapping, sure=yes))


@app.command()
def retire(
    deal_id: DealIdArgument,
    reason: ReasonOption,
    *,
    yes: YesOption = False,
    output: OutputOption = None,
) -> None:
    """Let nothing be signed for a deal that has ended; its own workflow does so as a rule."""
    _change("retire", deal_id, reason, output, sure=yes)


@app.command()
def reinstate(
    deal_id: DealIdArgument,
    reason: ReasonOption,
    *,
    yes: YesOption = False,
    output: OutputOption = None,
) -> None:
    """Let a retired key sign again, for funds that came to its account after all."""
    _change("reinstate", deal_id, reason, output, sure=yes)


@app.command(name="verify-journal")
def verify_journal(
    head: Annotated[
        str | None,
        typer.Option(help="A hash that was noted earlier: it has to be in the journal still."),
    ] = None,
    output: OutputOption = None,
) -> None:
    """Recompute the signing journal: 0 if nothing was changed, 1 with the first row that was."""
    from starters.cli.keys_show import verify

    run_async(verify(head, settled(output)))


def _change(
    name: str,
    deal_id: str,
    reason: str,
    output: Output | None,
    *,
    sure: bool,
) -> None:
    from domain.identifiers import DealId
    from starters.cli.keys_act import change

    run_async(change(name, DealId(deal_id), reason, settled(output), sure=sure))
