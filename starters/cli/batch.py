"""`deal pause --where ...` and the like: one command for many deals, shown first."""

from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime
from uuid import uuid4

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from domain.deals import Command, DealStatus
from domain.errors import Conflict, NotFound
from domain.identity import Caller, Permission
from starters.cli import formats
from starters.cli.asking import require_terminal
from starters.cli.control import check_reason
from starters.cli.output import Output, console_for_questions, print_json, show
from starters.cli.session import caller, load_settings
from starters.cli.tables import status_text
from starters.cli.temporal import open_desk
from starters.control.batches import (
    Batch,
    Batches,
    BatchId,
    BatchPreview,
    BatchResult,
    Outcome,
    exit_code_of,
)
from starters.control.database import ControlDatabase
from starters.deals.database import single_connection

_COLOURS = {Outcome.APPLIED: "green", Outcome.QUEUED: "cyan", Outcome.REFUSED: "red"}


async def give_to_many(  # noqa: PLR0913 - the options of the command
    command: Command,
    *,
    where: str | None,
    batch_id: str | None,
    reason: str,
    sure: bool,
    output: Output,
) -> None:
    """Show the list, ask, give every deal of it the command, and print what became of each.

    With the id of a batch that was begun before, its list is gone on with. Leaves with 0 if all was
    done or is queued, with the code that all failures share, or with 1.
    """
    check_reason(reason)
    name = BatchId(f"batch-{uuid4().hex[:12]}" if batch_id is None else batch_id)
    who = await caller(Permission(f"deals.{command}"))
    settings = load_settings()
    control = ControlDatabase.at(settings.control_database())
    batches = Batches(single_connection(settings.database_url.get_secret_value()), control)
    batch = None if batch_id is None else await _begun(batches, who, name, command, where)
    if batch is None:
        if where is None:
            raise _nothing_begun(name)
        if not sure:
            require_terminal(command, "deals")
        preview = await batches.preview(who, command, where)
        if not sure or output is Output.TABLE:
            console_for_questions().print(preview_table(preview))
        question = f"{command} these {len(preview.deals)} deals?"
        if not sure and not typer.confirm(question, err=True):
            typer.echo("nothing was changed", err=True)
            raise typer.Exit(1)
        batch = await batches.begin(who, name, preview.chosen, reason)
    typer.echo(f"batch {batch.batch_id}: {len(batch.deals)} deals", err=True)
    found = [result async for result in batches.act(who, batch, open_desk(settings))]
    order = {deal_id: place for place, deal_id in enumerate(batch.deals)}
    results = sorted(found, key=lambda result: order[result.deal_id])
    _print(batch, results, output)
    raise typer.Exit(exit_code_of(results))


async def _begun(
    batches: Batches, who: Caller, name: BatchId, command: Command, where: str | None
) -> Batch | None:
    """The batch of this id, if it was begun; raises `Conflict` if it is another one."""
    try:
        batch = await batches.find(who, name)
    except NotFound:
        return None
    if batch.command is not command or where not in {None, batch.where}:
        raise Conflict(
            f"batch {name} was begun as another one",
            field="batch_id",
            value=name,
            limit=f"{batch.command} --where '{batch.where}'",
            next_action="repeat it as it was begun, or begin one with a new id",
        )
    return batch


def preview_table(preview: BatchPreview) -> Table:
    """The deals that would be acted on, one line each."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for name in ("deal", "bank", "chain", "module"):
        table.add_column(name, overflow="fold")
    table.add_column("status")
    table.add_column("doing", overflow="fold")
    table.add_column("age", justify="right", no_wrap=True)
    now = datetime.now(UTC)
    for deal in preview.deals:
        table.add_row(
            deal.deal_id,
            deal.bank,
            str(deal.chain_id),
            deal.module,
            status_text(DealStatus(deal.status)),
            Text(deal.doing),
            formats.age(now - deal.created_at),
        )
    return table


def _print(batch: Batch, results: list[BatchResult], output: Output) -> None:
    counts = Counter(result.outcome for result in results)
    if output is Output.JSON:
        print_json(
            {
                "batch_id": batch.batch_id,
                "command": batch.command,
                "where": batch.where,
                "counts": {outcome: counts[outcome] for outcome in Outcome},
                "deals": [_document(result) for result in results],
            }
        )
        return
    show(_results_table(results))
    typer.echo(", ".join(f"{counts[outcome]} {outcome}" for outcome in Outcome))


def _results_table(results: Iterable[BatchResult]) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for name in ("deal", "outcome", "status", "problem"):
        table.add_column(name, overflow="fold")
    for result in results:
        problem = result.problem
        table.add_row(
            result.deal_id,
            Text(result.outcome, style=_COLOURS[result.outcome]),
            "" if result.status is None else status_text(result.status),
            "" if problem is None else Text(f"{problem.message}; {problem.next_action}"),
        )
    return table


def _document(result: BatchResult) -> dict[str, object]:
    return {
        "deal_id": result.deal_id,
        "outcome": result.outcome,
        "status": result.status,
        "problem": result.problem and result.problem.model_dump(mode="json", exclude_none=True),
    }


def _nothing_begun(name: BatchId) -> NotFound:
    return NotFound(
        f"there is no batch {name} to go on with",
        field="batch_id",
        value=name,
        next_action="begin one with --where",
    )
