"""A deal whose workflow was terminated or lost: taken over from the records, and unwound."""

from typing import Final

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.control.interface import ControlActivities, FindPolicy, FoundPolicy
    from activities.deals.interface import FindDeal, RecordActivities
    from activities.signing.interface import DealAccounts, OpenAccount, SigningActivities
    from activities.transactions.interface import (
        FindBatches,
        FoundBatches,
        PrepareBatch,
        TransactionActivities,
    )
    from domain.deals import CLOSED, DealStatus, ensure_same_request
    from domain.errors import DealError, NotAllowed
    from domain.transactions import PreparedBatch
    from domain.views import DealView, StepView
    from workflows.deal import options
    from workflows.deal.messages import TakeOver
    from workflows.deal.transaction import (
        DEALS_QUEUE,
        SIGNER_QUEUE,
        chain_queue,
        finish_batch,
    )
    from workflows.deal.workflow import DealWorkflow, refusal


ADOPTED: Final = "AdoptedDeal"
_KEEPS_TO_POLICY: Final = "keeps-to-policy"
"""Deals that were taken over before sell as far as the default policy goes."""


@workflow.defn(name=ADOPTED)
class AdoptedDealWorkflow(DealWorkflow):
    """Takes every message that a deal takes, under the same workflow id; it can only unwind."""

    @workflow.init
    def __init__(self, order: TakeOver) -> None:
        """Start from the request; the rest is in the records."""
        super().__init__(order.request)
        self._order = order

    @workflow.run
    async def run(self, order: TakeOver) -> DealView:  # type: ignore[override]  # noqa: ARG002 - taken by __init__
        """Bring what was begun to its end, unwind, and return the deal as it ended."""
        return await self._run_shielded(self._take_over())

    async def _take_over(self) -> None:
        found = await self._restore()
        message = self._order.message
        self._recording.heard(message)
        await self._recording.move(
            DealStatus.UNWINDING, f"taken over by {message.who}: {message.why}"
        )
        for batch in found.batches:
            await self._finish(batch)
        await self._go_on_from(self._way_out.unwind)
        await self._way_out.retire_key()

    async def _restore(self) -> FoundBatches:
        """What the records and the signer know of the deal; fails for one that has ended."""
        deal, request = self._deal, self._order.request
        view: DealView = await workflow.execute_activity_method(
            RecordActivities.find_deal,
            FindDeal(deal_id=request.deal_id),
            task_queue=DEALS_QUEUE,
            summary="Look the deal up in the records",
            **options.CLOSE,
        )
        _ensure_lost(view, self._order)
        found: FoundBatches = await workflow.execute_activity_method(
            TransactionActivities.find_batches,
            FindBatches(
                chain_id=request.chain_id,
                deal_id=request.deal_id,
                recorded=tuple(str(step.outcome.key) for step in view.steps),
            ),
            task_queue=chain_queue(request.chain_id),
            summary="Look for what was begun and not recorded",
            **options.READ,
        )
        accounts: DealAccounts = await workflow.execute_activity_method(
            SigningActivities.open_account,
            OpenAccount(
                deal_id=request.deal_id,
                max_fee_per_gas_wei=request.max_fee_per_gas_wei,
                chain_id=request.chain_id,
            ),
            task_queue=SIGNER_QUEUE,
            summary="Find the deal's own account",
            **options.SIGN,
        )
        deal.restore(view, found.rounds)
        deal.account, deal.treasury = accounts.account, accounts.treasury
        if workflow.patched(_KEEPS_TO_POLICY):
            await self._pin_policy()
        return found

    async def _pin_policy(self) -> None:
        """Go on by the policy that the deal was admitted by, if it ever was."""
        found: FoundPolicy = await workflow.execute_activity_method(
            ControlActivities.find_policy,
            FindPolicy(deal_id=self._deal.request.deal_id),
            task_queue=DEALS_QUEUE,
            summary="Look up the policy that it was admitted by",
            **options.CLOSE,
        )
        if found.policy is not None:
            self._deal.pin(found.policy)

    async def _finish(self, batch: PreparedBatch) -> None:
        deal, started = self._deal, workflow.now()
        assert deal.account is not None  # noqa: S101 - the signer has told it
        order = PrepareBatch(
            key=batch.key,
            request=deal.request,
            sizing=deal.sized,
            account=deal.account,
            treasury=None if deal.approval is None else deal.treasury,
        )
        delivery = await finish_batch(order, batch)
        if delivery is not None and delivery.outcome is not None:
            await self._recording.executed(
                StepView(outcome=delivery.outcome, started_at=started, finished_at=workflow.now())
            )


def _ensure_lost(view: DealView, order: TakeOver) -> None:
    """Fail the workflow, as an answer to whoever started it, unless there is something to do."""
    try:
        ensure_same_request(view.request, order.request)
        if view.status in CLOSED:
            raise NotAllowed(
                f"deal {order.request.deal_id} has ended: it is {view.status}",
                field="status",
                value=view.status,
                limit="a deal that has not ended",
                next_action="look at the deal with `deal show`",
            )
    except DealError as error:
        raise refusal(error.problem) from None
