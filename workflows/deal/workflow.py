"""The deal: admitted, funded, run step by step, settled; or unwound from wherever it stands."""

import asyncio
from datetime import timedelta

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from activities.approvals.interface import (
        AdoptFunding,
        ReleaseFunding,
        ReservationActivities,
        ReserveFunding,
        SafeActivities,
    )
    from activities.custody.interface import CustodyActivities, RetireAccount
    from activities.deals.interface import DealRecord, RecordActivities
    from activities.protocols.interface import (
        MarketReading,
        ProtocolActivities,
        ReadMarket,
        ReadPosition,
    )
    from activities.signing.interface import (
        DealAccounts,
        FundFromSafe,
        OpenAccount,
        SigningActivities,
    )
    from activities.transactions.interface import (
        FinalizeDeal,
        FinalTransactions,
        PrepareBatch,
        TransactionActivities,
        TransactionView,
    )
    from domain.approvals import Approval, Funding, SafeStanding, funding_usd8
    from domain.chains import Multisig
    from domain.deals import (
        CLOSED,
        Command,
        DealRequest,
        DealStatus,
        ExecutionMode,
        Step,
        check_command,
    )
    from domain.errors import (
        DealError,
        LimitExceeded,
        NotFound,
        Problem,
        RedemptionFrozen,
        SigningRefused,
        SimulationFailed,
        TransactionReplaced,
        TransactionReverted,
    )
    from domain.exits import next_exit_step
    from domain.positions import Position
    from domain.settlement import settle
    from domain.sizing import Sizing, size_deal
    from domain.tracking import Notice
    from domain.transactions import BatchKey, StepOutcome
    from domain.views import DealView, StepView
    from workflows.deal import options
    from workflows.deal.approval import ApprovalEnded, OwnersApproval, not_waiting
    from workflows.deal.failures import DealFailure, problem_of
    from workflows.deal.messages import (
        CommandMessage,
        OwnerMessage,
        RejectionMessage,
        TransactionMessage,
    )
    from workflows.deal.state import DealCancelled, DealState
    from workflows.deal.story import details_of
    from workflows.deal.transaction import SIGNER_QUEUE, chain_queue, execute_batch, transact

TASK_QUEUE = "deals"
_STEP_ATTEMPTS = 3
_EXIT_ATTEMPTS = 5
_RETRY_AFTER = timedelta(seconds=2)
_PROBE_FIRST = timedelta(seconds=1)
_PROBE_LAST = timedelta(minutes=5)
_END_IN_HISTORY = "end-in-history"
_KEYS_RETIRE = "keys-retire"
"""Deals that ended before there was this end without it."""


def workflow_id(deal_id: str) -> str:
    """The workflow that runs a deal."""
    return f"deal-{deal_id}"


