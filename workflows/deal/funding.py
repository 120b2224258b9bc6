"""A deal that a Safe pays for: funded when its owners have approved, or ended unfunded."""

from temporalio import workflow
from temporalio.exceptions import ActivityError

from activities.approvals.interface import AdoptFunding, SafeActivities
from domain.approvals import SafeStanding
from domain.deals import DealStatus, Step
from domain.transactions import BatchKey, StepOutcome
from domain.views import StepView
from workflows.deal import options
from workflows.deal.approval import ApprovalEnded, OwnersApproval
from workflows.deal.failures import DealFailure, problem_of
from workflows.deal.finality import wait_for_finality
from workflows.deal.recording import Recording
from workflows.deal.reservation import release
from workflows.deal.state import DealState
from workflows.deal.stepping import Stepping
from workflows.deal.transaction import chain_queue


class SafeFunding:
    """Has the Safe pay for one deal."""

    def __init__(
        self, deal: DealState, recording: Recording, stepping: Stepping, owners: OwnersApproval
    ) -> None:
        """Take the deal, what records it and runs its steps, and who approves."""
        self._deal = deal
        self._recording = recording
        self._stepping = stepping
        self._owners = owners

    async def fund(self) -> bool:
        """Have the Safe pay once its owners approve; False if they do not, and it has ended."""
        while True:
            try:
                standing = await self._owners.until_due()
            except ApprovalEnded as ending:
                await self._end_unfunded(ending)
                return False
            except ActivityError as error:
                await self._recording.tell_on_record(f"the Safe: {problem_of(error).message}")
                await self._owners.pause_before_retry()
                continue
            try:
                await self._pay(standing)
            except (DealFailure, ActivityError) as failure:
                if self._is_funded:
                    await self._recording.move(DealStatus.EXECUTING, "funded by the Safe")
                    raise
                await self._recording.tell_on_record(f"not funded: {problem_of(failure).message}")
                await self._owners.pause_before_retry()
            else:
                await self._recording.move(DealStatus.EXECUTING, "funded by the Safe")
                return True

    async def _pay(self, standing: SafeStanding) -> None:
        """Execute what was approved, or take over what somebody else has executed."""
        if standing.executed is None:
            await self._stepping.attempt(Step.FUND, 1, self._owners.execution())
            return
        request, started = self._deal.request, workflow.now()
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
        await self._recording.executed(
            StepView(outcome=outcome, started_at=started, finished_at=workflow.now())
        )

    @property
    def _is_funded(self) -> bool:
        """Whether a funding was mined and succeeded, whatever else it did."""
        return any(
            inclusion.succeeded and not inclusion.no_op
            for step in self._deal.steps
            if step.outcome.key.step is Step.FUND
            for inclusion in step.outcome.inclusions
        )

    async def _end_unfunded(self, ending: ApprovalEnded) -> None:
        """End it, once it is sure that what was tried in vain stays so."""
        try:
            await wait_for_finality(self._deal, self._recording)
        except DealFailure:
            await self._recording.move(DealStatus.EXECUTING, "funded by the Safe after all")
            raise
        self._deal.problem = ending.problem
        await self._owners.close()
        await release(self._deal)
        await self._recording.close(ending.status, ending.problem.message)
