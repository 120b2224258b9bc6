"""The way out: from what the account holds and owes to nothing left in it."""

from typing import Final

from temporalio import workflow
from temporalio.exceptions import ActivityError

from activities.custody.interface import CustodyActivities, RetireAccount
from domain.deals import DealStatus, Step
from domain.errors import Problem
from domain.exits import next_exit_step
from domain.positions import Position
from workflows.deal import options
from workflows.deal.failures import DealFailure, problem_of
from workflows.deal.finality import wait_for_finality
from workflows.deal.looking import last_position, read_position
from workflows.deal.recording import Recording
from workflows.deal.reservation import release
from workflows.deal.state import DealState
from workflows.deal.stepping import Stepping
from workflows.deal.transaction import SIGNER_QUEUE

_EXIT_ATTEMPTS: Final = 5


class WayOut:
    """Brings one deal's funds home."""

    def __init__(self, deal: DealState, recording: Recording, stepping: Stepping) -> None:
        """Take the deal, what records it and what runs its steps."""
        self._deal = deal
        self._recording = recording
        self._stepping = stepping

    async def settle(self) -> None:
        """Leave as a deal that went well: paused, cancelled and failing like every other step."""
        position = await last_position(self._deal)
        while (step := next_exit_step(position)) is not None:
            position = await self._stepping.step(step, attempts=_EXIT_ATTEMPTS)
        await wait_for_finality(self._deal, self._recording)
        await self._recording.close(DealStatus.COMPLETED)

    async def unwind(self) -> None:
        """Unwind; when that fails, wait as STUCK for a person to ask for another try."""
        while True:
            self._deal.cancel = None
            await self._recording.move(DealStatus.UNWINDING, "unwinding from what the chain says")
            try:
                await self._leave_for_good()
                if not self._deal.on_chain:
                    await release(self._deal)
                await self._recording.close(DealStatus.UNWOUND)
            except (DealFailure, ActivityError) as failure:
                problem = problem_of(failure)
                self._deal.problem = problem
                await self._recording.move(DealStatus.STUCK, self._where_everything_is(problem))
                await workflow.wait_condition(lambda: self._deal.cancel is not None)
            else:
                return

    async def retire_key(self) -> None:
        """Have nothing signed any more: everything is final, and nothing is left in the account."""
        deal = self._deal
        try:
            await workflow.execute_activity_method(
                CustodyActivities.retire_account,
                RetireAccount(
                    deal_id=deal.request.deal_id,
                    who=f"deal {deal.request.deal_id}",
                    why=f"the deal is {deal.status}",
                    request_id=workflow.info().workflow_id,
                ),
                task_queue=SIGNER_QUEUE,
                summary="Retire the deal's key",
                **options.RETIRE,
            )
        except ActivityError as error:
            self._recording.tell(
                f"its key is not retired, `deal keys retire` does it: {problem_of(error)}"
            )

    async def _leave(self, position: Position) -> None:
        """Step by step to an empty account, deciding each from what the last one left."""
        step: Step | None
        while (step := next_exit_step(position)) is not None:
            position = await self._stepping.attempt(step, _EXIT_ATTEMPTS)

    async def _leave_for_good(self) -> None:
        """Leave until the account is empty, and stays so when every transaction is final."""
        while self._deal.on_chain:
            self._deal.accept_results()
            await self._leave(await read_position(self._deal))
            try:
                await wait_for_finality(self._deal, self._recording)
            except DealFailure as failure:
                if failure.problem is not self._deal.overturned:
                    raise
                self._recording.tell(f"unwinding again: {failure.problem.message}")
            else:
                return

    def _where_everything_is(self, problem: Problem) -> str:
        position = self._deal.position
        held = "" if position is None else f"; account: {position.model_dump_json()}"
        return f"stuck: {problem.message}; `deal cancel` tries to unwind again{held}"
