"""A deal as people and programs see it, from the workflow's query or from the records."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from domain.adoptions import Adoption
from domain.approvals import Approval
from domain.deals import DealRequest, DealStatus
from domain.desk_approvals import DeskApproval
from domain.errors import Problem
from domain.freezes import Freeze
from domain.identifiers import Address
from domain.predictions import Comparison, Prediction, Realised
from domain.settlement import Settlement
from domain.sizing import Sizing
from domain.transactions import StepOutcome


class StepView(BaseModel):
    """One finished batch; times are the workflow's, in UTC."""

    model_config = ConfigDict(frozen=True)

    outcome: StepOutcome
    started_at: datetime
    finished_at: datetime


class DealView(BaseModel):
    """Where a deal stands. `version` grows with every change, so views can be ordered."""

    model_config = ConfigDict(frozen=True)

    request: DealRequest
    status: DealStatus
    version: Annotated[int, Field(ge=1)]
    doing: str
    """What is going on or waited for, in one line."""
    account: Address | None = None
    treasury: Address | None = None
    sizing: Sizing | None = None
    steps: tuple[StepView, ...] = ()
    settlement: Settlement | None = None
    policy_version: int | None = None
    """The version of the deal policy that it was admitted by."""
    desk_approval: DeskApproval | None = None
    """What people of the desk are asked for, if the deal needs them; they come first."""
    approval: Approval | None = None
    """What the owners of a Safe are asked for, if the deal needs them."""
    frozen: Freeze | None = None
    """What cannot be redeemed, from when redemption was first refused until it is redeemed."""
    adoption: Adoption | None = None
    """Who took the deal over, if somebody had to, and what was left."""
    problem: Problem | None = None
    """Why the deal was denied, is unwinding or stuck."""
    prediction: Prediction | None = None
    """What a dry run at its admission said that it would do."""
    realised: Realised | None = None
    """What it has done, once it has ended and if it was predicted."""
    created_at: datetime
    updated_at: datetime

    @property
    def comparison(self) -> Comparison | None:
        """Predicted against realised, if there are both."""
        if self.prediction is None or self.realised is None:
            return None
        return Comparison(predicted=self.prediction, realised=self.realised)
