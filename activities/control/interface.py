"""Control as workflows see it: admission by the policy, approvals of the desk (queue ``deals``)."""

from abc import ABC, abstractmethod
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field
from temporalio import activity

from domain.amounts import Units
from domain.approvals import Funding
from domain.deals import DealRequest
from domain.desk_approvals import DeskApproval, Digest
from domain.identifiers import DealId
from domain.identity import PrincipalId
from domain.launches import CommandId
from domain.policy import PinnedPolicy


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True)


class AdmitDeal(_Model):
    """Admit a deal of this value, and count it with what else its bank moves.

    `command_id` is what its workflow was started with; None if it was started without.
    """

    request: DealRequest
    command_id: CommandId | None
    value_usd8: Units
    limit_usd8: Units
    """What the bank's deals may add up to within the window without the owners of a Safe."""
    window_seconds: Annotated[int, Field(gt=0)]


class Admitted(_Model):
    """That the policy allows a deal, and what it asks for."""

    initiator: PrincipalId
    rule: str
    policy: PinnedPolicy
    approvals_needed: Annotated[int, Field(ge=0)]
    funding: Funding


class FindPolicy(_Model):
    """Look up the policy that a deal was admitted by."""

    deal_id: DealId


class FoundPolicy(_Model):
    """That policy; None for a deal that was never admitted, or before there were policies."""

    policy: PinnedPolicy | None


class AskApprovals(_Model):
    """Ask for the approvals that a deal needs, of this dry run of it."""

    deal_id: DealId
    prediction_digest: Digest


class RecordApproval(_Model):
    """Count what a recorded command says of a deal: that it is approved, or rejected."""

    deal_id: DealId
    command_id: CommandId


class ControlActivities(ABC):
    """Idempotent by deal or command: the first answer stands."""

    @abstractmethod
    @activity.defn
    async def admit_deal(self, order: AdmitDeal) -> Admitted:
        """Decide whether the deal may begin, by the policy that is in force.

        Who started it is who gave the recorded command, whatever the workflow was told. Raises
        `PolicyDenied` whose code says why not, `Conflict` and `Unavailable`.
        """

    @abstractmethod
    @activity.defn
    async def find_policy(self, order: FindPolicy) -> FoundPolicy:
        """What a deal whose workflow was lost has to keep to. Raises `Unavailable`."""

    @abstractmethod
    @activity.defn
    async def ask_approvals(self, order: AskApprovals) -> DeskApproval:
        """Bind what is to be approved, and say until when. Raises `Unavailable`."""

    @abstractmethod
    @activity.defn
    async def record_approval(self, order: RecordApproval) -> DeskApproval:
        """Count it, and return all there are. Raises `PolicyDenied` and `Unavailable`."""
