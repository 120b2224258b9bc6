"""The deal: admitted, funded, run step by step, settled; or unwound from wherever it stands."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from activities.transactions.interface import TransactionView
    from domain.approvals import Approval
    from domain.deals import Command, DealRequest, DealStatus, check_command
    from domain.desk_approvals import DeskApproval
    from domain.errors import DealError, NotAllowed, NotFound, Problem
    from domain.launches import Launch
    from domain.tracking import Notice
    from domain.views import DealView
    from workflows.deal.admission import Admission
    from workflows.deal.approval import not_waiting
    from workflows.deal.execution import Execution
    from workflows.deal.exit import WayOut
    from workflows.deal.failures import DealFailure, problem_of
    from workflows.deal.funding import SafeFunding
    from workflows.deal.messages import (
        AdoptMessage,
        ApprovalMessage,
        CommandMessage,
        OwnerMessage,
        RejectionMessage,
        TransactionMessage,
        UnwindMessage,
    )
    from workflows.deal.recording import Recording
    from workflows.deal.state import DealCancelled, DealState, UnwindInPart
    from workflows.deal.stepping import Stepping
    from workflows.deal.transaction import DEALS_QUEUE, transact

TASK_QUEUE = DEALS_QUEUE
_CONTROL = "control"
"""Deals that began before go on without the freeze and exit policies, and whatever else is new."""
_KEYS_RETIRE = "keys-retire"
"""Deals that ended before there was this end without it."""


def workflow_id(deal_id: str) -> str:
    """The workflow that runs a deal."""
    return f"deal-{deal_id}"


@workflow.defn(name="Deal")
class DealWorkflow:
    """Runs one deal from request to the last wei swept home."""

    @workflow.init
    def __init__(self, request: DealRequest, launch: Launch | None = None) -> None:
        """Start from the request; nothing has happened yet."""
        now = workflow.now()
        # Begun with the request alone, as all deals once were, it comes as plain JSON: the SDK
        # takes no notice of types when there are fewer arguments than parameters.
        request = DealRequest.model_validate(request)
        self._deal = DealState(request=request, created_at=now, updated_at=now, launch=launch)
        self._recording = Recording(self._deal)
        self._stepping = Stepping(self._deal, self._recording)
        self._admission = Admission(self._deal, self._recording)
        self._execution = Execution(self._deal, self._recording, self._stepping)
        self._way_out = WayOut(self._deal, self._recording, self._stepping)

    @workflow.run
    async def run(
        self,
        request: DealRequest,  # noqa: ARG002 - taken by __init__
        launch: Launch | None = None,  # noqa: ARG002 - likewise
    ) -> DealView:
        """Run to the end and return the deal as it ended."""
        return await self._run_shielded(self._run())

    async def _run_shielded(self, running: Coroutine[Any, Any, None]) -> DealView:
        """Run to the end whoever cancels the workflow: that means what the cancel command means."""
        deal = asyncio.create_task(running)
        while not deal.done():
            try:
                await asyncio.shield(deal)
            except BaseException as error:
                if not is_cancelled_exception(error):
                    raise
                # Cancelling the workflow means what the cancel command means: unwind, not vanish.
                # One that comes together with the deal's end comes too late, and changes nothing.
                self._deal.cancel = CommandMessage(who="temporal", why="workflow cancelled")
                self._recording.heard(self._deal.cancel)
        deal.result()
        await workflow.wait_condition(workflow.all_handlers_finished)
        return self._deal.view()

    # -- messages -------------------------------------------------------------------------------

    @workflow.query
    def view(self) -> DealView:
        """The deal as it stands."""
        return self._deal.view()

    @workflow.update
    async def admission(self) -> DealView:
        """Answer once the deal is admitted or denied."""
        await workflow.wait_condition(lambda: self._deal.decided)
        return self._deal.view()

    @workflow.update
    async def pause(self, message: CommandMessage) -> DealView:
        """Stop before the next step; the one under way is brought to its end."""
        self._deal.pause = message
        self._recording.heard(message)
        self._recording.tell(f"pausing: {message.why} ({message.who})")
        return self._deal.view()

    @pause.validator
    def _may_pause(self, message: CommandMessage) -> None:  # noqa: ARG002 - the state decides
        self._check(Command.PAUSE)

    @workflow.update
    async def resume(self, message: CommandMessage) -> DealView:
        """Go on with the next step."""
        self._deal.pause = None
        self._recording.heard(message)
        self._recording.tell(f"resuming: {message.why} ({message.who})")
        return self._deal.view()

    @resume.validator
    def _may_resume(self, message: CommandMessage) -> None:  # noqa: ARG002 - the state decides
        if self._deal.pause is not None:  # one that has not taken effect yet can be taken back
            return
        if self._deal.halted is not None:  # that is for whoever releases it, not for the deal
            raise refusal(self._deal.halted)
        self._check(Command.RESUME)

    @workflow.update
    async def cancel(self, message: CommandMessage) -> DealView:
        """Unwind from what the chain says, after the step under way has ended."""
        self._deal.cancel = message
        self._recording.heard(message)
        self._recording.tell(f"cancelling: {message.why} ({message.who})")
        return self._deal.view()

    @cancel.validator
    def _may_cancel(self, message: CommandMessage) -> None:  # noqa: ARG002 - the state decides
        self._check(Command.CANCEL)

    @workflow.update
    async def unwind(self, message: UnwindMessage) -> DealView:
        """Unwind from what the chain says, after the step under way has ended: all, or a part."""
        if message.part_bps is None:
            self._deal.cancel = message
        else:
            self._deal.part = message
        self._recording.heard(message)
        self._recording.tell(f"unwinding: {message.why} ({message.who})")
        return self._deal.view()

    @unwind.validator
    def _may_unwind(self, message: UnwindMessage) -> None:
        self._check(Command.UNWIND)
        if message.part_bps is not None and not self._deal.on_chain:
            raise refusal(_nothing_to_part(self._deal.status, message))

    @workflow.update
    async def retry_step(self, message: CommandMessage) -> DealView:
        """Try again now, from what the chain says: the way out, or whether redemption is open."""
        self._deal.retry = message
        self._recording.heard(message)
        self._recording.tell(f"trying again: {message.why} ({message.who})")
        return self._deal.view()

    @retry_step.validator
    def _may_retry(self, message: CommandMessage) -> None:  # noqa: ARG002 - the state decides
        self._check(Command.RETRY)

    @workflow.update
    async def force_expire(self, message: CommandMessage) -> DealView:
        """Wait no longer: without approval the deal ends EXPIRED, one that is FROZEN unwinds."""
        if self._deal.status is DealStatus.FROZEN:
            self._deal.cancel = message
        else:
            self._deal.expire = message
        self._recording.heard(message)
        self._recording.tell(f"waiting no longer: {message.why} ({message.who})")
        return self._deal.view()

    @force_expire.validator
    def _may_expire(self, message: CommandMessage) -> None:  # noqa: ARG002 - the state decides
        self._check(Command.EXPIRE)

    @workflow.update
    async def adopt(self, message: AdoptMessage) -> DealView:
        """End a stuck deal with a written account of what is left, and of who answers for it."""
        self._deal.adopt = message
        self._recording.heard(message)
        await workflow.wait_condition(lambda: self._deal.adopt is None)
        return self._deal.view()

    @adopt.validator
    def _may_adopt(self, message: AdoptMessage) -> None:  # noqa: ARG002 - the state decides
        self._check(Command.ADOPT)

    @workflow.update
    async def transact(self, message: TransactionMessage) -> TransactionView:
        """Send a transaction that is out again, bid more for it, or try to cancel it."""
        self._recording.tell(f"{message.action} {message.intent_id}: {message.why} ({message.who})")
        try:
            return await transact(self._deal.request, message)
        except DealFailure as failure:
            raise refusal(failure.problem) from failure

    @transact.validator
    def _may_transact(self, message: TransactionMessage) -> None:
        if not message.intent_id.startswith(f"{self._deal.request.deal_id}/"):
            raise refusal(_not_of_this_deal(self._deal.request.deal_id, message))

    @workflow.update
    async def approve_deal(self, message: ApprovalMessage) -> DeskApproval:
        """Count an approval of the desk; the update's id is that of the recorded command."""
        return await self._hear_desk(message)

    @approve_deal.validator
    def _may_approve(self, message: ApprovalMessage) -> None:
        self._check_desk_message(message)

    @workflow.update
    async def reject_deal(self, message: ApprovalMessage) -> DeskApproval:
        """End the deal, because an approver of the desk does not want it; as `approve_deal`."""
        return await self._hear_desk(message)

    @reject_deal.validator
    def _may_reject_deal(self, message: ApprovalMessage) -> None:
        self._check_desk_message(message)

    @workflow.update
    async def submit_owner_signature(self, message: OwnerMessage) -> Approval:
        """Count an owner's signature under what is proposed to the Safe."""
        return await self._hear_owner(message)

    @submit_owner_signature.validator
    def _may_submit(self, message: OwnerMessage) -> None:
        self._check_owner_message(message)

    @workflow.update
    async def reject(self, message: RejectionMessage) -> Approval:
        """End the deal, because an owner of the Safe does not want it."""
        return await self._hear_owner(message)

    @reject.validator
    def _may_reject(self, message: RejectionMessage) -> None:
        self._check_owner_message(message)

    @workflow.signal
    def chain_notice(self, notice: Notice) -> None:
        """Take in that the chain went back before transactions of this deal, or has them again."""
        self._deal.hear(notice)

    def _check(self, command: Command) -> None:
        try:
            check_command(command, self._deal.status)
        except DealError as error:
            raise refusal(error.problem) from None

    def _check_desk_message(self, message: ApprovalMessage) -> None:
        try:
            self._admission.desk.check_message(message)
        except DealError as error:
            raise refusal(error.problem) from None

    async def _hear_desk(self, message: ApprovalMessage) -> DeskApproval:
        info = workflow.current_update_info()
        assert info is not None  # noqa: S101 - only ever called by an update
        try:
            said = await self._admission.desk.take(message, info.id)
        except DealFailure as failure:
            raise refusal(failure.problem) from failure
        self._recording.heard(message)
        return said

    def _check_owner_message(self, message: OwnerMessage) -> None:
        try:
            if self._admission.owners is None:
                raise not_waiting(self._deal.status)
            self._admission.owners.check_message(message)
        except DealError as error:
            raise refusal(error.problem) from None

    async def _hear_owner(self, message: OwnerMessage) -> Approval:
        owners = self._admission.owners
        assert owners is not None  # noqa: S101 - the validator has seen to it
        try:
            approval = await owners.take(message)
        except DealFailure as failure:
            raise refusal(failure.problem) from failure
        self._recording.heard(message)
        return approval

    # -- the deal -------------------------------------------------------------------------------

    async def _run(self) -> None:
        # Before anything else, so that what a deal began as does not depend on where it stands.
        self._deal.controlled = workflow.patched(_CONTROL)
        if await self._admission.admit():
            await self._run_admitted()
        if self._deal.has_key and workflow.patched(_KEYS_RETIRE):
            await self._way_out.retire_key()

    async def _run_admitted(self) -> None:
        """Go on from whatever somebody wants or has failed, until the deal has ended."""
        await self._go_on_from(self._run_as_begun)

    async def _go_on_from(self, following: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await following()
            except DealCancelled:
                following = self._way_out.unwind
            except UnwindInPart:
                following = self._unwind_part
            except (DealFailure, ActivityError) as failure:
                self._deal.problem = problem_of(failure)
                following = self._way_out.unwind
            else:
                return

    async def _run_as_begun(self) -> None:
        if not await self._admission.approved():
            return
        owners = self._admission.owners
        if owners is not None:
            safe = SafeFunding(self._deal, self._recording, self._stepping, owners)
            if not await safe.fund():
                return
        await self._execution.run(funded=owners is not None)
        await self._way_out.settle()

    async def _unwind_part(self) -> None:
        await self._way_out.unwind_part()
        await self._execution.finish()
        await self._way_out.settle()


def _nothing_to_part(status: DealStatus, message: UnwindMessage) -> Problem:
    return NotAllowed(
        "the deal has moved nothing yet, so there is no part of it to unwind",
        field="part_bps",
        value=message.part_bps,
        limit="a deal that is funded",
        actual=status,
        next_action="unwind all of it, or wait until it is funded",
    ).problem


def refusal(problem: Problem) -> ApplicationError:
    """A problem as the answer to a message."""
    return ApplicationError(
        problem.message, problem.model_dump(), type=problem.code, non_retryable=True
    )


def _not_of_this_deal(deal_id: str, message: TransactionMessage) -> Problem:
    return NotFound(
        "the deal has no such transaction",
        field="intent",
        value=message.intent_id,
        limit=f"a transaction of deal {deal_id}",
        next_action="list them with `deal tx list`",
    ).problem
