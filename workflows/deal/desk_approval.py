"""Asking the desk: a deal above a size goes on only when enough people have approved it.

What they say is counted by the database, from the recorded commands; here it is only waited for.
"""

from contextlib import suppress
from datetime import timedelta

from temporalio import workflow
from temporalio.exceptions import ActivityError

from activities.control.interface import AskApprovals, ControlActivities, RecordApproval
from domain.approvals import withdrawn
from domain.deals import DealStatus
from domain.desk_approvals import DeskApproval, check_binding, expired, not_awaited, rejected
from domain.errors import DealError
from workflows.deal import options
from workflows.deal.approval import ApprovalEnded
from workflows.deal.failures import DealFailure, problem_of
from workflows.deal.messages import ApprovalMessage
from workflows.deal.state import DealState
from workflows.deal.transaction import DEALS_QUEUE


class DeskApprovals:
    """What the desk says about one deal."""

    def __init__(self, deal: DealState) -> None:
        """Take the deal."""
        self._deal = deal

    async def ask(self, prediction_digest: str) -> None:
        """Ask for approvals of what was predicted; raises `ActivityError`."""
        self._deal.desk_approval = await workflow.execute_activity_method(
            ControlActivities.ask_approvals,
            AskApprovals(deal_id=self._deal.request.deal_id, prediction_digest=prediction_digest),
            task_queue=DEALS_QUEUE,
            summary="Bind what is to be approved",
            **options.ADMISSION,
        )

    async def until_approved(self) -> None:
        """Wait for enough of them; raises `ApprovalEnded` if they will not, or not in time."""
        left = self._approval.expires_at - workflow.now()
        with suppress(TimeoutError):
            await workflow.wait_condition(
                lambda: self._is_settled,
                timeout=max(left, timedelta(seconds=1)),
                timeout_summary="until the approval expires",
            )
        self._deal.asking = False
        ending = self._ending()
        if ending is not None:
            raise ending

    def check_message(self, message: ApprovalMessage) -> None:
        """Raise the domain's error unless the message is for what the deal waits for."""
        if not self._deal.asking:
            raise not_awaited(self._deal.status)
        check_binding(self._approval, message.binding_digest)

    async def take(self, message: ApprovalMessage, command_id: str) -> DeskApproval:
        """Have it counted, if the recorded command says so. Raises `DealFailure`."""
        try:
            said: DeskApproval = await workflow.execute_activity_method(
                ControlActivities.record_approval,
                RecordApproval(deal_id=self._deal.request.deal_id, command_id=command_id),
                task_queue=DEALS_QUEUE,
                summary=f"Count what {message.who} says",
                **options.COMMAND,
            )
            self.check_message(message)  # much may have happened meanwhile
        except ActivityError as error:
            raise DealFailure(problem_of(error)) from error
        except DealError as error:
            raise DealFailure(error.problem) from error
        # Two may be counted at once, and the later answer come first: nothing is ever taken back.
        known = self._approval
        if known.rejected is None and len(said.given) >= len(known.given):
            self._deal.desk_approval = said
        return said

    @property
    def _is_settled(self) -> bool:
        deal, approval = self._deal, self._approval
        said = approval.missing == 0 or approval.rejected is not None
        return said or deal.cancel is not None or deal.expire is not None

    def _ending(self) -> ApprovalEnded | None:
        """How it ends, unless enough have approved it."""
        deal, approval = self._deal, self._approval
        if deal.cancel is not None:
            problem = withdrawn(deal.cancel.who, deal.cancel.why)
            return ApprovalEnded(DealStatus.REJECTED, problem)
        if approval.rejected is not None:
            return ApprovalEnded(DealStatus.REJECTED, rejected(approval.rejected))
        if deal.expire is not None:
            problem = expired(deal.request.deal_id, approval)
            told = f"no longer waited for approval: {deal.expire.why} ({deal.expire.who})"
            return ApprovalEnded(DealStatus.EXPIRED, problem.model_copy(update={"message": told}))
        if approval.missing:
            return ApprovalEnded(DealStatus.EXPIRED, expired(deal.request.deal_id, approval))
        return None

    @property
    def _approval(self) -> DeskApproval:
        assert self._deal.desk_approval is not None  # noqa: S101 - set by `ask`
        return self._deal.desk_approval
