"""What the API answers, as models: what the application knows, and how old that is."""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from domain.predictions import Comparison
from domain.views import DealView
from starters.deals.comparing import comparison_document

AsOf = Annotated[datetime, Field(description="When it was read; in UTC.")]
NextCursor = Annotated[str | None, Field(description="`cursor` of the next page; null: none.")]
Source = Literal["records", "workflow"]


class Document(BaseModel):
    """An answer."""

    model_config = ConfigDict(frozen=True)


class FigureDocument(Document):
    """One figure, predicted and realised: smallest units, basis points or seconds, as text."""

    name: str
    predicted: str
    realised: str
    difference: str
    ratio: str | None


def figures_of(comparison: Comparison) -> list[FigureDocument]:
    """Figure by figure."""
    return [FigureDocument(**each) for each in comparison_document(comparison)]


class DealDocument(DealView):
    """A deal, who answered for it, and how long ago that was written."""

    figures: Annotated[
        list[FigureDocument] | None,
        Field(description="Predicted against realised, once it has ended."),
    ] = None
    source: Annotated[Source, Field(description="The records, or the deal's own workflow.")]
    as_of: Annotated[datetime, Field(description="When what is told here was so for certain.")]
    age_seconds: Annotated[float, Field(ge=0, description="How long ago that is.")]
    web_ui: Annotated[str | None, Field(description="Its page in Temporal's Web UI.")] = None

    @classmethod
    def of(cls, view: DealView, *, from_workflow: bool, web_ui: str | None) -> "DealDocument":
        """Tell of a deal; the records of one that goes on may be behind its workflow."""
        now = datetime.now(UTC)
        as_of = now if from_workflow else view.updated_at
        return cls.model_construct(
            **dict(view),
            figures=None if view.comparison is None else figures_of(view.comparison),
            source="workflow" if from_workflow else "records",
            as_of=as_of,
            age_seconds=max(0.0, (now - as_of).total_seconds()),
            web_ui=web_ui,
        )


class DealsDocument(Document):
    """A page of deals without their steps, newest first."""

    source: Source
    as_of: AsOf
    deals: list[DealDocument]
    next_cursor: NextCursor


class Records(Document):
    """What all answers from the records have."""

    source: Literal["records"] = "records"
    as_of: AsOf


def answer(
    document: BaseModel,
    status: int = 200,
    headers: dict[str, str] | None = None,
    *,
    exclude: Any = None,  # noqa: ANN401 - as pydantic has it
) -> Response:
    """Write a document as JSON; it is made of models, so it is not validated again."""
    return Response(
        document.model_dump_json(exclude=exclude),
        status_code=status,
        headers=headers,
        media_type="application/json",
    )


class Once(Response):
    """An answer with something that is told this one time; `again` is what a repeat is told.

    Only `again` is kept, so that nothing that opens anything is ever at rest here.
    """

    def __init__(self, told: BaseModel, again: BaseModel, status: int) -> None:
        """Tell the one, and keep the other."""
        super().__init__(told.model_dump_json(), status_code=status, media_type="application/json")
        self.again = again.model_dump_json().encode()
