"""The records as workflows see them: local activities of the deals worker, but for a deal's end."""

from abc import ABC, abstractmethod
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field
from temporalio import activity

from domain.causes import Cause
from domain.identifiers import DealId
from domain.predictions import Prediction, Realised
from domain.views import DealView, StepView


class DealRecord(BaseModel):
    """What changed: the deal as it stands, and the step that just ended, if one did.

    `view.steps` is empty here; steps are recorded one by one. So are what it is predicted to do,
    when that is known, and what it has done, in the end.
    """

    model_config = ConfigDict(frozen=True)

    view: DealView
    step: StepView | None = None
    prediction: Prediction | None = None
    realised: Realised | None = None
    run_id: str = ""
    """The run of the workflow, and below how long its history was when the task began that says
    this. A task can be lost after it has recorded something; the one that replaces it knows more.
    """
    history_length: Annotated[int, Field(ge=0)] = 0
    cause: Cause | None = None
    """The message that had this change made; None if the deal did it by itself."""


class FindDeal(BaseModel):
    """Look a deal up in the records."""

    model_config = ConfigDict(frozen=True)

    deal_id: DealId


class RecordActivities(ABC):
    """Idempotent by the view's version; what is older never overwrites what is newer."""

    @abstractmethod
    @activity.defn
    async def record_deal(self, record: DealRecord) -> None:
        """Write the deal and its step in one transaction.

        Raises `Conflict` if a version in between is missing, `Unavailable` while Postgres is away.
        """

    @abstractmethod
    @activity.defn
    async def find_deal(self, order: FindDeal) -> DealView:
        """Return the deal as it was last recorded, with its steps.

        Raises `NotFound` and `Unavailable`.
        """
