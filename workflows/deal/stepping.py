"""One step of a deal: behind its gate, built anew where that may help, and recorded."""

from contextlib import suppress
from datetime import timedelta
from itertools import count
from typing import Final

from temporalio import workflow

from activities.signing.interface import HOURLY_RATES
from activities.transactions.interface import PrepareBatch
from domain.approvals import ExecuteApproved
from domain.deals import DealStatus, Step
from domain.errors import (
    Halted,
    Problem,
    SigningRefused,
    SimulationFailed,
    TransactionReplaced,
    TransactionReverted,
)
from domain.limits import MAX_SLIPPAGE_BPS
from domain.policy import ExitPolicy
from domain.positions import Position
from domain.transactions import BatchKey
from domain.views import StepView
from workflows.deal.failures import DealFailure
from workflows.deal.finality import note_moves
from workflows.deal.halting import wait_for_release
from workflows.deal.recording import Recording
from workflows.deal.state import DealCancelled, DealState, UnwindInPart
from workflows.deal.transaction import execute_batch

_STEP_ATTEMPTS: Final = 3
_RETRY_AFTER: Final = timedelta(seconds=2)
_RUN_AGAIN: Final = "run-again"
"""Deals from before unwind when no-ops were mined in place of their whole run."""
_RATE_PAUSE: Final = timedelta(minutes=1)
"""Until it is tried again what the signer's hourly rates have no room for."""


