"""Deals as their workflows answer for them: start, look, command, follow."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import suppress
from datetime import timedelta
from typing import Any, Final, TypeVar

from temporalio.client import (
    Client,
    WithStartWorkflowOperation,
    WorkflowExecutionDescription,
    WorkflowExecutionStatus,
    WorkflowHandle,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import TemporalError, WorkflowAlreadyStartedError
from temporalio.service import RPCError

from activities.transactions.interface import TransactionView
from domain.approvals import Approval
from domain.deals import (
    CLOSED,
    SETTLED,
    Command,
    DealRequest,
    DealStatus,
    check_command,
    ensure_same_request,
)
from domain.desk_approvals import DeskApproval, not_awaited
from domain.errors import NotAllowed, NotFound, OutcomeUnknown, Unavailable, WaitTimedOut
from domain.identifiers import DealId
from domain.launches import Launch
from domain.views import DealView
from starters.deals.acting import closed_deal
from starters.deals.failures import domain_errors
from workflows.deal.adopted import ADOPTED, AdoptedDealWorkflow
from workflows.deal.approval import not_waiting
from workflows.deal.messages import (
    AdoptMessage,
    ApprovalMessage,
    CommandMessage,
    OwnerMessage,
    RejectionMessage,
    TakeOver,
    TransactionMessage,
    UnwindMessage,
)
from workflows.deal.workflow import TASK_QUEUE, DealWorkflow, workflow_id

_ADMISSION_ID: Final = "admission"
"""One update for all who start the same deal, so all get the first one's answer."""

TASK_TIMEOUT: Final = timedelta(seconds=3)
"""How long a worker may take to say what a deal does next; then another one is asked."""

_QUERY_SECONDS: Final = 5
_ANSWER_SECONDS: Final = 60
_LOOK_SECONDS: Final = 0.25
_PATIENCE_SECONDS: Final = 300
"""How long following a deal puts up with nobody answering."""

_UPDATES: Final = {
    Command.PAUSE: DealWorkflow.pause,
    Command.RESUME: DealWorkflow.resume,
    Command.CANCEL: DealWorkflow.cancel,
    Command.RETRY: DealWorkflow.retry_step,
    Command.EXPIRE: DealWorkflow.force_expire,
}
"""The commands that need nothing but who and why."""

_LOST: Final = frozenset(
    {
        WorkflowExecutionStatus.TERMINATED,
        WorkflowExecutionStatus.FAILED,
        WorkflowExecutionStatus.TIMED_OUT,
    }
)

T = TypeVar("T")
Unknown = Callable[[object], OutcomeUnknown]


