"""The signer's keys: accounts, labels and states. No key is ever seen here."""

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field
from starlette.responses import Response

from activities.custody.interface import (
    LARGEST_PAGE,
    KeyView,
    ListKeys,
    Rotation,
    VerifyJournal,
)
from domain.errors import NotAllowed, NotFound, OutcomeUnknown
from domain.identifiers import DealId
from domain.identity import Permission
from starters.api import examples_keys as shown
from starters.api.asking import DEFAULT, NAME, Asking, CommandIdOf, DealPath, Why, With
from starters.api.describing import endpoint
from starters.api.documents import Document, answer
from starters.api.entry import Entry
from starters.api.limiting import Rate
from starters.control.custody import Rotated

router = APIRouter(route_class=Entry, tags=["keys"])


class KeysDocument(Document):
    """A page of keys, newest first; the desk's own come with the first."""

    provider: str
    generation: Annotated[int, Field(description="The newest seed's.")]
    keys: list[KeyView]
    next_cursor: Annotated[int | None, Field(description="`cursor` of the next page; null: none.")]


class JournalDocument(Document):
    """What recomputing the signing journal found."""

    rows: int
    head: Annotated[str, Field(description="The hash of the last row that is right.")]
    broken: Annotated[int | None, Field(description="The first row that is not.")]
    head_found: Annotated[bool | None, Field(description="Whether the noted hash is in it.")]
    intact: Annotated[bool, Field(description="Nothing was changed, nothing noted is missing.")]


class RotateBody(Why):
    """What to rotate, and why."""

    rotations: Annotated[
        list[Rotation],
        Field(
            min_length=1,
            max_length=len(Rotation),
            description="`seed`: a new one for deals to come; `wrapping`: a new key over seeds.",
        ),
    ]


@endpoint(
    router,
    "GET",
    "/keys",
    Permission.KEYS_READ,
    Rate.READ,
    answer=KeysDocument,
    example=shown.KEYS,
    failures=(NotFound, OutcomeUnknown),
)
async def list_keys(  # noqa: PLR0913 - as FastAPI has it
    caller: Asking,
    services: With,
    deal_id: Annotated[
        str | None, Query(pattern=NAME, description="Only this deal's.", examples=["alpha"])
    ] = None,
    *,
    retired: Annotated[
        bool | None, Query(description="Only those that are retired, or that are not.")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=LARGEST_PAGE, description="At most so many.")] = DEFAULT,
    cursor: Annotated[
        int | None, Query(ge=0, lt=2**63, description="`next_cursor` of the page before.")
    ] = None,
) -> Response:
    """List accounts and their keys' labels, asked of the signer; of other banks' deals none.

    A page may be shorter than `limit` while there is a next one.
    """
    order = ListKeys(
        deal_id=None if deal_id is None else DealId(deal_id),
        retired=retired,
        limit=limit,
        before=cursor,
    )
    found = await services.key_desk.page(caller, order)
    document = KeysDocument(
        provider=found.provider,
        generation=found.generation,
        keys=list(found.keys),
        next_cursor=found.next_before,
    )
    return answer(document)


@endpoint(
    router,
    "GET",
    "/keys/journal",
    Permission.KEYS_READ,
    Rate.READ,
    answer=JournalDocument,
    example=shown.JOURNAL,
    failures=(OutcomeUnknown,),
)
async def verify_journal(
    caller: Asking,
    services: With,
    head: Annotated[
        str | None,
        Query(
            pattern=r"^[0-9a-f]{64}$",
            description="A hash that was noted earlier: it has to be in the journal still.",
        ),
    ] = None,
) -> Response:
    """Recompute the signing journal: whether every decision stands as it was written.

    It takes as long as the journal is; what does not end within a request is done by `deal keys
    verify-journal`.
    """
    found = await services.key_desk.verify(caller, VerifyJournal(head=head))
    return answer(JournalDocument(**found.model_dump(), intact=found.intact))


@endpoint(
    router,
    "POST",
    "/keys/rotate",
    Permission.KEYS_ACT,
    Rate.CHANGE,
    answer=Rotated,
    example=shown.ROTATED,
    body_example={"rotations": ["seed"], "reason": "drill"},
    failures=(NotAllowed,),
)
async def rotate_keys(
    caller: Asking, services: With, command_id: CommandIdOf, body: RotateBody
) -> Response:
    """Rotate the seed, the wrapping key, or both; deals that run keep their keys."""
    rotated = await services.key_desk.rotate(caller, tuple(body.rotations), body.reason, command_id)
    return answer(Rotated(rotated=rotated))


@endpoint(
    router,
    "POST",
    "/deals/{deal_id}/key/retire",
    Permission.KEYS_ACT,
    Rate.CHANGE,
    answer=KeyView,
    example=shown.RETIRED,
    body_example={"reason": "swept by hand"},
    failures=(NotFound, NotAllowed),
)
async def retire_key(
    caller: Asking, services: With, command_id: CommandIdOf, deal_id: DealPath, why: Why
) -> Response:
    """Let nothing be signed any more for a deal that has ended and whose account is empty."""
    view = await services.key_desk.retire(caller, DealId(deal_id), why.reason, command_id)
    return answer(view)


@endpoint(
    router,
    "POST",
    "/deals/{deal_id}/key/reinstate",
    Permission.KEYS_ACT,
    Rate.CHANGE,
    answer=KeyView,
    example=shown.KEY,
    body_example={"reason": "funds came to its account after all"},
    failures=(NotFound, NotAllowed),
)
async def reinstate_key(
    caller: Asking, services: With, command_id: CommandIdOf, deal_id: DealPath, why: Why
) -> Response:
    """Let a retired key sign again, for funds that came to its account after all."""
    view = await services.key_desk.reinstate(caller, DealId(deal_id), why.reason, command_id)
    return answer(view)
