"""A critical operation: schedule it in the timelock, wait, execute it once, see that it holds."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError

with workflow.unsafe.imports_passed_through():
    from activities.operations.interface import (
        OperationActivities,
        OperationPlan,
        OperationRecordActivities,
        WatchOperation,
    )
    from activities.signing.interface import FeeAccount, SigningActivities
    from activities.transactions.interface import (
        FinalizeDeal,
        PrepareBatch,
        TransactionActivities,
    )
    from domain.amounts import ETHER_DECIMALS, Amount
    from domain.deals import DealRequest, Step
    from domain.errors import DealError, PostConditionFailed, Problem
    from domain.identifiers import Address, BankId
    from domain.operations import (
        ENDED,
        OperationRequest,
        OperationStatus,
        OperationView,
        Scheduled,
        Standing,
        TimelockState,
        ensure_cancellable,
        title_of,
        wanted,
    )
    from domain.sizing import Sizing
    from domain.transactions import BatchKey
    from workflows.deal import options
    from workflows.deal.failures import DealFailure, problem_of
    from workflows.deal.messages import CommandMessage
    from workflows.deal.transaction import SIGNER_QUEUE, chain_queue, execute_batch

TASK_QUEUE = "deals"
_SCHEDULE_ATTEMPTS = 5
_RETRY_FIRST = timedelta(seconds=2)
_RETRY_LAST = timedelta(hours=1)
_SOMEBODY_ELSE = "somebody else"
_DECIDED = frozenset({TimelockState.UNSET, TimelockState.DONE})


def workflow_id(operation_id: str) -> str:
    """One workflow for each operation, for ever."""
    return f"operation-{operation_id}"


@workflow.defn(name="CriticalOperation")
class CriticalOperationWorkflow:
    """The chain decides: whoever has executed or cancelled it, that is how it ends."""

    @workflow.init
    def __init__(self, request: OperationRequest) -> None:
        """Take the request; the chain is asked later."""
        now = workflow.now()
        self._view = OperationView(
            request=request,
            title=title_of(request.change),
            after=wanted(request.change),
            created_at=now,
            updated_at=now,
        )
        self._cancel: CommandMessage | None = None
        self._fee: Address | None = None
        self._attempts: dict[Step, int] = {}

    @workflow.run
    async def run(self, request: OperationRequest) -> OperationView:  # noqa: ARG002 - taken by __init__
        """Bring the operation to its end."""
        try:
            await self._run()
        except (DealFailure, ActivityError) as failure:
            await self._end(OperationStatus.FAILED, problem_of(failure))
        await workflow.wait_condition(workflow.all_handlers_finished)
        return self._view

    @workflow.query
    def view(self) -> OperationView:
        """Where the operation stands."""
        return self._view

    @workflow.update
    async def cancel(self, message: CommandMessage) -> OperationView:
        """Cancel it, unless it is executed before; answered when that is decided."""
        self._cancel = self._cancel or message
        await workflow.wait_condition(lambda: self._view.status in ENDED)
        if self._view.status is not OperationStatus.CANCELLED:
            try:
                ensure_cancellable(self._view.status)
            except DealError as error:
                raise _refusal(error.problem) from None
        return self._view

    @cancel.validator
    def _may_cancel(self, message: CommandMessage) -> None:  # noqa: ARG002 - the form is all of it
        try:
            ensure_cancellable(self._view.status)
        except DealError as error:
            raise _refusal(error.problem) from None

    async def _run(self) -> None:
        request = self._view.request
        plan = await self._plan(request)
        standing = plan.standing
        self._change(scheduled=plan.scheduled, before=standing.value)
        await self._record("planned")
        if standing.state is TimelockState.UNSET:
            if self._cancel is not None:
                await self._end_cancelled(self._cancel.who)
                return
            standing = await self._tell(Step.SCHEDULE, plan.scheduled, TimelockState.UNSET)
        await self._wait_and_execute(plan.scheduled, standing)

    async def _wait_and_execute(self, scheduled: Scheduled, standing: Standing) -> None:
        """Wait until it is ready, cancelled, or executed by somebody; then do what is left."""
        while True:
            if standing.state in _DECIDED:
                settled = await self._when_final(scheduled)
                if settled.state is not standing.state:
                    standing = settled
                    continue
                await self._conclude(settled)
                return
            if self._cancel is not None:
                standing = await self._tell(Step.REVOKE, scheduled, standing.state)
            elif standing.state is TimelockState.READY:
                self._change(status=OperationStatus.EXECUTING)
                await self._record("executing")
                standing = await self._tell(Step.EXECUTE, scheduled, standing.state)
            else:
                ready_at = datetime.fromtimestamp(standing.ready_at, UTC)
                self._change(status=OperationStatus.WAITING, ready_at=ready_at)
                await self._record("waiting for the delay")
                standing = await self._next_change(scheduled, standing)

    async def _tell(self, step: Step, scheduled: Scheduled, before: TimelockState) -> Standing:
        """Tell the timelock; what it says afterwards counts, whatever became of the transaction.

        What is scheduled is tried until it is done, or somebody decides otherwise. Raises
        `DealFailure` if it could not be scheduled.
        """
        pause = _RETRY_FIRST
        while True:
            try:
                problem = await self._send(step, scheduled)
            except DealFailure as failure:
                problem = failure.problem
            standing = await self._look(scheduled)
            changed_mind = step is Step.EXECUTE and self._cancel is not None
            if standing.state is not before or changed_mind:
                return standing
            assert problem is not None  # noqa: S101 - or the timelock would have listened
            if step is Step.SCHEDULE and self._attempts[step] == _SCHEDULE_ATTEMPTS:
                raise DealFailure(problem)
            self._change(problem=problem)
            await self._record(f"{step} is tried again: {problem.message}")
            await self._pause(step, pause)
            pause = min(pause * 2, _RETRY_LAST)

    async def _pause(self, step: Step, pause: timedelta) -> None:
        """Wait a while, or until somebody cancels."""
        heard = self._cancel
        with suppress(TimeoutError):
            await workflow.wait_condition(
                lambda: self._cancel is not heard,
                timeout=pause,
                timeout_summary=f"before {step} is tried again",
            )

    async def _send(self, step: Step, scheduled: Scheduled) -> Problem | None:
        attempt = self._attempts[step] = self._attempts.get(step, 0) + 1
        request = self._view.request
        fee = await self._fee_account()
        delivery = await execute_batch(
            PrepareBatch(
                key=BatchKey(deal_id=request.batch_owner, step=step, attempt=attempt),
                request=_as_request(request),
                sizing=_NOTHING,
                account=fee,
                operation=scheduled,
            )
        )
        outcome = delivery.outcome
        assert outcome is not None  # noqa: S101 - execute_batch ends with an outcome
        mined = tuple(inclusion.transaction_hash for inclusion in outcome.inclusions)
        self._change(transactions=self._view.transactions + mined)
        await self._record(f"{step}: in block {outcome.inclusions[-1].block_number}")
        return outcome.problem

    async def _fee_account(self) -> Address:
        if self._fee is None:
            account: FeeAccount = await workflow.execute_activity_method(
                SigningActivities.fee_account,
                task_queue=SIGNER_QUEUE,
                summary="Which account speaks to the timelock",
                **options.READ,
            )
            self._fee = account.address
        return self._fee

    async def _when_final(self, scheduled: Scheduled) -> Standing:
        """Where it stands when nothing of ours can be undone any more."""
        request = self._view.request
        await workflow.execute_activity_method(
            TransactionActivities.finalize_deal,
            FinalizeDeal(deal_id=request.batch_owner, chain_id=request.chain_id),
            task_queue=self._queue,
            summary="Wait until every transaction is final",
            **options.DELIVER,
        )
        return await self._look(scheduled)

    async def _conclude(self, standing: Standing) -> None:
        """It is done only if the chain says what was wanted."""
        if standing.state is TimelockState.UNSET:
            await self._end_cancelled(self._cancel.who if self._cancel else _SOMEBODY_ELSE)
        elif standing.value == self._view.after:
            await self._end(OperationStatus.DONE)
        else:
            problem = PostConditionFailed(
                f"it was executed, and {self._view.title} is not what was wanted",
                field="value",
                limit=self._view.after,
                actual=standing.value,
                next_action="look at its transactions; another operation may have changed it since",
            ).problem
            await self._end(OperationStatus.FAILED, problem)

    async def _plan(self, request: OperationRequest) -> OperationPlan:
        return await workflow.execute_activity_method(
            OperationActivities.plan_operation,
            request,
            task_queue=self._queue,
            summary=f"What it takes to change {self._view.title}",
            **options.ADMISSION,
        )

    async def _look(self, scheduled: Scheduled) -> Standing:
        return await workflow.execute_activity_method(
            OperationActivities.watch_operation,
            WatchOperation(request=self._view.request, scheduled=scheduled),
            task_queue=self._queue,
            summary="Look at the timelock",
            **options.READ,
        )

    async def _next_change(self, scheduled: Scheduled, known: Standing) -> Standing:
        """Wait until the timelock says something else, or somebody cancels."""
        watching = workflow.start_activity_method(
            OperationActivities.watch_operation,
            WatchOperation(request=self._view.request, scheduled=scheduled, known=known),
            task_queue=self._queue,
            summary=f"Wait until {self._view.ready_at}, or somebody decides otherwise",
            **options.WATCH,
        )
        await workflow.wait_condition(lambda: watching.done() or self._cancel is not None)
        if watching.done():
            return await watching
        watching.cancel()
        with suppress(ActivityError):
            await watching
        return known

    async def _end_cancelled(self, who: str) -> None:
        self._change(cancelled_by=who)
        await self._end(OperationStatus.CANCELLED)

    async def _end(self, status: OperationStatus, problem: Problem | None = None) -> None:
        words = problem.message if problem else str(status).lower()
        await self._record(words, status=status, problem=problem)

    def _change(self, **fields: object) -> None:
        self._view = self._view.model_copy(update=fields)

    async def _record(self, doing: str, **fields: object) -> None:
        """Write down where it stands; an end is known only once it is written down."""
        written = self._view.model_copy(
            update={
                "doing": doing,
                "version": self._view.version + 1,
                "updated_at": workflow.now(),
                **fields,
            }
        )
        workflow.set_current_details(f"**{written.status}**: {doing}\n\n{_story(written)}")
        await workflow.execute_activity_method(
            OperationRecordActivities.record_operation,
            written,
            task_queue=TASK_QUEUE,
            summary=f"Record {written.status}: {doing}"[:200],
            **options.CLOSE,
        )
        self._view = written

    @property
    def _queue(self) -> str:
        return chain_queue(self._view.request.chain_id)


def _story(view: OperationView) -> str:
    return f"{view.title}: from {view.before} to {view.after} ({view.request.why})"


def _as_request(request: OperationRequest) -> DealRequest:
    """The engine's orders speak of deals: this one moves nothing but a wei of nobody."""
    return DealRequest(
        deal_id=request.batch_owner,
        bank=BankId("desk"),
        module=request.module,
        chain_id=request.chain_id,
        working_liquidity=Amount(units=1, decimals=ETHER_DECIMALS),
    )


_NOTHING = Sizing(
    wrap_wei=0,
    gas_reserve_wei=0,
    borrow=0,
    par_decimals=0,
    cycles=1,
    bound_by="operation",
    expected_ltv_bps=0,
    expected_exposure_bps=0,
    expected_gas_wei=0,
    expected_interest=0,
    expected_profit_usd8=0,
)


def _refusal(problem: Problem) -> ApplicationError:
    """A problem as the answer to a message."""
    return ApplicationError(
        problem.message, problem.model_dump(), type=problem.code, non_retryable=True
    )
