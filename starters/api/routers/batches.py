"""One command for many deals: the list is shown first, and acted on is that list and no other."""

from collections import Counter
from datetime import datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter
from pydantic import ConfigDict, Field
from starlette.responses import Response

from domain.deals import Command, DealStatus
from domain.errors import LimitExceeded, NotFound, Outdated, Problem
from domain.identity import Permission
from starters.api.asking import REASON, Asking, CommandIdOf, Why, With
from starters.api.describing import endpoint
from starters.api.documents import Document, answer
from starters.api.entry import Entry
from starters.api.limiting import Rate
from starters.control.batches import Batch, BatchDeal, BatchId, BatchResult, Outcome
from starters.control.previews import KeptPreview

router = APIRouter(route_class=Entry, tags=["batches"])

_WHERE: Final = "bank=bank-one status=EXECUTING"
_PREVIEW_ID: Final = "preview-0123456789abcdef0123456789abcdef"
_DIGEST: Final = "ab" * 32
_BATCH_ID: Final = "api-0123456789abcdef0123456789abcdef01234567"
_AT: Final = "2026-11-28T12:00:00Z"


class WhereBody(Document):
    """Which deals: every term has to hold, of the values of one term any."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    where: Annotated[
        str,
        Field(
            min_length=1,
            max_length=2_000,
            pattern=REASON,
            description="Terms of `bank`, `status`, `chain`, `module`, `id` (`name=one,other`),"
            " `older` (since it began) and `quiet` (since it changed), such as `older=2h`.",
        ),
    ]


class PreviewedDeal(Document):
    """A deal of the list, as the records had it when the list was made."""

    deal_id: str
    bank: str
    chain_id: int
    module: str
    status: DealStatus
    doing: str
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, deal: BatchDeal) -> "PreviewedDeal":
        """Tell of a deal of the list."""
        return cls.model_validate(vars(deal))


class PreviewDocument(Document):
    """The list that can be said yes to by `preview_id` and `digest`, until it expires."""

    preview_id: str
    command: Command
    where: str
    digest: Annotated[str, Field(description="SHA-256 over the command and the list.")]
    expires_at: datetime
    deals: Annotated[list[PreviewedDeal], Field(description="Oldest first.")]

    @classmethod
    def of(cls, kept: KeptPreview) -> "PreviewDocument":
        """Tell of a preview that is kept."""
        preview = kept.preview
        return cls(
            preview_id=kept.preview_id,
            command=preview.command,
            where=preview.where,
            digest=preview.chosen.digest,
            expires_at=kept.expires_at,
            deals=[PreviewedDeal.of(deal) for deal in preview.deals],
        )


class ActBody(Why):
    """Yes to exactly the list of a preview, and why."""

    preview_id: Annotated[str, Field(pattern=r"^preview-[0-9a-f]{32}$")]
    digest: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class BatchedDeal(Document):
    """One deal of a batch: where it stands now, or why nothing was done."""

    deal_id: str
    outcome: Outcome
    status: DealStatus | None
    problem: Problem | None

    @classmethod
    def of(cls, result: BatchResult) -> "BatchedDeal":
        """Tell what became of one deal's command."""
        return cls.model_construct(
            deal_id=result.deal_id,
            outcome=result.outcome,
            status=result.status,
            problem=result.problem,
        )


class BatchDocument(Document):
    """What became of every deal of the list, in its order."""

    batch_id: Annotated[str, Field(description="Each deal's command is `batch_id/deal_id`.")]
    command: Command
    where: str
    digest: str
    counts: dict[Outcome, int]
    deals: list[BatchedDeal]

    @classmethod
    def of(cls, batch: Batch, results: list[BatchResult]) -> "BatchDocument":
        """Tell of a batch that was gone through."""
        order = {deal_id: place for place, deal_id in enumerate(batch.deals)}
        results = sorted(results, key=lambda result: order[result.deal_id])
        counts = Counter(result.outcome for result in results)
        return cls(
            batch_id=batch.batch_id,
            command=batch.command,
            where=batch.where,
            digest=batch.digest,
            counts={outcome: counts[outcome] for outcome in Outcome},
            deals=[BatchedDeal.of(result) for result in results],
        )


_PREVIEW: Final[dict[str, Any]] = {
    "preview_id": _PREVIEW_ID,
    "where": _WHERE,
    "digest": _DIGEST,
    "expires_at": _AT,
    "deals": [
        {
            "deal_id": "alpha",
            "bank": "bank-one",
            "chain_id": 138,
            "module": "usdtz",
            "status": "EXECUTING",
            "doing": "borrow 1",
            "created_at": _AT,
            "updated_at": _AT,
        }
    ],
}
_BATCH: Final[dict[str, Any]] = {
    "batch_id": _BATCH_ID,
    "where": _WHERE,
    "digest": _DIGEST,
    "counts": {"applied": 1, "queued": 0, "refused": 0},
    "deals": [{"deal_id": "alpha", "outcome": "applied", "status": "EXECUTING", "problem": None}],
}


def _add(command: Command, rate: Rate, words: str) -> None:
    permission = Permission(f"deals.{command}")

    async def preview(caller: Asking, services: With, _: CommandIdOf, body: WhereBody) -> Response:
        kept = await services.previews.show(caller, command, body.where)
        return answer(PreviewDocument.of(kept), 201)

    preview.__name__ = f"preview_{command}_of_many"
    preview.__doc__ = (
        f"Show exactly the deals that `{command}_many` would be for, and keep the list for a"
        " quarter of an hour."
    )
    endpoint(
        router,
        "POST",
        f"/batches/{command}/preview",
        permission,
        Rate.READ,
        answer=PreviewDocument,
        example=_PREVIEW | {"command": command},
        status=201,
        body_example={"where": _WHERE},
        failures=(NotFound, LimitExceeded),
    )(preview)

    async def act(
        caller: Asking, services: With, command_id: CommandIdOf, body: ActBody
    ) -> Response:
        name = BatchId(command_id)
        batch = await services.previews.begin_shown(
            caller, name, command, body.preview_id, body.digest, body.reason
        )
        found = services.batches.act(caller, batch, services.desk)
        return answer(BatchDocument.of(batch, [result async for result in found]))

    act.__name__ = f"{command}_many"
    act.__doc__ = (
        f"{words} Acted on is exactly the list of the preview, each deal once; one that fails does"
        " not hold up the others. The same request again goes on where it stopped."
    )
    endpoint(
        router,
        "POST",
        f"/batches/{command}",
        permission,
        rate,
        answer=BatchDocument,
        example=_BATCH | {"command": command},
        body_example={"preview_id": _PREVIEW_ID, "digest": _DIGEST, "reason": "volatile market"},
        failures=(NotFound, Outdated),
    )(act)


for _command, _rate, _words in (
    (Command.PAUSE, Rate.SAFETY, "Stop many deals before their next step."),
    (Command.RESUME, Rate.LAUNCH, "Let many paused deals go on."),
    (Command.CANCEL, Rate.SAFETY, "Unwind many deals from where they stand."),
    (Command.UNWIND, Rate.SAFETY, "Bring the funds of many deals home."),
):
    _add(_command, _rate, _words)
