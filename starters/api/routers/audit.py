"""The audit trail: read, recomputed, exported."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import Field
from starlette.responses import Response, StreamingResponse

from domain.errors import NotFound
from domain.identifiers import DealId
from domain.identity import Permission
from starters.api import examples
from starters.api.asking import DEFAULT, NAME, REASON, Asking, BankQuery, LimitQuery, With
from starters.api.describing import endpoint
from starters.api.documents import Document, answer
from starters.api.entry import Entry
from starters.api.limiting import Rate
from starters.control.audit import AuditFilter

router = APIRouter(route_class=Entry, tags=["audit"])

_Deal = Annotated[str | None, Query(pattern=NAME, description="Only this deal's.")]
_Name = Annotated[str | None, Query(pattern=NAME, description="Only what he has done.")]
_Time = Annotated[datetime | None, Query(description="UTC unless it says otherwise.")]
_Head = Annotated[
    str | None,
    Query(pattern=r"^[0-9a-f]{64}$", description="The hash of a row that was kept elsewhere."),
]


class AuditDocument(Document):
    """A page of rows as they were written, newest first."""

    rows: list[dict[str, Any]]
    next_before: Annotated[int | None, Field(description="`before` of the next page.")]


class TrailDocument(Document):
    """What recomputing the trail found; `broken` is the first row that is not as written."""

    good: int
    head: str
    broken: int | None
    problem: str | None


@endpoint(
    router,
    "GET",
    "/audit/events",
    Permission.AUDIT_READ,
    Rate.READ,
    answer=AuditDocument,
    example={"rows": [examples.AUDIT_ROW], "next_before": None},
)
async def list_audit_events(  # noqa: PLR0913 - the filters
    *,
    caller: Asking,
    services: With,
    deal_id: _Deal = None,
    who: _Name = None,
    bank: BankQuery = None,
    since: _Time = None,
    until: _Time = None,
    limit: LimitQuery = DEFAULT,
    before: Annotated[int | None, Query(ge=1, lt=2**63)] = None,
) -> Response:
    """List who did what, why and from where, newest first; of the caller's banks only."""
    page = await services.audit.page(
        caller,
        AuditFilter(
            deal=deal_id,
            actor=who,
            bank=bank,
            since=_utc(since),
            until=_utc(until),
            limit=limit,
            before=before,
        ),
    )
    return answer(AuditDocument(rows=page.rows, next_before=page.next_before))


@endpoint(
    router,
    "GET",
    "/audit/verification",
    Permission.AUDIT_READ,
    Rate.CHANGE,
    answer=TrailDocument,
    example={"good": 1204, "head": "ab" * 32, "broken": None, "problem": None},
)
async def verify_audit_trail(caller: Asking, services: With, head: _Head = None) -> Response:
    """Recompute every row's hash: whether any was changed, removed or cut off."""
    return answer(TrailDocument(**asdict(await services.audit.verify(caller, head))))


@endpoint(
    router,
    "GET",
    "/audit/export",
    Permission.AUDIT_EXPORT,
    Rate.CHANGE,
    answer=None,
    media_type="application/x-ndjson",
    example='{"audit_export": 1, "deal": "alpha", "first": 1, "last": 1204}\n',
    failures=(NotFound,),
)
async def export_audit_trail(
    caller: Asking,
    services: With,
    reason: Annotated[str, Query(min_length=1, max_length=500, pattern=REASON)],
    deal_id: _Deal = None,
    head: _Head = None,
) -> Response:
    """Export the trail, or what verifies a deal's rows, as JSON lines; that is noted in it."""
    lines = services.audit.export(
        caller, reason, None if deal_id is None else DealId(deal_id), head
    )
    first = await anext(aiter(lines))  # what is refused is refused before the answer begins

    async def told() -> AsyncIterator[str]:
        async with aclosing(lines) as rest:
            yield f"{first}\n"
            async for line in rest:
                yield f"{line}\n"

    return StreamingResponse(told(), media_type="application/x-ndjson")


def _utc(time: datetime | None) -> datetime | None:
    return time if time is None or time.tzinfo else time.replace(tzinfo=UTC)
