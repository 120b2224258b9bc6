"""Critical operations as workflows see them.

They are looked at where the chains are (task queue ``chain-<chain id>``) and recorded with the
deals (task queue ``deals``).
"""

from abc import ABC, abstractmethod

from pydantic import BaseModel, ConfigDict
from temporalio import activity

from domain.operations import OperationRequest, OperationView, Scheduled, Standing


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True)


class OperationPlan(_Model):
    """The call that an operation consists of, and where it stands before anything was done."""

    scheduled: Scheduled
    standing: Standing


class WatchOperation(_Model):
    """Wait until an operation is not as it was `known` on chain; None: look once."""

    request: OperationRequest
    scheduled: Scheduled
    known: Standing | None = None


class OperationActivities(ABC):
    """Only looks; may be retried at any time."""

    @abstractmethod
    @activity.defn
    async def plan_operation(self, request: OperationRequest) -> OperationPlan:
        """The call that makes the change.

        Raises `InvalidInput` if it would change nothing or the delay is too short,
        `InvalidConfiguration` if the timelock is not what the profile says, and `Unavailable`.
        """

    @abstractmethod
    @activity.defn
    async def watch_operation(self, order: WatchOperation) -> Standing:
        """The operation as soon as it is not as it was known. Raises `Unavailable`."""


class OperationRecordActivities(ABC):
    """Idempotent by the view's version."""

    @abstractmethod
    @activity.defn
    async def record_operation(self, view: OperationView) -> None:
        """Write the operation; what is older never overwrites what is newer.

        Raises `Unavailable` while Postgres is away.
        """
