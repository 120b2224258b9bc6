"""`deal keys list` and `verify-journal`: what the signer's records say."""

import typer
from pydantic import ValidationError
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from activities.custody.interface import JournalVerified, KeyList, KeyView, ListKeys, VerifyJournal
from domain.deals import invalid_input_from
from domain.identifiers import DealId
from domain.identity import Permission
from starters.cli import formats
from starters.cli.output import Output, print_json, show
from starters.cli.session import caller, command_store, load_settings, records
from starters.cli.tables import facts
from starters.cli.temporal import connected
from starters.control.custody import KeyDesk
from starters.keys.client import KeyClient


async def open_keys_client() -> KeyClient:
    """Connect to Temporal; raises `Unavailable`."""
    settings = load_settings()
    return KeyClient(await connected(), records(settings))


def open_key_desk() -> KeyDesk:
    """What people do with keys; it connects when it is asked."""
    settings = load_settings()
    return KeyDesk(open_keys_client, records(settings), command_store(settings))


async def list_keys(
    deal: str | None, output: Output, *, retired: bool | None, limit: int, cursor: int | None
) -> None:
    """Print a page of keys."""
    try:
        order = ListKeys(
            deal_id=None if deal is None else DealId(deal),
            retired=retired,
            limit=limit,
            before=cursor,
        )
    except ValidationError as error:
        raise invalid_input_from(error) from None
    who = await caller(Permission.KEYS_READ)
    found = await open_key_desk().page(who, order)
    if output is Output.JSON:
        print_json(_document(found))
        return
    show(_table(found.keys), Text(f"{found.provider}, generation {found.generation}", style="dim"))
    if found.next_before is not None:
        typer.echo(f"more: --cursor {found.next_before}")


async def verify(head: str | None, output: Output) -> None:
    """Print what recomputing the journal found; leave with 1 if something is wrong with it."""
    try:
        order = VerifyJournal(head=head)
    except ValidationError as error:
        raise invalid_input_from(error) from None
    who = await caller(Permission.KEYS_READ)
    found = await open_key_desk().verify(who, order)
    if output is Output.JSON:
        print_json(found.model_dump(mode="json") | {"intact": found.intact})
    else:
        show(_verdict(found))
    if not found.intact:
        raise typer.Exit(1)


def key_facts(view: KeyView) -> Table:
    """One key as names and values."""
    table = facts()
    table.add_row("deal", view.deal_id or view.purpose)
    table.add_row("account", view.address)
    table.add_row("key", f"{view.label} in {view.provider}")
    table.add_row("made", f"{formats.moment(view.created_at)} UTC")
    table.add_row("state", _state(view))
    return table


def _table(keys: tuple[KeyView, ...]) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for name in ("of", "account", "key", "provider", "made (UTC)", "state"):
        table.add_column(name, overflow="fold")
    for view in keys:
        table.add_row(
            view.deal_id or view.purpose,
            view.address,
            view.label,
            view.provider,
            formats.moment(view.created_at),
            _state(view),
        )
    return table


def _state(view: KeyView) -> str:
    if view.retired_at is None:
        return "in use"
    return f"retired {formats.moment(view.retired_at)} by {view.retired_by}: {view.retired_why}"


def _document(found: KeyList) -> dict[str, object]:
    document = found.model_dump(mode="json")
    document["next_cursor"] = document.pop("next_before")
    return document


def _verdict(found: JournalVerified) -> Table:
    table = facts()
    table.add_row("journal", "intact" if found.intact else "NOT as it was written")
    table.add_row("rows", f"{found.rows:,}")
    table.add_row("head", found.head)
    if found.broken is not None:
        table.add_row("broken", f"row {found.broken} does not follow from the one before")
    if found.head_found is not None:
        table.add_row("noted", "found" if found.head_found else "missing: rows were taken away")
    return table
