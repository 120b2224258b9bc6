"""Deals: reading them from the records, and following one."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Header, Query
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.responses import Response

from domain.deals import DealStatus
from domain.errors import NotFound
from domain.identifiers import DealId
from domain.identity import Caller, Permission
from domain.views import DealView
from starters.api import examples
from starters.api.asking import (
    DEFAULT,
    Asking,
    BankQuery,
    ChainQuery,
    CursorQuery,
    DealPath,
    LimitQuery,
    With,
    see,
)
from starters.api.describing import endpoint
from starters.api.documents import DealDocument, DealsDocument, answer
from starters.api.entry import Entry
from starters.api.events import kind_of, last_version
from starters.api.limiting import Rate
from starters.api.services import Services
from starters.deals.failures import not_found
from starters.deals.launch import newest_view
from starters.deals.reading import Cursor, DealFilter

router = APIRouter(route_class=Entry, tags=["deals"])

_HEARTBEAT_SECONDS: Final = 15
_WITHOUT_STEPS: Final = {"deals": {"__all__": {"steps"}}}


@endpoint(
    router,
    "GET",
    "/deals",
    Permission.DEALS_READ,
    Rate.READ,
    answer=DealsDocument,
    example=examples.DEALS,
)
async def list_deals(  # noqa: PLR0913 - the filters
    *,
    caller: Asking,
    services: With,
    status: Annotated[
        list[DealStatus] | None, Query(description="Only these; may be repeated.")
    ] = None,
    bank: BankQuery = None,
    chain_id: ChainQuery = None,
    since: Annotated[datetime | None, Query(description="Begun since then.")] = None,
    limit: LimitQuery = DEFAULT,
    cursor: CursorQuery = None,
) -> Response:
    """List deals from the records, newest first; of the caller's banks only."""
    chosen = DealFilter(
        statuses=tuple(status or ()),
        bank=bank,
        banks=caller.banks,
        chain_id=chain_id,
        since=since if since is None or since.tzinfo else since.replace(tzinfo=UTC),
        limit=limit,
        before=Cursor.parse(cursor) if cursor else None,
    )
    page = await services.records.page(chosen)
    deals = [DealDocument.of(deal, from_workflow=False, web_ui=None) for deal in page.deals]
    document = DealsDocument.model_construct(
        source="records",
        as_of=datetime.now(UTC),
        deals=deals,
        next_cursor=None if page.next_cursor is None else str(page.next_cursor),
    )
    return answer(document, exclude=_WITHOUT_STEPS)


@endpoint(
    router,
    "GET",
    "/deals/{deal_id}",
    Permission.DEALS_READ,
    Rate.READ,
    answer=DealDocument,
    example=examples.DEAL,
    failures=(NotFound,),
)
async def show_deal(
    caller: Asking,
    services: With,
    deal_id: DealPath,
    source: Annotated[
        Literal["records", "workflow"],
        Query(description="`workflow` asks the deal itself, and the records if it is away."),
    ] = "records",
) -> Response:
    """Show a deal: its steps and transactions, sizing, profit, and problem if it has one."""
    view, from_workflow = await visible(services, caller, DealId(deal_id), source)
    return answer(document_of(services, view, from_workflow=from_workflow))


@endpoint(
    router,
    "GET",
    "/deals/{deal_id}/events",
    Permission.DEALS_READ,
    Rate.READ,
    answer=None,
    media_type="text/event-stream",
    example=examples.EVENTS,
    failures=(NotFound,),
)
async def follow_deal(
    caller: Asking,
    services: With,
    deal_id: DealPath,
    last_event_id: Annotated[
        str | None, Header(description="The last event that was seen; go on after it.")
    ] = None,
) -> Response:
    """Follow a deal: an event `change` now and at every change, and `end` with the last one.

    An event's id is the version of the deal, its data the deal as `show_deal` has it. A comment
    comes every 15 seconds in between.
    """
    after = last_version(last_event_id)
    await visible(services, caller, DealId(deal_id), "records")
    services.followers.check(caller.who)
    return EventSourceResponse(
        _events(services, caller, DealId(deal_id), after), ping=_HEARTBEAT_SECONDS
    )


async def _events(
    services: Services, caller: Caller, deal_id: DealId, after: int
) -> AsyncGenerator[ServerSentEvent, None]:
    with services.followers.place(caller.who):
        async with aclosing(services.followers.follow(deal_id, after)) as views:
            async for view in views:
                told = document_of(services, view, from_workflow=False)
                yield ServerSentEvent(
                    told.model_dump_json(), event=kind_of(view.status), id=str(view.version)
                )


async def visible(
    services: Services, caller: Caller, deal_id: DealId, source: str
) -> tuple[DealView, bool]:
    """The deal, and whether its workflow answered. Raises `NotFound` for another bank's, too."""
    client = await services.deals_if_up() if source == "workflow" else None
    view, from_workflow = await newest_view(deal_id, client, services.records)
    see(caller, view.request.bank, not_found(deal_id))
    return view, from_workflow


def document_of(services: Services, view: DealView, *, from_workflow: bool) -> DealDocument:
    """Tell of a deal, with its page in the Web UI."""
    return DealDocument.of(view, from_workflow=from_workflow, web_ui=services.web_link(view))
