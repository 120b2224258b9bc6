"""What people are asked to approve of a deal, and who has said what: for commands and the API."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, computed_field

from domain.approvals import Approval
from domain.deals import DealStatus
from domain.desk_approvals import DeskApproval
from domain.identifiers import Address, DealId
from domain.views import DealView
from starters.deals.reading import Cursor


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True)


class AskedOfDesk(DeskApproval):
    """What the desk is asked for, and how many people there still have to be."""

    @computed_field  # type: ignore[prop-decorator]
    @property
    def missing(self) -> int:
        """How many people there still have to be."""
        return super().missing

    @classmethod
    def of(cls, approval: DeskApproval) -> "AskedOfDesk":
        """The same, counted."""
        return cls.model_construct(**dict(approval))


class AskedOfOwners(_Model):
    """What the owners of a Safe are asked for; `needed` more of those `missing` have to sign."""

    deal_id: DealId
    approval: Approval
    needed: Annotated[int, Field(ge=0)]
    missing: tuple[Address, ...]

    @classmethod
    def of(cls, deal_id: DealId, approval: Approval) -> "AskedOfOwners":
        """The same, counted."""
        return cls(
            deal_id=deal_id, approval=approval, needed=approval.needed, missing=approval.missing
        )


class Approvals(_Model):
    """Both kinds of approval of a deal; null: nobody's of that kind. The desk comes first.

    `as_of` is when what is told here was so for certain: of records that of their last change.
    """

    deal_id: DealId
    status: DealStatus
    desk: AskedOfDesk | None
    approval: Approval | None
    needed: Annotated[int | None, Field(ge=0)]
    """How many owners' signatures there still have to be."""
    missing: tuple[Address, ...] | None
    """The owners who have not signed."""
    source: Literal["records", "workflow"]
    as_of: datetime
    age_seconds: Annotated[float, Field(ge=0)]

    @classmethod
    def of(cls, view: DealView, *, from_workflow: bool) -> "Approvals":
        """Take them from a deal; the records of one that goes on may be behind its workflow."""
        now = datetime.now(UTC)
        as_of = now if from_workflow else view.updated_at
        owners, desk = view.approval, view.desk_approval
        return cls(
            deal_id=view.request.deal_id,
            status=view.status,
            desk=None if desk is None else AskedOfDesk.of(desk),
            approval=owners,
            needed=None if owners is None else owners.needed,
            missing=None if owners is None else owners.missing,
            source="workflow" if from_workflow else "records",
            as_of=as_of,
            age_seconds=max(0.0, (now - as_of).total_seconds()),
        )


@dataclass(frozen=True)
class ApprovalsPage:
    """Deals that wait, newest first, and where the next page begins, if there is one."""

    approvals: tuple[Approvals, ...]
    next_cursor: Cursor | None = None