@workflow.defn(name="Deal")
class DealWorkflow:
    """Runs one deal from request to the last wei swept home."""

    @workflow.init
    def __init__(self, request: DealRequest) -> None:
        """Start from the request; nothing has happened yet."""
        now = workflow.now()
        self._deal = DealState(request=request, created_at=now, updated_at=now)
        self._admitted = False
        self._owners: OwnersApproval | None = None
        self._reserved = False
        self._has_key = False

    @workflow.run
    async def run(self, request: DealRequest) -> DealView:  # noqa: ARG002 - taken by __init__
        """Run to the end and return the deal as it ended."""
        deal = asyncio.create_task(self._run())
        while not deal.done():
            try:
                await asyncio.shield(deal)
            except BaseException as error:
                if not is_cancelled_exception(error):
                    raise
                # Cancelling the workflow means what the cancel command means: unwind, not vanish.
                # One that comes together with the deal's end comes too late, and changes nothing.
                self._deal.cancel = CommandMessage(who="temporal", why="workflow cancelled")
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
        await workflow.wait_condition(lambda: self._admitted)
        return self._deal.view()

    @workflow.update
    async def pause(self, message: CommandMessage) -> DealView:
        """Stop before the next step; the one under way is brought to its end."""
        self._deal.pause = message
        self._tell(f"pausing: {message.why} ({message.who})")
        return self._deal.view()

    @pause.validator
    def _may_pause(self, message: CommandMessage) -> None:  # noqa: ARG002 - the state decides
        self._check(Command.PAUSE)

    @workflow.update
    async def resume(self, message: CommandMessage) -> DealView:
        """Go on with the next step."""
        self._deal.pause = None
        self._tell(f"resuming: {message.why} ({message.who})")
        return self._deal.view()

    @resume.validator
    def _may_resume(self, message: CommandMessage) -> None:  # noqa: ARG002 - the state decides
        if self._deal.pause is None:  # one that has not taken effect yet can be taken back
            self._check(Command.RESUME)

    @workflow.update
    async def cancel(self, message: CommandMessage) -> DealView:
        """Unwind from what the chain says, after the step under way has ended."""
        self._deal.cancel = message
        self._tell(f"cancelling: {message.why} ({message.who})")
        return self._deal.view()

    @workflow.update
    async def transact(self, message: TransactionMessage) -> TransactionView:
        """Send a transaction that is out again, bid more for it, or try to cancel it."""
        self._tell(f"{message.action} {message.intent_id}: {message.why} ({message.who})")
        try:
            return await transact(self._deal.request, message)
        except DealFailure as failure:
            raise _refusal(failure.problem) from failure

    @transact.validator
    def _may_transact(self, message: TransactionMessage) -> None:
        if not message.intent_id.startswith(f"{self._deal.request.deal_id}/"):
            raise _refusal(_not_of_this_deal(self._deal.request.deal_id, message))

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

    @cancel.validator
    def _may_cancel(self, message: CommandMessage) -> None:  # noqa: ARG002 - the state decides
        self._check(Command.CANCEL)

    def _check(self, command: Command) -> None:
        try:
            check_command(command, self._deal.status)
        except DealError as error:
            raise _refusal(error.problem) from None

    def _check_owner_message(self, message: OwnerMessage) -> None:
        try:
            if self._owners is None:
                raise not_waiting(self._deal.status)
            self._owners.check_message(message)
        except DealError as error:
            raise _refusal(error.problem) from None

    async def _hear_owner(self, message: OwnerMessage) -> Approval:
        assert self._owners is not None  # noqa: S101 - the validator has seen to it
        try:
            return await self._owners.take(message)
        except DealFailure as failure:
            raise _refusal(failure.problem) from failure

    # -- the deal -------------------------------------------------------------------------------

    async def _run(self) -> None:
        await self._run_to_the_end()
        if self._has_key and workflow.patched(_KEYS_RETIRE):
            await self._retire_key()

    async def _run_to_the_end(self) -> None:
        try:
            await self._admit()
        except DealFailure as failure:
            self._deal.problem = failure.problem
            await self._release()
            await self._move(DealStatus.DENIED, f"denied: {failure.problem.message}")
            self._admitted = True
            return
        try:
            if self._owners is not None and not await self._fund_by(self._owners):
                return
            await self._execute()
            await self._wait_for_finality()
            await self._close(DealStatus.COMPLETED)
        except DealCancelled:
            await self._unwind_until_done()
        except (DealFailure, ActivityError) as failure:
            self._deal.problem = problem_of(failure)
            await self._unwind_until_done()

    async def _execute(self) -> None:
        """The deal as a trader would tell it."""
        if self._owners is None:
            await self._step(Step.FUND)
        if self._deal.request.mode is ExecutionMode.PIPELINED:
            await self._run_joined()
        else:
            await self._run_stepwise()
        await self._leave(await self._step_position(), gated=True)

    async def _run_joined(self) -> None:
        """Everything from wrap to unwrap in one batch.

        If it stopped short it is for the position to say what follows: discount tokens that could
        not be redeemed wait for redemption as they would in a deal that goes step by step, from
        anything else the deal unwinds.
        """
        try:
            await self._step(Step.RUN)
        except DealFailure:
            if not (await self._step_position()).discount:
                raise
            await self._redeem()

    async def _run_stepwise(self) -> None:
        await self._step(Step.WRAP)
        await self._step(Step.COLLATERALIZE)
        await self._step(Step.BORROW)
        for cycle in range(1, self._sizing.cycles + 1):
            if not await self._swap_pays(cycle):
                break
            await self._redeem()

    async def _admit(self) -> None:
        """Open the account, look at the markets, size the deal; or raise `DealFailure`."""
        request = self._deal.request
        await self._move(DealStatus.REQUESTED, "sizing")
        try:
            accounts: DealAccounts = await workflow.execute_activity_method(
                SigningActivities.open_account,
                OpenAccount(
                    deal_id=request.deal_id,
                    max_fee_per_gas_wei=request.max_fee_per_gas_wei,
                    chain_id=request.chain_id,
                ),
                task_queue=SIGNER_QUEUE,
                summary="Open the deal's own account",
                **options.ADMISSION,
            )
            self._has_key = True
            reading = await self._read_market(accounts, options.ADMISSION)
            # Deals from before that are not counted, and need nobody.
            funding = await self._reserve(reading) if workflow.patched("multisig") else None
            if funding is not None and funding.owners_decide:
                accounts = await self._bind_to_safe()
                reading = _from_safe(await self._read_market(accounts, options.ADMISSION))
            self._deal.sizing = size_deal(request, reading.module, reading.market)
            self._deal.account, self._deal.treasury = accounts.account, accounts.treasury
            self._deal.module = reading.module
            if funding is not None and funding.owners_decide:
                await self._ask_owners(funding, accounts, reading.multisig)
        except ActivityError as error:
            raise DealFailure(problem_of(error)) from error
        except DealError as error:
            raise DealFailure(error.problem) from error
        if self._owners is None:
            await self._move(DealStatus.EXECUTING, "admitted")
        else:
            await self._move(DealStatus.AWAITING_APPROVAL, "waiting for owners")
        self._admitted = True

    # -- deals that owners must approve ---------------------------------------------------------

    async def _reserve(self, reading: MarketReading) -> Funding:
        """Count the deal with the others of its bank: do they need the owners?"""
        request, multisig = self._deal.request, reading.multisig
        self._reserved = True
        return await workflow.execute_activity_method(
            ReservationActivities.reserve_funding,
            ReserveFunding(
                deal_id=request.deal_id,
                bank=request.bank,
                value_usd8=funding_usd8(request, reading.module, reading.market),
                limit_usd8=multisig.threshold_usd8,
                window_seconds=int(multisig.window.total_seconds()),
            ),
            task_queue=TASK_QUEUE,
            summary=f"Count it with what else {request.bank} moves",
            **options.ADMISSION,
        )

    async def _release(self) -> None:
        """Count the deal no longer: it has moved nothing, and never will."""
        if not self._reserved:
            return
        await workflow.execute_activity_method(
            ReservationActivities.release_funding,
            ReleaseFunding(deal_id=self._deal.request.deal_id),
            task_queue=TASK_QUEUE,
            summary="Count it no longer: nothing was moved",
            **options.READ,
        )

    async def _bind_to_safe(self) -> DealAccounts:
        request = self._deal.request
        return await workflow.execute_activity_method(
            SigningActivities.fund_from_safe,
            FundFromSafe(deal_id=request.deal_id, chain_id=request.chain_id),
            task_queue=SIGNER_QUEUE,
            summary="Make the Safe the deal's treasury, for good",
            **options.ADMISSION,
        )

    async def _ask_owners(
        self, funding: Funding, accounts: DealAccounts, multisig: Multisig
    ) -> None:
        assert accounts.fee is not None  # noqa: S101 - signers that know a Safe have one
        self._owners = OwnersApproval(self._deal, funding, accounts.fee, self._tell_on_record)
        await self._owners.propose(multisig.expiry)

    async def _fund_by(self, owners: OwnersApproval) -> bool:
        """Have the Safe pay once its owners approve; False if they do not, and it has ended."""
        while True:
            try:
                standing = await owners.until_due()
            except ApprovalEnded as ending:
                await self._end_unfunded(owners, ending)
                return False
            except ActivityError as error:
                await self._tell_on_record(f"the Safe: {problem_of(error).message}")
                await owners.pause_before_retry()
                continue
            try:
                await self._fund(standing)
            except (DealFailure, ActivityError) as failure:
                if self._is_funded:
                    await self._move(DealStatus.EXECUTING, "funded by the Safe")
                    raise
                await self._tell_on_record(f"not funded: {problem_of(failure).message}")
                await owners.pause_before_retry()
            else:
                await self._move(DealStatus.EXECUTING, "funded by the Safe")
                return True

    async def _fund(self, standing: SafeStanding) -> None:
        """Execute what was approved, or take over what somebody else has executed."""
        if standing.executed is None:
            await self._attempt(Step.FUND, attempts=1)
            return
        request, started = self._deal.request, workflow.now()
        assert self._owners is not None  # noqa: S101 - only called with owners
        assert self._deal.account is not None  # noqa: S101 - only ever called after admission
        key = BatchKey(
            deal_id=request.deal_id, step=Step.FUND, round=self._deal.next_round(Step.FUND)
        )
        outcome: StepOutcome = await workflow.execute_activity_method(
            SafeActivities.adopt_funding,
            AdoptFunding(
                key=key,
                module=request.module,
                account=self._deal.account,
                transaction=self._owners.proposal.transaction,
                transaction_hash=standing.executed,
            ),
            task_queue=chain_queue(request.chain_id),
            summary="Somebody else has sent what the owners have signed: take it over",
            **options.READ,
        )
        step = StepView(outcome=outcome, started_at=started, finished_at=workflow.now())
        self._deal.steps.append(step)
        await self._record(step)

    @property
    def _is_funded(self) -> bool:
        """Whether a funding was mined and succeeded, whatever else it did."""
        return any(
            inclusion.succeeded and not inclusion.no_op
            for step in self._deal.steps
            if step.outcome.key.step is Step.FUND
            for inclusion in step.outcome.inclusions
        )

    async def _end_unfunded(self, owners: OwnersApproval, ending: ApprovalEnded) -> None:
        """End it, once it is sure that what was tried in vain stays so."""
        try:
            await self._wait_for_finality()
        except DealFailure:
            await self._move(DealStatus.EXECUTING, "funded by the Safe after all")
            raise
        self._deal.problem = ending.problem
        await owners.close()
        await self._release()
        await self._close(ending.status, ending.problem.message)

    async def _swap_pays(self, cycle: int) -> bool:
        """Swap; False if a later cycle would not pay any more, which is no failure."""
        try:
            await self._step(Step.SWAP)
        except DealFailure as failure:
            if cycle > 1 and failure.problem.code == LimitExceeded.code:
                self._tell(f"no further cycle: {failure.problem.message}")
                return False
            raise
        return True

    async def _redeem(self) -> None:
        """Redeem, waiting as long as redemption is frozen unless somebody cancels."""
        while True:
            try:
                await self._step(Step.REDEEM)
            except DealFailure as failure:
                if failure.problem.code != RedemptionFrozen.code:
                    raise
                await self._wait_for_redemption(failure.problem)
            else:
                return

    async def _wait_for_redemption(self, problem: Problem) -> None:
        await self._move(DealStatus.FROZEN, f"{problem.message}; {problem.next_action}")
        pause = _PROBE_FIRST
        while not await self._redemption_is_open():
            await self._sleep_unless_cancelled(pause)
            self._stop_if_cancelled()
            # Every probe is in the history for ever, and a freeze may last for weeks.
            pause = min(pause * 2, _PROBE_LAST)
        await self._move(DealStatus.EXECUTING, "redemption has reopened")

    async def _redemption_is_open(self) -> bool:
        assert self._deal.account is not None  # noqa: S101 - only ever called after admission
        assert self._deal.treasury is not None  # noqa: S101 - likewise
        accounts = DealAccounts(account=self._deal.account, treasury=self._deal.treasury)
        terms = (await self._read_market(accounts, options.READ)).market.redemption
        held = (await self._step_position()).discount
        return not terms.frozen and terms.redeemable >= held

    # -- the way out ----------------------------------------------------------------------------

    async def _unwind_until_done(self) -> None:
        """Unwind; when that fails, wait as STUCK for a person to ask for another try."""
        while True:
            self._deal.cancel = None
            await self._move(DealStatus.UNWINDING, "unwinding from what the chain says")
            try:
                await self._leave_for_good()
                if not self._deal.on_chain:
                    await self._release()
                await self._close(DealStatus.UNWOUND)
            except (DealFailure, ActivityError) as failure:
                self._deal.problem = problem_of(failure)
                await self._move(DealStatus.STUCK, self._where_everything_is(self._deal.problem))
                await workflow.wait_condition(lambda: self._deal.cancel is not None)
            else:
                return

    async def _leave(self, position: Position, *, gated: bool) -> None:
        """Step by step to an empty account, deciding each from what the last one left."""
        while (step := next_exit_step(position)) is not None:
            if gated:
                position = await self._step(step, attempts=_EXIT_ATTEMPTS)
            else:
                position = await self._attempt(step, _EXIT_ATTEMPTS)

    async def _leave_for_good(self) -> None:
        """Leave until the account is empty, and stays so when every transaction is final."""
        while self._deal.on_chain:
            self._deal.accept_results()
            await self._leave(await self._read_position(), gated=False)
            try:
                await self._wait_for_finality()
            except DealFailure as failure:
                if failure.problem is not self._deal.overturned:
                    raise
                self._tell(f"unwinding again: {failure.problem.message}")
            else:
                return

    async def _wait_for_finality(self) -> None:
        """Wait until nothing can be undone; raise `DealFailure` if something ended up otherwise."""
        if not self._deal.all_final:
            final: FinalTransactions = await workflow.execute_activity_method(
                TransactionActivities.finalize_deal,
                FinalizeDeal(
                    deal_id=self._deal.request.deal_id, chain_id=self._deal.request.chain_id
                ),
                task_queue=chain_queue(self._deal.request.chain_id),
                summary="Wait until every transaction is final",
                **options.DELIVER,
            )
            self._deal.take_receipts(final.receipts)
            self._deal.undone.clear()
        await self._note_moves()

    async def _note_moves(self) -> None:
        """Record the steps that are in other blocks now, and stop if a result is another."""
        while self._deal.moved:
            place = min(self._deal.moved)
            self._deal.moved.discard(place)
            await self._record(self._deal.steps[place])
        if self._deal.overturned is not None:
            raise DealFailure(self._deal.overturned)

    async def _close(self, status: DealStatus, doing: str = "done") -> None:
        """Add up, and close the deal."""
        if self._deal.position is not None:
            outcomes = [step.outcome for step in self._deal.steps]
            self._deal.settlement = settle(outcomes, self._deal.position)
        await self._move(status, doing)

    async def _retire_key(self) -> None:
        """Have nothing signed any more: everything is final, and nothing is left in the account."""
        try:
            await workflow.execute_activity_method(
                CustodyActivities.retire_account,
                RetireAccount(
                    deal_id=self._deal.request.deal_id,
                    who=f"deal {self._deal.request.deal_id}",
                    why=f"the deal is {self._deal.status}",
                    request_id=workflow.info().workflow_id,
                ),
                task_queue=SIGNER_QUEUE,
                summary="Retire the deal's key",
                **options.RETIRE,
            )
        except ActivityError as error:
            self._tell(f"its key is not retired, `deal keys retire` does it: {problem_of(error)}")

    def _where_everything_is(self, problem: Problem) -> str:
        position = self._deal.position
        held = "" if position is None else f"; account: {position.model_dump_json()}"
        return f"stuck: {problem.message}; `deal cancel` tries to unwind again{held}"

    # -- below the steps ------------------------------------------------------------------------

    async def _step(self, step: Step, attempts: int = _STEP_ATTEMPTS) -> Position:
        """Run a step behind the gate and return the account right after it."""
        await self._gate()
        return await self._attempt(step, attempts)

    async def _attempt(self, step: Step, attempts: int) -> Position:
        """Run a step, building it anew if it reverts; or raise `DealFailure` with its problem."""
        assert self._deal.account is not None  # noqa: S101 - only ever called after admission
        number = self._deal.next_round(step)
        for attempt in range(1, attempts + 1):
            order = PrepareBatch(
                key=BatchKey(
                    deal_id=self._deal.request.deal_id, step=step, round=number, attempt=attempt
                ),
                request=self._deal.request,
                sizing=self._sizing,
                account=self._deal.account,
                treasury=None if self._owners is None else self._deal.treasury,
                approval=self._owners.execution() if self._owners and step is Step.FUND else None,
            )
            self._tell(f"{step} {number}" + (f", attempt {attempt}" if attempt > 1 else ""))
            try:
                return await self._run_batch(order)
            except DealFailure as failure:
                if attempt == attempts or not self._may_repeat(order.key, failure.problem):
                    raise
            await workflow.sleep(_RETRY_AFTER, summary=f"before {step} is tried again")
        raise AssertionError  # pragma: no cover - the loop returns or raises

    async def _run_batch(self, order: PrepareBatch) -> Position:
        started = workflow.now()
        delivery = await execute_batch(order)
        outcome = delivery.outcome
        assert outcome is not None  # noqa: S101 - execute_batch ends with an outcome
        self._deal.all_final = self._deal.all_final and delivery.final
        step = StepView(outcome=outcome, started_at=started, finished_at=workflow.now())
        self._deal.steps.append(step)
        await self._record(step)
        if outcome.problem is not None:
            raise DealFailure(outcome.problem)
        return outcome.position

    def _may_repeat(self, key: BatchKey, problem: Problem) -> bool:
        """Whether to build a batch anew.

        A run that was mined never is: part of it has had its effect, whatever reverted.
        """
        mined = any(step.outcome.key == key for step in self._deal.steps)
        return _may_pass(problem) and not (key.step is Step.RUN and mined)

    async def _gate(self) -> None:
        """Between steps: wait while the chain has gone back or while paused; leave if cancelled."""
        self._stop_if_cancelled()
        await self._wait_for_the_chain()
        while (message := self._deal.pause) is not None:
            await self._move(DealStatus.PAUSED, f"paused by {message.who}: {message.why}")
            await workflow.wait_condition(
                lambda: self._deal.pause is None or self._deal.cancel is not None
            )
            self._stop_if_cancelled()
            await self._move(DealStatus.EXECUTING, "resumed")
            self._stop_if_cancelled()
            await self._wait_for_the_chain()  # it may have gone back meanwhile

    async def _wait_for_the_chain(self) -> None:
        """Build upon nothing that is in no block; raise `DealFailure` if a result is another."""
        if self._deal.undone:
            self._tell(f"the chain went back before {len(self._deal.undone)} transactions: waiting")
            await workflow.wait_condition(
                lambda: not self._deal.undone or self._deal.cancel is not None
            )
            self._stop_if_cancelled()
        await self._note_moves()

    def _stop_if_cancelled(self) -> None:
        if self._deal.cancel is not None:
            raise DealCancelled

    async def _sleep_unless_cancelled(self, duration: timedelta) -> None:
        try:
            await workflow.wait_condition(
                lambda: self._deal.cancel is not None,
                timeout=duration,
                timeout_summary="until redemption is probed again",
            )
        except TimeoutError:
            return

    async def _read_market(
        self, accounts: DealAccounts, how: options.ActivityOptions
    ) -> MarketReading:
        return await workflow.execute_activity_method(
            ProtocolActivities.read_market,
            ReadMarket(request=self._deal.request, treasury=accounts.treasury),
            task_queue=chain_queue(self._deal.request.chain_id),
            summary="Look at the markets",
            **how,
        )

    async def _read_position(self) -> Position:
        assert self._deal.account is not None  # noqa: S101 - only ever called after admission
        return await workflow.execute_activity_method(
            ProtocolActivities.read_position,
            ReadPosition(
                chain_id=self._deal.request.chain_id,
                module=self._deal.request.module,
                account=self._deal.account,
            ),
            task_queue=chain_queue(self._deal.request.chain_id),
            summary="Look at what the account holds and owes",
            **options.READ,
        )

    async def _step_position(self) -> Position:
        """The account as the last step left it, looked up if there was none."""
        return self._deal.position or await self._read_position()

    @property
    def _sizing(self) -> Sizing:
        assert self._deal.sizing is not None  # noqa: S101 - only ever read after admission
        return self._deal.sizing

    def _tell(self, doing: str) -> None:
        """Say what is going on, for queries and the Web UI; not recorded."""
        self._deal.doing = doing
        workflow.set_current_details(details_of(self._deal.view()))

    async def _tell_on_record(self, doing: str) -> None:
        """Say what is waited for where everybody can see it."""
        await self._move(self._deal.status, doing)

    async def _move(self, status: DealStatus, doing: str) -> None:
        """Change the status and record it."""
        self._deal.move(status, doing)
        await self._record(None)

    async def _record(self, step: StepView | None) -> None:
        """Write what changed to the records and show it in the Web UI."""
        self._deal.version += 1
        self._deal.updated_at = workflow.now()
        view = self._deal.view()
        workflow.set_current_details(details_of(view))
        info = workflow.info()
        record = DealRecord(
            view=view.model_copy(update={"steps": ()}),
            step=step,
            run_id=info.run_id,
            history_length=info.get_current_history_length(),
        )
        try:
            await self._write(record)
        except ActivityError as error:
            # Records that contradict the workflow are a defect. Failing the task, not the deal,
            # holds the deal where it is until the defect is mended.
            msg = f"the records refuse version {view.version}: {problem_of(error).message}"
            raise RuntimeError(msg) from error

    async def _write(self, record: DealRecord) -> None:
        """Have it written: on the way by a local activity, which costs no round trip to Temporal.

        The task that ran one can be lost, and what it recorded be taken back. A deal's end must
        not be: it is recorded when the history has it.
        """
        summary = f"Record {record.view.status}"
        if record.view.status not in CLOSED or not workflow.patched(_END_IN_HISTORY):
            await workflow.execute_local_activity_method(
                RecordActivities.record_deal, record, summary=summary, **options.RECORD
            )
        else:
            await workflow.execute_activity_method(
                RecordActivities.record_deal, record, summary=summary, **options.CLOSE
            )


def _from_safe(reading: MarketReading) -> MarketReading:
    """The same markets for a deal that a Safe funds, which takes more gas."""
    gas = reading.module.gas_units | {Step.FUND: reading.multisig.fund_gas_units}
    module = reading.module.model_copy(update={"gas_units": gas})
    return reading.model_copy(update={"module": module})


def _refusal(problem: Problem) -> ApplicationError:
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


def _may_pass(problem: Problem) -> bool:
    """Whether the step had no effect and building it anew may help.

    Only then may it be repeated: a step whose post-conditions failed has been executed.
    """
    return problem.code in {
        SimulationFailed.code,
        SigningRefused.code,
        TransactionReplaced.code,
        TransactionReverted.code,
    }
