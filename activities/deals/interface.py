"""The records as workflows see them: local activities of the deals worker."""

from abc import ABC, abstractmethod

from pydantic import BaseModel, ConfigDict
from temporalio import activity

from domain.views import DealView, StepView


class DealRecord(BaseModel):
    """What changed: the deal as it stands, and the step that just ended, if one did.

    `view.steps` is empty here; steps are recorded one by one.
    """

    model_config = ConfigDict(frozen=True)

    view: DealView
    step: StepView | None = None


class RecordActivities(ABC):
    """Idempotent by the view's version; an older version never overwrites a newer one."""

    @abstractmethod
    @activity.defn
    async def record_deal(self, record: DealRecord) -> None:
        """Write the deal and its step in one transaction.

        Raises `Conflict` if a version in between is missing, `Unavailable` while Postgres is away.
        """