class DealClient:
    """Talks to the workflows. Every method raises the domain's errors only."""

    def __init__(self, client: Client) -> None:
        """Use a connected client."""
        self._client = client

    async def start(self, request: DealRequest, launch: Launch | None = None) -> DealView:
        """Start a deal once, and return it as soon as it is admitted or denied.

        `launch` names the recorded command that it is started by; without one it is denied.

        The same request again gets the first one's answer; `Conflict` if the deal id was used with
        another. `OutcomeUnknown` if no answer comes: repeating the same request is safe.
        """
        unknown = _unknown(
            request.deal_id,
            f"deal {request.deal_id} was handed over, but no answer came",
            "check that the workers run, then start it again with the same body",
        )
        try:
            view = await _answer(request.deal_id, self._start(request, launch), unknown)
        except WorkflowAlreadyStartedError:  # and it has ended
            view = await self.view(request.deal_id)
        ensure_same_request(view.request, request)
        return view

    async def view(self, deal_id: DealId) -> DealView:
        """Ask the workflow where the deal stands. Raises `NotFound` and `Unavailable`."""
        try:
            async with asyncio.timeout(_QUERY_SECONDS):
                with domain_errors(deal_id):
                    return await self._handle(deal_id).query(DealWorkflow.view)
        except TimeoutError as error:
            raise Unavailable(
                f"no worker answers for deal {deal_id}",
                field="deal_id",
                value=deal_id,
                limit=f"an answer within {_QUERY_SECONDS} s",
                next_action="check that the deals worker runs, and try again",
            ) from error

    async def command(
        self, deal_id: DealId, command: Command, message: CommandMessage, command_id: str
    ) -> DealView:
        """Give a command; the same `command_id` again is the same command.

        Raises `NotFound`, `NotAllowed` (its state does not allow it) and `OutcomeUnknown`.
        """
        unknown = _unknown(
            deal_id,
            f"it is not known whether deal {deal_id} took the command {command}",
            f"give it again under the same command id, {command_id}",
        )
        try:
            return await _answer(
                deal_id, self._send(deal_id, command, message, command_id), unknown
            )
        except NotFound:
            # Temporal says so of a workflow that has ended, too.
            check_command(command, (await self.view(deal_id)).status)
            raise

    async def take_over(
        self, request: DealRequest, message: CommandMessage, command_id: str
    ) -> DealView:
        """Have a deal unwound whose workflow was terminated, has failed, or was lost; exactly once.

        `request` is the recorded one. Raises `NotAllowed` if its workflow runs or has ended well.
        """
        deal_id = request.deal_id
        unknown = _unknown(
            deal_id,
            f"it is not known whether deal {deal_id} is taken over",
            f"give it again under the same command id, {command_id}",
        )
        try:
            await _answer(deal_id, self._take_over(request, message), unknown)
        except WorkflowAlreadyStartedError:
            if (await self._handle(deal_id).describe()).workflow_type == ADOPTED:
                return await self.view(deal_id)  # by somebody else, or by this command before
            raise NotAllowed(
                f"the workflow of deal {deal_id} runs, or has ended as it should",
                field="deal_id",
                value=deal_id,
                limit="a workflow that was terminated, has failed, or was lost",
                next_action="look at the deal with `deal show`",
            ) from None
        return await self.view(deal_id)

    async def _adopt(self, deal_id: DealId, message: CommandMessage, command_id: str) -> DealView:
        """End a stuck deal by a person, or take over one whose workflow is lost.

        One that is being taken over already is answered for as it stands.
        """
        with domain_errors(deal_id):
            described = await self._handle(deal_id).describe()
        if described.status in _LOST:
            request = await self._request_of(described)
            return await self.take_over(request, message, command_id)
        if described.workflow_type == ADOPTED:
            view = await self.view(deal_id)
            if view.status is not DealStatus.STUCK:
                return view
        if not isinstance(message, AdoptMessage):
            message = AdoptMessage(who=message.who, why=message.why, via=message.via)
        handle = self._handle(deal_id)
        return await handle.execute_update(DealWorkflow.adopt, message, id=command_id)

    async def _request_of(self, run: WorkflowExecutionDescription) -> DealRequest:
        """What the deal of this run was asked for; another run may have begun since."""
        handle = self._client.get_workflow_handle(run.id, run_id=run.run_id)
        started = await anext(aiter(handle.fetch_history_events(page_size=1)))
        given = started.workflow_execution_started_event_attributes.input.payloads[:1]
        decode = self._client.data_converter.decode
        if run.workflow_type == ADOPTED:
            order: TakeOver = (await decode(given, [TakeOver]))[0]
            return order.request
        request: DealRequest = (await decode(given, [DealRequest]))[0]
        return request

    async def transact(
        self, deal_id: DealId, message: TransactionMessage, command_id: str
    ) -> TransactionView:
        """Act on one transaction of a deal; the same `command_id` again is the same command.

        Raises `NotFound`, `NotAllowed`, `LimitExceeded` (the fee would be above the cap) and
        `OutcomeUnknown`.
        """
        unknown = _unknown(
            deal_id,
            f"it is not known whether {message.intent_id} was given {message.action}",
            f"give it again under the same command id, {command_id}",
        )
        sent = self._handle(deal_id).execute_update(DealWorkflow.transact, message, id=command_id)
        try:
            return await _answer(deal_id, sent, unknown)
        except NotFound:
            # Temporal says so of a workflow that has ended, too.
            status = (await self.view(deal_id)).status
            if status in CLOSED:
                raise closed_deal(message.action, deal_id, status) from None
            raise

    async def hear_owner(self, deal_id: DealId, message: OwnerMessage, command_id: str) -> Approval:
        """Hand over what an owner of the Safe has signed: that he approves, or that he rejects.

        Raises `InvalidInput` (the signature), `NotAllowed` (no owner, or the deal does not wait),
        `Conflict` (signed already, or something else is proposed now), `NotFound` and
        `OutcomeUnknown`.
        """
        unknown = _unknown(
            deal_id,
            f"it is not known whether deal {deal_id} took the signature of {message.owner}",
            "look with `deal approvals` whether it counts; if not, sign again",
        )
        handle = self._handle(deal_id)
        if isinstance(message, RejectionMessage):
            sent = handle.execute_update(DealWorkflow.reject, message, id=command_id)
        else:
            sent = handle.execute_update(
                DealWorkflow.submit_owner_signature, message, id=command_id
            )
        try:
            return await _answer(deal_id, sent, unknown)
        except NotFound:
            # Temporal says so of a workflow that has ended, too.
            status = (await self.view(deal_id)).status
            if status in CLOSED:
                raise not_waiting(status) from None
            raise

    async def decide(
        self, deal_id: DealId, message: ApprovalMessage, command_id: str, *, reject: bool = False
    ) -> DeskApproval:
        """Hand over what an approver of the desk has said by the command that was recorded.

        Raises `PolicyDenied` (whose code says why it does not count), `NotFound` and
        `OutcomeUnknown`.
        """
        unknown = _unknown(
            deal_id,
            f"it is not known whether deal {deal_id} took the approval or rejection",
            f"give it again under the same command id, {command_id}",
        )
        update = DealWorkflow.reject_deal if reject else DealWorkflow.approve_deal
        sent = self._handle(deal_id).execute_update(update, message, id=command_id)
        try:
            return await _answer(deal_id, sent, unknown)
        except NotFound:
            # Temporal says so of a workflow that has ended, too.
            status = (await self.view(deal_id)).status
            if status in CLOSED:
                raise not_awaited(status) from None
            raise

    async def watch(self, deal_id: DealId) -> AsyncGenerator[DealView, None]:
        """Yield the deal now and after every change, until only a person could change it.

        Raises `Unavailable` when nobody has answered for five minutes.
        """
        ending = asyncio.ensure_future(self._result(deal_id))
        last: DealView | None = None
        try:
            while last is None or last.status not in SETTLED:
                view = await self._look(deal_id, ending)
                if view != last:
                    yield view
                last = view
                if ending.done() and ending.result() == view:
                    return
                await asyncio.wait({ending}, timeout=_LOOK_SECONDS)
        finally:
            ending.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await ending

    async def wait(self, deal_id: DealId, timeout: float | None = None) -> DealView:  # noqa: ASYNC109 - it is the caller's wish, and answered by its own error
        """Wait until only a person could change the deal; `timeout` is in seconds.

        Raises `WaitTimedOut`; the deal goes on.
        """
        last: DealView | None = None
        try:
            async with asyncio.timeout(timeout):
                async for view in self.watch(deal_id):
                    last = view
        except TimeoutError:
            raise WaitTimedOut(
                f"deal {deal_id} has not ended yet",
                field="timeout",
                limit=f"{timeout:g} s",
                actual=last and last.status,
                next_action="wait again; the deal goes on",
            ) from None
        if last is None:
            raise AssertionError  # watch yields at least once or raises
        return last

    def _handle(self, deal_id: DealId) -> WorkflowHandle[DealWorkflow, DealView]:
        return self._client.get_workflow_handle_for(DealWorkflow.run, workflow_id(deal_id))

    async def _take_over(self, request: DealRequest, message: CommandMessage) -> None:
        await self._client.start_workflow(
            AdoptedDealWorkflow.run,
            TakeOver(request=request, message=message),
            id=workflow_id(request.deal_id),
            task_queue=TASK_QUEUE,
            id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY,
            id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
            task_timeout=TASK_TIMEOUT,
            static_summary=f"Taken over by {message.who}",
        )

    async def _send(
        self, deal_id: DealId, command: Command, message: CommandMessage, command_id: str
    ) -> DealView:
        if command is Command.ADOPT:
            return await self._adopt(deal_id, message, command_id)
        handle = self._handle(deal_id)
        if command is Command.UNWIND:
            if not isinstance(message, UnwindMessage):
                message = UnwindMessage(who=message.who, why=message.why, via=message.via)
            return await handle.execute_update(DealWorkflow.unwind, message, id=command_id)
        return await handle.execute_update(_UPDATES[command], message, id=command_id)

    async def _start(self, request: DealRequest, launch: Launch | None) -> DealView:
        """Start and ask for the admission in one request to the server."""
        start = WithStartWorkflowOperation(
            DealWorkflow.run,
            args=[request] if launch is None else [request, launch],
            id=workflow_id(request.deal_id),
            task_queue=TASK_QUEUE,
            id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            task_timeout=TASK_TIMEOUT,
            static_summary=f"{request.working_liquidity} ETH for {request.bank}",
        )
        try:
            return await self._client.execute_update_with_start_workflow(
                DealWorkflow.admission, id=_ADMISSION_ID, start_workflow_operation=start
            )
        except (TemporalError, RPCError):
            # The same error waits in the operation; unread, asyncio would complain about it.
            with suppress(TemporalError, RPCError):
                await start.workflow_handle()
            raise

    async def _result(self, deal_id: DealId) -> DealView:
        """Wait for the workflow's end, through times when Temporal does not answer."""
        while True:
            try:
                with domain_errors(deal_id):
                    return await self._handle(deal_id).result()
            except Unavailable:
                await asyncio.sleep(_LOOK_SECONDS)

    async def _look(self, deal_id: DealId, ending: asyncio.Future[DealView]) -> DealView:
        """The newest view: the workflow's result if it has ended, else its answer to a query."""
        clock = asyncio.get_running_loop().time
        until = clock() + _PATIENCE_SECONDS
        while not ending.done():
            try:
                return await self.view(deal_id)
            except Unavailable:
                if clock() > until:
                    raise
                await asyncio.wait({ending}, timeout=_LOOK_SECONDS)
        return ending.result()


def _unknown(deal_id: DealId, message: str, next_action: str) -> Unknown:
    """Make the error once it is known why no answer came."""

    def error(actual: object) -> OutcomeUnknown:
        return OutcomeUnknown(
            message,
            field="deal_id",
            value=deal_id,
            limit=f"an answer within {_ANSWER_SECONDS} s",
            actual=actual,
            next_action=next_action,
        )

    return error


async def _answer(deal_id: DealId, call: Coroutine[Any, Any, T], unknown: Unknown) -> T:
    """Await the answer to a change; raise `unknown` if none comes, as it may have happened."""
    try:
        async with asyncio.timeout(_ANSWER_SECONDS):
            with domain_errors(deal_id):
                return await _cancellable(call)
    except Unavailable as error:
        raise unknown(error.problem.actual) from error
    except (TimeoutError, WorkflowUpdateRPCTimeoutOrCancelledError) as error:
        raise unknown("none") from error


async def _cancellable(call: Coroutine[Any, Any, T]) -> T:
    """Cancel as asyncio expects it, where the SDK makes an error of its own out of it."""
    try:
        return await call
    except WorkflowUpdateRPCTimeoutOrCancelledError as error:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise asyncio.CancelledError from error
        raise
