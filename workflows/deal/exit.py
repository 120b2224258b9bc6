"""The way out: from what the account holds and owes to nothing left in it."""

from typing import Final

from temporalio import workflow
from temporalio.exceptions import ActivityError

from activities.custody.interface import CustodyActivities, RetireAccount
from domain.adoptions import Adoption, told
from domain.deals import DealStatus, Step
from domain.errors import NotAllowed, Problem
from domain.exits import next_exit_step
from domain.positions import Position
from workflows.deal import options
from workflows.deal.failures import DealFailure, problem_of
from workflows.deal.finality import wait_for_finality
from workflows.deal.looking import last_position, read_position
from workflows.deal.messages import AdoptMessage, CommandMessage
from workflows.deal.recording import Recording
from workflows.deal.reservation import release
from workflows.deal.state import DealState, UnwindInPart
from workflows.deal.stepping import Stepping
from workflows.deal.transaction import SIGNER_QUEUE

_EXIT_ATTEMPTS: Final = 5
_LONGEST_WHY: Final = 500


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
        while (step := next_exit_step(position, self._deal.danger_wad)) is not None:
            position = await self._stepping.step(step, attempts=_EXIT_ATTEMPTS)
        await wait_for_finality(self._deal, self._recording)
        await self._recording.close(DealStatus.COMPLETED)

    async def unwind(self) -> None:
        """Unwind; when that fails, wait as STUCK for another try, or for a person to take over."""
        while True:
            self._deal.cancel = self._deal.retry = self._deal.part = None
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
                if await self._handed_over():
                    return
            else:
                self._deal.frozen = None
                return

    async def unwind_part(self) -> None:
        """Sell or redeem a part of what is held, and repay that part of what is owed.

        Nothing is taken from the treasury and no collateral is withdrawn, so the loan is healthier
        after it. The deal then waits, PAUSED, also if it could not be done: a person decides.
        """
        deal = self._deal
        message = deal.part
        assert message is not None  # noqa: S101 - what has led here
        assert message.part_bps is not None  # noqa: S101 - likewise
        deal.part = deal.retry = None
        part = f"{message.part_bps / 100:g} %"
        await self._recording.move(DealStatus.UNWINDING, f"unwinding {part}: {message.why}")
        try:
            await self._bring_down(message.part_bps)
        except (DealFailure, ActivityError) as failure:
            deal.problem = problem_of(failure)
            why = f"{part} could not be unwound: {deal.problem.message}"
        else:
            why = f"{part} was unwound: {message.why}"
        deal.pause = CommandMessage(who=message.who, why=why[:_LONGEST_WHY], via=message.via)

    async def _bring_down(self, part_bps: int) -> None:
        self._deal.accept_results()
        position = await read_position(self._deal)
        if position.discount:
            position = await self._stepping.attempt(Step.UNWIND, _EXIT_ATTEMPTS, part_bps=part_bps)
        if position.debt and position.par:
            await self._stepping.attempt(Step.SETTLE, _EXIT_ATTEMPTS, part_bps=part_bps)

    async def _handed_over(self) -> bool:
        """Wait for a person: True once one has taken the deal over, False for another try."""
        deal = self._deal
        while True:
            await workflow.wait_condition(
                lambda: deal.leaving or deal.retry is not None or deal.adopt is not None
            )
            if deal.part is not None and deal.cancel is None and deal.adopt is None:
                raise UnwindInPart
            if deal.adopt is None:
                return False
            message = deal.adopt
            try:
                await self._hand_over(message)
            except (DealFailure, ActivityError) as failure:
                deal.problem = problem_of(failure)
                await self._recording.tell_on_record(
                    f"not handed over to {message.who}: {deal.problem.message}; "
                    "adopt it again when that is mended"
                )
                deal.adopt = None
            else:
                deal.adopt = None
                return True

    async def _hand_over(self, message: AdoptMessage) -> None:
        """End with a written account of what is left, read from the chain; nothing is moved."""
        deal = self._deal
        deal.accept_results()
        await wait_for_finality(deal, self._recording)
        deal.adoption = Adoption(
            who=message.who,
            why=message.why,
            answers=message.answers or message.who,
            at=workflow.now(),
            remains=await read_position(deal),
        )
        await self._recording.close(DealStatus.UNWOUND, deal.adoption.text())

    async def retire_key(self) -> None:
        """Have nothing signed any more: everything is final, and nothing is left in the account.

        A person who has taken over what is left still needs it.
        """
        deal = self._deal
        if deal.adoption is not None and not deal.adoption.remains.is_empty:
            return
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
        while (step := next_exit_step(position, self._deal.danger_wad)) is not None:
            position = await self._stepping.attempt(step, _EXIT_ATTEMPTS)

    async def _leave_for_good(self) -> None:
        """Leave until the account is empty, and stays so when every transaction is final."""
        while self._deal.on_chain:
            self._deal.accept_results()
            position = await read_position(self._deal)
            if self._deal.sizing is None and not position.is_empty:
                raise DealFailure(_never_sized(position))
            await self._leave(position)
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
        return (
            f"stuck: {problem.message}; `deal retry` tries to unwind again, "
            f"`deal unwind --part` a part of it, `deal adopt` hands it to a person{held}"
        )


def _never_sized(position: Position) -> Problem:
    """Somebody has sent something to the account of a deal that never began."""
    return NotAllowed(
        "the deal was lost before it was sized, and its account is not empty",
        field="account",
        value=position.account,
        limit="an empty account",
        actual=told(position),
        next_action="adopt the deal, and bring home by hand what is in its account",
    ).problem
