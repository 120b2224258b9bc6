"""What a running deal knows, in one place; everything else is derived from it."""

from dataclasses import dataclass, field
from datetime import datetime

from domain.chains import ModuleProfile
from domain.deals import DealRequest, DealStatus, Step, check_transition
from domain.errors import Problem
from domain.identifiers import Address
from domain.positions import Position
from domain.settlement import Settlement
from domain.sizing import Sizing
from domain.views import DealView, StepView
from workflows.deal.messages import CommandMessage


class DealCancelled(Exception):
    """Raised at a gate after somebody has asked for the deal to be cancelled."""


@dataclass
class DealState:
    """The deal as its workflow sees it."""

    request: DealRequest
    created_at: datetime
    updated_at: datetime
    status: DealStatus = DealStatus.REQUESTED
    version: int = 0
    doing: str = "requested"
    account: Address | None = None
    treasury: Address | None = None
    module: ModuleProfile | None = None
    sizing: Sizing | None = None
    steps: list[StepView] = field(default_factory=list)
    rounds: dict[Step, int] = field(default_factory=dict)
    settlement: Settlement | None = None
    problem: Problem | None = None
    pause: CommandMessage | None = None
    cancel: CommandMessage | None = None
    all_final: bool = True

    def move(self, status: DealStatus, doing: str) -> None:
        """Change the status; raises `NotAllowed` for a transition the table does not have."""
        if status is not self.status:
            check_transition(self.status, status)
            self.status = status
        self.doing = doing

    def next_round(self, step: Step) -> int:
        """Count another round of a step and return its number, from 1."""
        self.rounds[step] = self.rounds.get(step, 0) + 1
        return self.rounds[step]

    @property
    def position(self) -> Position | None:
        """The account as the last step left it."""
        return self.steps[-1].outcome.position if self.steps else None

    @property
    def on_chain(self) -> bool:
        """Whether anything of this deal has reached the chain."""
        return bool(self.steps)

    def view(self) -> DealView:
        """The deal for people and programs."""
        return DealView(
            request=self.request,
            status=self.status,
            version=max(1, self.version),
            doing=self.doing,
            account=self.account,
            treasury=self.treasury,
            sizing=self.sizing,
            steps=tuple(self.steps),
            settlement=self.settlement,
            problem=self.problem,
            created_at=self.created_at,
            updated_at=self.updated_at,
        )
