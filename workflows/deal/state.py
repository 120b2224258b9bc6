"""What a running deal knows, in one place; everything else is derived from it."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from domain.adoptions import Adoption
from domain.approvals import Approval
from domain.chains import ModuleProfile
from domain.deals import TREASURY_STEPS, DealRequest, DealStatus, Step, check_transition
from domain.desk_approvals import DeskApproval
from domain.errors import Problem, TransactionReverted
from domain.freezes import Freeze
from domain.identifiers import Address
from domain.launches import Launch
from domain.policy import ExitPolicy, FreezePolicy, PinnedPolicy
from domain.positions import Position
from domain.predictions import Prediction, Realised
from domain.settlement import Settlement
from domain.sizing import Sizing
from domain.tracking import Notice, Receipt, overturned, with_receipts
from domain.transactions import Inclusion
from domain.views import DealView, StepView
from workflows.deal.messages import AdoptMessage, CommandMessage, UnwindMessage

FREEZE: Final = FreezePolicy()
EXIT: Final = ExitPolicy()
"""By which a deal waits and leaves that was admitted without a policy of its own."""


class UnwindInPart(Exception):
    """Raised at a gate after somebody has asked for a part of the deal to be unwound."""


class DealCancelled(Exception):
    """Raised at a gate after somebody has asked for the deal to be cancelled."""


@dataclass
class DealState:
    """The deal as its workflow sees it."""

    request: DealRequest
    created_at: datetime
    updated_at: datetime
    launch: Launch | None = None
    """The command that began it; deals from before there were commands have none."""
    status: DealStatus = DealStatus.REQUESTED
    version: int = 0
    doing: str = "requested"
    account: Address | None = None
    treasury: Address | None = None
    module: ModuleProfile | None = None
    policy: PinnedPolicy | None = None
    """What it keeps of the policy that it was admitted by; deals from before have none."""
    policy_version: int | None = None
    """The same of a deal that was taken over, which knows no more of it."""
    approval: Approval | None = None
    desk_approval: DeskApproval | None = None
    asking: bool = False
    """The desk is asked for approvals."""
    sizing: Sizing | None = None
    steps: list[StepView] = field(default_factory=list)
    rounds: dict[Step, int] = field(default_factory=dict)
    settlement: Settlement | None = None
    problem: Problem | None = None
    predicting: asyncio.Task[None] | None = None
    """The dry run that goes on beside the deal."""
    prediction: Prediction | None = None
    realised: Realised | None = None
    pause: CommandMessage | None = None
    halted: Problem | None = None
    """The halt that it waits for the end of."""
    cancel: CommandMessage | None = None
    """Somebody wants it unwound: by `cancel`, `unwind`, or by ending a freeze."""
    part: UnwindMessage | None = None
    """Somebody wants a part of it unwound."""
    retry: CommandMessage | None = None
    expire: CommandMessage | None = None
    adopt: AdoptMessage | None = None
    controlled: bool = False
    """It began after there were lifecycle policies; older deals go on as they were begun."""
    asks_records: bool = False
    """It asks the records by local activities; older deals by the queue."""
    freeze_policy: FreezePolicy = field(default_factory=lambda: FREEZE)
    exit_policy: ExitPolicy = field(default_factory=lambda: EXIT)
    frozen: Freeze | None = None
    adoption: Adoption | None = None
    taken_over: bool = False
    """Its workflow was lost, and this is another: the records may not have everything."""
    decided: bool = False
    """It was admitted or denied: whoever asks is answered."""
    reserved: bool = False
    """It is counted with the others of its bank."""
    has_key: bool = False
    """Its account was opened."""
    all_final: bool = True
    undone: set[str] = field(default_factory=set)
    """Intents whose blocks were undone and that are in no other yet."""
    heard: set[int] = field(default_factory=set)
    """The numbers of the notices so far; one may come twice, and after a later one."""
    moved: set[int] = field(default_factory=set)
    """Steps, by their place in `steps`, that are in other blocks than was recorded."""
    overturned: Problem | None = None
    """A transaction has another result in its new block than what the deal went on from."""

    def move(self, status: DealStatus, doing: str) -> None:
        """Change the status; raises `NotAllowed` for a transition the table does not have."""
        if status is not self.status:
            check_transition(self.status, status)
            self.status = status
        self.doing = doing

    def restore(self, view: DealView, rounds: Mapping[Step, int]) -> None:
        """Go on from the records of a deal whose workflow was lost."""
        self.created_at, self.version = view.created_at, view.version
        self.status, self.doing = view.status, view.doing
        self.account, self.treasury = view.account, view.treasury
        self.sizing, self.approval, self.problem = view.sizing, view.approval, view.problem
        self.steps, self.rounds = list(view.steps), dict(rounds)
        self.policy_version, self.desk_approval = view.policy_version, view.desk_approval
        self.decided = self.taken_over = self.has_key = self.controlled = True
        self.reserved, self.all_final = True, False

    def pin(self, policy: PinnedPolicy) -> None:
        """Keep to this policy from now on."""
        self.policy = policy
        self.freeze_policy, self.exit_policy = policy.freeze, policy.exit

    def next_round(self, step: Step) -> int:
        """Count another round of a step and return its number, from 1."""
        self.rounds[step] = self.rounds.get(step, 0) + 1
        return self.rounds[step]

    def hear(self, notice: Notice) -> None:
        """Take in what has become of transactions; a notice that comes twice changes nothing."""
        if notice.notice_id in self.heard:
            return
        self.heard.add(notice.notice_id)
        self.undone |= set(notice.undone)
        self.undone -= {receipt.intent_id for receipt in notice.mined}
        self.all_final = False
        self.take_receipts(notice.mined)

    def accept_results(self) -> None:
        """Go on from the results as they are now."""
        self.overturned = None

    def take_receipts(self, receipts: Iterable[Receipt]) -> None:
        """Put every step in the blocks that its transactions are in now."""
        by_intent = {receipt.intent_id: receipt for receipt in receipts}
        for place, step in enumerate(self.steps):
            changed = overturned(step.outcome, by_intent)
            if changed is not None:
                self.overturned = _overturned(changed, by_intent[changed.intent_id])
            paid_by_treasury = step.outcome.key.step in TREASURY_STEPS
            outcome = with_receipts(step.outcome, by_intent, sent_by_treasury=paid_by_treasury)
            if outcome != step.outcome:
                self.steps[place] = step.model_copy(update={"outcome": outcome})
                self.moved.add(place)

    @property
    def leaving(self) -> bool:
        """Whether somebody wants it unwound, in whole or in part."""
        return self.cancel is not None or self.part is not None

    @property
    def danger_wad(self) -> int:
        """Below this health factor, in 1e-18, the loan goes first; 0: it never does."""
        return self.exit_policy.danger_health_factor_wad if self.controlled else 0

    @property
    def sized(self) -> Sizing:
        """How the deal was sized; only ever read after admission."""
        assert self.sizing is not None  # noqa: S101 - set by admission
        return self.sizing

    @property
    def position(self) -> Position | None:
        """The account as the last step left it."""
        return self.steps[-1].outcome.position if self.steps else None

    @property
    def on_chain(self) -> bool:
        """Whether anything of this deal has reached the chain, or may have."""
        return bool(self.steps) or self.taken_over

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
            policy_version=self.policy_version if self.policy is None else self.policy.version,
            approval=self.approval,
            desk_approval=self.desk_approval,
            frozen=self.frozen,
            adoption=self.adoption,
            steps=tuple(self.steps),
            settlement=self.settlement,
            problem=self.problem,
            prediction=self.prediction,
            realised=self.realised,
            created_at=self.created_at,
            updated_at=self.updated_at,
        )


def _overturned(before: Inclusion, after: Receipt) -> Problem:
    return TransactionReverted(
        f"after a reorganisation of the chain the result of {before.purpose!r} is another",
        field=before.intent_id,
        value=after.transaction_hash,
        limit="succeeded" if before.succeeded else "reverted",
        actual=after.state,
        next_action="the deal unwinds by itself from what the chain says",
    ).problem
