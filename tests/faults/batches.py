"""A workflow that runs nothing but batches, through the same code as deals do."""

from __future__ import annotations

from temporalio import workflow
from temporalio.exceptions import ApplicationError

with workflow.unsafe.imports_passed_through():
    from pydantic import BaseModel, ConfigDict

    from activities.signing.interface import DealAccounts, OpenAccount, SigningActivities
    from activities.transactions.interface import PrepareBatch, TransactionView
    from domain.deals import DealRequest, Step
    from domain.errors import Problem
    from domain.sizing import Sizing
    from domain.tracking import Notice
    from domain.transactions import BatchKey, StepOutcome
    from workflows.deal import options
    from workflows.deal.failures import DealFailure
    from workflows.deal.messages import TransactionMessage
    from workflows.deal.transaction import SIGNER_QUEUE, execute_batch, transact


class BatchPlan(BaseModel):
    """How many batches of how many intents, from the deal's account or from the treasury."""

    model_config = ConfigDict(frozen=True)

    request: DealRequest
    intents: int = 3
    batches: int = 1
    step: Step = Step.WRAP
    fragile: int | None = None
    """The index of the intent that takes what somebody else allows, and may take back."""


class Ended(BaseModel):
    """How a batch ended: its outcome, or why there is none."""

    model_config = ConfigDict(frozen=True)

    outcome: StepOutcome | None = None
    problem: Problem | None = None


@workflow.defn(name="LedgerBatches")
class LedgerBatches:
    """Each intent records itself in the Ledger."""

    @workflow.init
    def __init__(self, plan: BatchPlan) -> None:
        """Start unfunded."""
        self._plan = plan
        self._account: DealAccounts | None = None
        self._funded = False

    @workflow.run
    async def run(self, plan: BatchPlan) -> list[Ended]:
        """Run the batches one after the other."""
        self._account = await workflow.execute_activity_method(
            SigningActivities.open_account,
            OpenAccount(deal_id=plan.request.deal_id),
            task_queue=SIGNER_QUEUE,
            **options.ADMISSION,
        )
        await workflow.wait_condition(lambda: self._funded)
        return [await self._batch(number) for number in range(1, plan.batches + 1)]

    @workflow.update
    async def account(self) -> DealAccounts:
        """The account, as soon as it is open."""
        await workflow.wait_condition(lambda: self._account is not None)
        assert self._account is not None
        return self._account

    @workflow.update
    async def transact(self, message: TransactionMessage) -> TransactionView:
        """As a deal does it."""
        try:
            return await transact(self._plan.request, message)
        except DealFailure as failure:
            raise ApplicationError(
                failure.problem.message, type=failure.problem.code, non_retryable=True
            ) from failure

    @workflow.signal
    def chain_notice(self, notice: Notice) -> None:
        """There are no gates here: what is undone is mined again by the engine alone."""

    @workflow.query
    def accounts(self) -> DealAccounts | None:
        """The same, at any time."""
        return self._account

    @workflow.signal
    def funded(self) -> None:
        """The account can pay for its gas."""
        self._funded = True

    async def _batch(self, number: int) -> Ended:
        assert self._account is not None
        key = BatchKey(deal_id=self._plan.request.deal_id, step=self._plan.step, round=number)
        order = PrepareBatch(
            key=key,
            request=self._plan.request,
            sizing=_counting(self._plan),
            account=self._account.account,
        )
        try:
            delivery = await execute_batch(order)
        except DealFailure as failure:
            return Ended(problem=failure.problem)
        return Ended(outcome=delivery.outcome)


def _counting(plan: BatchPlan) -> Sizing:
    """A sizing that only says how many intents the test's builder drafts, and which is fragile."""
    return Sizing(
        wrap_wei=0,
        gas_reserve_wei=0,
        borrow=0 if plan.fragile is None else plan.fragile + 1,
        par_decimals=6,
        cycles=plan.intents,
        bound_by="ledger",
        expected_ltv_bps=0,
        expected_exposure_bps=0,
        expected_gas_wei=0,
        expected_interest=0,
        expected_profit_usd8=0,
    )
