"""`deal audit show`, `export` and `verify`."""

import os
import sys
from collections.abc import Iterable
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, TextIO

import typer
from psycopg.rows import DictRow
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from domain.errors import InvalidInput
from domain.identifiers import BankId, DealId
from starters.cli import formats
from starters.cli.output import Output, print_json, show
from starters.cli.session import caller, load_settings
from starters.cli.show import parse_since
from starters.cli.tables import facts
from starters.control.audit import AuditFilter, AuditTrail, TrailCheck
from starters.control.database import ControlDatabase
from starters.deals.database import single_connection
from workers.runtime.settings import ClientSettings

_HASH_DIGITS: Final = 64


def open_trail(settings: ClientSettings) -> AuditTrail:
    """The trail of the database that the settings name."""
    reading = single_connection(settings.database_url.get_secret_value())
    if settings.control_database_url is None:
        return AuditTrail(reading)
    return AuditTrail(reading, ControlDatabase.at(settings.control_database()))


def parse_filter(  # noqa: PLR0913 - the options of the command
    *,
    deal: str | None,
    actor: str | None,
    bank: str | None,
    kind: str | None,
    since: str | None,
    until: str | None,
    limit: int,
    before: int | None,
) -> AuditFilter:
    """Check the options; raise `InvalidInput` naming the one that is wrong."""
    now = datetime.now(UTC)
    return AuditFilter(
        deal=DealId(deal) if deal else None,
        actor=actor or None,
        bank=BankId(bank) if bank else None,
        subject_kind=kind or None,
        since=parse_since(since, now) if since else None,
        until=parse_since(until, now) if until else None,
        limit=limit,
        before=before,
    )


async def show_trail(chosen: AuditFilter, output: Output) -> None:
    """Print a page of rows."""
    settings = load_settings()
    page = await open_trail(settings).page(await caller(), chosen)
    if output is Output.JSON:
        rows = [_document(row) for row in page.rows]
        print_json({"rows": rows, "next_before": page.next_before})
        return
    show(_table(page.rows))
    if page.next_before is not None:
        typer.echo(f"more: --before {page.next_before}")


async def export_trail(why: str, deal: str | None, head: str | None, file: Path | None) -> None:
    """Write the export, to a file that appears when it is whole."""
    trail, named = open_trail(load_settings()), None if deal is None else DealId(deal)
    lines = trail.export(await caller(), why, named, _hash(head))
    if file is None:
        async with aclosing(lines):
            async for line in lines:
                sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
        return
    draft = file.with_name(f"{file.name}.part")
    count = 0
    async with aclosing(lines):
        with _opened(draft) as writing:
            async for line in lines:
                writing.write(f"{line}\n")
                count += 1
    draft.replace(file)
    typer.echo(f"{count} lines in {file}; verify it with deploy/audit/verify.py", err=True)


async def verify_trail(head: str | None, output: Output) -> None:
    """Print what recomputing the trail found; leave with 1 if something is wrong with it."""
    found = await open_trail(load_settings()).verify(await caller(), _hash(head))
    intact = found.problem is None
    if output is Output.JSON:
        print_json(vars(found) | {"intact": intact})
    else:
        show(_verdict(found))
    if not intact:
        raise typer.Exit(1)


def _opened(draft: Path) -> TextIO:
    try:
        return os.fdopen(
            os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8"
        )
    except OSError as error:
        raise InvalidInput(
            "the file cannot be written",
            field="file",
            value=draft,
            actual=error.strerror,
            next_action="choose another file with --file",
        ) from None


def _hash(head: str | None) -> str | None:
    """A head as it was typed; raises `InvalidInput` if it is no hash."""
    if head is None or (len(head) == _HASH_DIGITS and set(head) <= set("0123456789abcdef")):
        return head
    raise InvalidInput(
        "head is not a hash",
        field="head",
        value=head,
        limit="64 hexadecimal digits in lower case",
        next_action="give the head as `deal audit verify` printed it",
    )


def _table(rows: Iterable[DictRow]) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("row", justify="right")
    table.add_column("at (UTC)", no_wrap=True)
    for name in ("who", "via", "action", "subject", "bank", "why"):
        table.add_column(name, overflow="fold")
    for row in rows:
        address = f" {row['address']}" if row["address"] else ""
        table.add_row(
            str(row["sequence"]),
            formats.moment(row["at"]),
            _who(row),
            f"{row['via']}{address}",
            row["action"],
            Text(row["subject"]),
            row["bank"] or "",
            Text(row["why"]),
        )
    return table


def _who(row: DictRow) -> Text:
    """The name; a claimed one is marked, because nobody has proved it."""
    return Text(
        f"{row['actor']} (claimed)" if row["actor_kind"] == "claimed" else row["actor"],
        style="yellow" if row["actor_kind"] == "claimed" else "",
    )


def _verdict(found: TrailCheck) -> Table:
    table = facts()
    good = (
        Text("intact", style="green")
        if found.problem is None
        else Text(found.problem, style="bold red")
    )
    table.add_row("trail", good)
    table.add_row("good rows", str(found.good))
    table.add_row("head", found.head)
    return table


def _document(row: DictRow) -> dict[str, object]:
    return {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in row.items()
    }