class Stepping:
    """Runs the steps of one deal."""

    def __init__(self, deal: DealState, recording: Recording) -> None:
        """Take the deal and what records it."""
        self._deal = deal
        self._recording = recording

    async def step(self, step: Step, attempts: int = _STEP_ATTEMPTS) -> Position:
        """Run a step behind the gate and return the account right after it.

        While trading is halted a step that adds risk waits here, and is built anew afterwards.
        """
        while True:
            await self.gate()
            try:
                return await self.attempt(step, attempts, gated=True)
            except DealFailure as failure:
                if not (self._deal.controlled and _is_hourly(failure.problem)):
                    raise
                await self._wait_for_room(step, failure.problem)

    async def attempt(
        self,
        step: Step,
        attempts: int,
        approval: ExecuteApproved | None = None,
        *,
        part_bps: int | None = None,
        gated: bool = False,
    ) -> Position:
        """Run a step, building it anew if it reverts; or raise `DealFailure` with its problem.

        A sale on the way out takes a little less at every attempt, as far as the policy goes.
        `gated`: what a halt has stopped is no failure, but waits for the release.
        """
        deal = self._deal
        assert deal.account is not None  # noqa: S101 - only ever called after admission
        number, failures = deal.next_round(step), 0
        selling = deal.controlled and step is Step.UNWIND
        attempts = deal.exit_policy.attempts if selling else attempts
        for attempt in count(1):
            order = PrepareBatch(
                key=BatchKey(
                    deal_id=deal.request.deal_id, step=step, round=number, attempt=attempt
                ),
                request=deal.request,
                sizing=deal.sized,
                account=deal.account,
                treasury=None if deal.approval is None else deal.treasury,
                approval=approval,
                part_bps=part_bps,
                slippage_bps=_slippage_bps(deal.exit_policy, attempt) if selling else None,
            )
            self._recording.tell(
                f"{step} {number}" + (f", attempt {attempt}" if attempt > 1 else "")
            )
            try:
                return await self._run_batch(order)
            except DealFailure as failure:
                if gated and self._is_stopped(order.key, failure.problem):
                    await wait_for_release(deal, self._recording, failure.problem)
                    await self.gate()  # much may have been said meanwhile
                    continue
                failures += 1
                if failures == attempts or not self._may_repeat(order.key, failure.problem):
                    raise
                if deal.controlled and _is_hourly(failure.problem):
                    raise
            await workflow.sleep(_RETRY_AFTER, summary=f"before {step} is tried again")
        raise AssertionError  # pragma: no cover - the loop returns or raises

    async def gate(self) -> None:
        """Between steps: wait while the chain has gone back or while paused; leave if cancelled."""
        deal = self._deal
        self.stop_if_cancelled()
        await self._wait_for_the_chain()
        while (message := deal.pause) is not None:
            await self._recording.move(DealStatus.PAUSED, f"paused by {message.who}: {message.why}")
            await workflow.wait_condition(lambda: deal.pause is None or deal.leaving)
            self.stop_if_cancelled()
            await self._recording.move(DealStatus.EXECUTING, "resumed")
            self.stop_if_cancelled()
            await self._wait_for_the_chain()  # it may have gone back meanwhile

    def stop_if_cancelled(self) -> None:
        """Raise `DealCancelled`, or `UnwindInPart`, if somebody has asked for it."""
        if self._deal.cancel is not None:
            raise DealCancelled
        if self._deal.part is not None:
            raise UnwindInPart

    async def _wait_for_room(self, step: Step, problem: Problem) -> None:
        """Wait until an hour's rates may have room again: nothing is wrong with the deal."""
        deal = self._deal
        await self._recording.tell_on_record(f"{step} waits: {problem.message}, {problem.limit}")
        with suppress(TimeoutError):
            await workflow.wait_condition(
                lambda: deal.leaving or deal.pause is not None,
                timeout=_RATE_PAUSE,
                timeout_summary=f"before the signer is asked for {step} again",
            )

    async def _run_batch(self, order: PrepareBatch) -> Position:
        started = workflow.now()
        delivery = await execute_batch(order)
        outcome = delivery.outcome
        assert outcome is not None  # noqa: S101 - execute_batch ends with an outcome
        self._deal.all_final = self._deal.all_final and delivery.final
        await self._recording.executed(
            StepView(outcome=outcome, started_at=started, finished_at=workflow.now())
        )
        if outcome.problem is not None:
            raise DealFailure(outcome.problem)
        return outcome.position

    def _is_stopped(self, key: BatchKey, problem: Problem) -> bool:
        """Whether a halt came first, so that the batch had no effect.

        Of a run that had begun a part has had its effect, whatever became of the rest.
        """
        return problem.code == Halted.code and not (key.step is Step.RUN and self._has_begun(key))

    def _may_repeat(self, key: BatchKey, problem: Problem) -> bool:
        """Whether to build a batch anew.

        A run that has begun never is: part of it has had its effect, whatever reverted.
        """
        if not _may_pass(problem):
            return False
        mined = any(step.outcome.key == key for step in self._deal.steps)
        if key.step is not Step.RUN or not mined:
            return True
        return workflow.patched(_RUN_AGAIN) and not self._has_begun(key)

    def _has_begun(self, key: BatchKey) -> bool:
        """Whether more of a batch was mined than no-ops in its place."""
        return any(
            not inclusion.no_op
            for step in self._deal.steps
            if step.outcome.key == key
            for inclusion in step.outcome.inclusions
        )

    async def _wait_for_the_chain(self) -> None:
        """Build upon nothing that is in no block; raise `DealFailure` if a result is another."""
        deal = self._deal
        if deal.undone:
            self._recording.tell(
                f"the chain went back before {len(deal.undone)} transactions: waiting"
            )
            await workflow.wait_condition(lambda: not deal.undone or deal.leaving)
            self.stop_if_cancelled()
        await note_moves(deal, self._recording)


def _slippage_bps(policy: ExitPolicy, attempt: int) -> int:
    """What a sale may lose against its quote: by the policy, and never more than any swap may."""
    return min(policy.slippage_bps(attempt), MAX_SLIPPAGE_BPS)


def _is_hourly(problem: Problem) -> bool:
    """Whether the signer only says that it has signed enough for this hour."""
    return problem.code == SigningRefused.code and problem.field in HOURLY_RATES


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
