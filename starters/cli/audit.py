"""`deal audit`: the trail of who changed what, and why.

How it is done is imported when a command runs, as in `starters.cli.main`.
"""
# ruff: noqa: PLC0415 - see above

from pathlib import Path
from typing import Annotated

import typer

from starters.cli.options import OutputOption, ReasonOption
from starters.cli.output import settled
from starters.cli.process import run_async

app = typer.Typer(
    help="The audit trail: who changed what and why; export it, verify it.",
    no_args_is_help=True,
)

HeadOption = Annotated[
    str | None,
    typer.Option("--head", help="A head that was kept: it must still be in the trail."),
]


@app.command()
def show(  # noqa: PLR0913 - the options of the command
    deal: Annotated[str | None, typer.Argument(metavar="[ID]", help="Only this deal's.")] = None,
    *,
    actor: Annotated[str | None, typer.Option(help="Only what was done in this name.")] = None,
    bank: Annotated[str | None, typer.Option(help="Only this bank's.")] = None,
    kind: Annotated[
        str | None, typer.Option(help="Only of this kind of subject: deal, command, policy, halt.")
    ] = None,
    since: Annotated[
        str | None, typer.Option(help="Since then: 24h, 7d, 2026-11-22T18:00 (UTC).")
    ] = None,
    until: Annotated[str | None, typer.Option(help="Before then; likewise.")] = None,
    limit: Annotated[int, typer.Option(help="At most that many, up to 500.")] = 50,
    before: Annotated[int | None, typer.Option(help="Only rows before this one.")] = None,
    output: OutputOption = None,
) -> None:
    """Show what was changed, by whom and why, newest first."""
    from starters.cli.audit_show import parse_filter, show_trail

    chosen = parse_filter(
        deal=deal,
        actor=actor,
        bank=bank,
        kind=kind,
        since=since,
        until=until,
        limit=limit,
        before=before,
    )
    run_async(show_trail(chosen, settled(output)))


@app.command()
def export(
    *,
    reason: ReasonOption,
    deal: Annotated[
        str | None,
        typer.Option(help="Only this deal's, with what verifies them [default: the whole trail]."),
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--file", "-f", help="Where to [default: standard output].")
    ] = None,
    head: HeadOption = None,
) -> None:
    """Write the trail as JSON lines, for `deploy/audit/verify.py` and whoever asks for it."""
    from starters.cli.audit_show import export_trail

    run_async(export_trail(reason, deal, head, file))


@app.command()
def verify(head: HeadOption = None, output: OutputOption = None) -> None:
    """Recompute the whole trail; leave with 1 and the row's number if one is not as it was written.

    Keep the head that it prints where nobody who can write the database can change it.
    """
    from starters.cli.audit_show import verify_trail

    run_async(verify_trail(head, settled(output)))
