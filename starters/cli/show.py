"""`deal show` and `deal list`."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final

import typer
from rich.console import RenderableType
from rich.text import Text

from domain.deals import DealStatus
from domain.errors import InvalidInput
from domain.identifiers import BankId, DealId
from domain.identity import Permission
from domain.views import DealView
from starters.cli import tables
from starters.cli.documents import deal_document, standing, standing_text
from starters.cli.output import Output, print_json, show
from starters.cli.predictions import comparison_table, prediction_facts
from starters.cli.session import caller, load_settings, records, require_deal
from starters.deals.reading import Cursor, DealFilter, DealPage

_PERIOD: Final = re.compile(r"([0-9]{1,6})([mhdw])")
_UNITS: Final = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


async def list_deals(chosen: DealFilter, output: Output) -> None:
    """`deal list`: a page of the records."""
    who = await caller(Permission.DEALS_READ)
    page = await records(load_settings()).page(replace(chosen, banks=who.banks))
    if output is Output.JSON:
        print_json(_page_document(page))
        return
    show(tables.deals_table(page.deals))
    note = f"from the records, {len(page.deals)} deals"
    note += standing_text(deal.updated_at for deal in page.deals)
    if page.next_cursor is not None:
        note += f"; go on with --cursor {page.next_cursor}"
    typer.echo(note)


async def show_deal(deal_id: DealId, output: Output) -> None:
    """`deal show`: the workflow's own answer, or the records with their age."""
    # Temporal's library takes longer to load than a list takes to print.
    from starters.cli.temporal import open_client_if_up, web_link  # noqa: PLC0415
    from starters.deals.launch import newest_view  # noqa: PLC0415

    settings = load_settings()
    who = await caller(Permission.DEALS_READ)
    await require_deal(who, deal_id, settings)
    client = await open_client_if_up()
    view, from_workflow = await newest_view(deal_id, client, records(settings))
    web_ui = web_link(settings, deal_id)
    if output is Output.JSON:
        print_json(deal_document(view, from_workflow=from_workflow, web_ui=web_ui))
        return
    print_deal(view, web_ui, from_workflow=from_workflow)


def print_deal(view: DealView, web_ui: str | None, *, from_workflow: bool) -> None:
    """Print everything about a deal, as far as there is something."""
    parts = [
        tables.source_line(view, from_workflow=from_workflow, now=datetime.now(UTC)),
        tables.summary(view),
        tables.approval_facts(view.approval) if view.approval else None,
        tables.steps_table(view.steps) if view.steps else None,
        tables.settlement_facts(view) if view.settlement else None,
        *_predicted(view),
        tables.problem_facts(view.problem) if view.problem else None,
        Text(f"Web UI: {web_ui}", no_wrap=True, overflow="ignore") if web_ui else None,
    ]
    show(*(part for part in parts if part is not None))


def _predicted(view: DealView) -> list[RenderableType]:
    """Predicted against realised, or, until the deal has ended, what is predicted."""
    if view.comparison is not None:
        return [Text("predicted by the dry run, and realised"), comparison_table(view.comparison)]
    if view.prediction is not None:
        return [Text("predicted by the dry run"), prediction_facts(view.prediction)]
    return []


def parse_filter(  # noqa: PLR0913 - the options of the command
    *,
    statuses: list[str],
    bank: str | None,
    chain: str | None,
    since: str | None,
    limit: int,
    cursor: str | None,
) -> DealFilter:
    """Check the options; raise `InvalidInput` naming the one that is wrong."""
    return DealFilter(
        statuses=tuple(_status(text) for text in statuses),
        bank=BankId(bank) if bank else None,
        chain_id=parse_chain_id(chain) if chain else None,
        since=parse_since(since, datetime.now(UTC)) if since else None,
        limit=limit,
        before=Cursor.parse(cursor) if cursor else None,
    )


def parse_since(text: str, now: datetime) -> datetime:
    """Read a period before now (``90m``, ``24h``, ``7d``, ``2w``) or an ISO date and time (UTC)."""
    period = _PERIOD.fullmatch(text)
    try:
        if period is not None:
            return now - timedelta(**{_UNITS[period[2]]: int(period[1])})
        when = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        raise InvalidInput(
            "since is not a time",
            field="since",
            value=text,
            limit="a period such as 24h or 7d, or a time such as 2026-11-22T18:00",
            next_action="correct --since and try again",
        ) from None
    return when if when.tzinfo else when.replace(tzinfo=UTC)


def _status(text: str) -> DealStatus:
    try:
        return DealStatus(text.upper())
    except ValueError:
        raise InvalidInput(
            "there is no such status",
            field="status",
            value=text,
            limit=", ".join(DealStatus),
            next_action="choose one of the statuses listed",
        ) from None


def parse_chain_id(text: str) -> int:
    """Read a chain id as it was typed; raise `InvalidInput` if it is none."""
    if text.isdecimal() and 0 < int(text) < 2**63:
        return int(text)
    raise InvalidInput(
        "chain is not a chain id",
        field="chain",
        value=text,
        limit="a whole number above 0",
        next_action="correct --chain and try again",
    )


def _page_document(page: DealPage) -> dict[str, object]:
    return {
        "source": "records",
        **standing(deal.updated_at for deal in page.deals),
        "deals": [deal.model_dump(mode="json", exclude={"steps"}) for deal in page.deals],
        "next_cursor": None if page.next_cursor is None else str(page.next_cursor),
    }
