"""What the deal says of itself: to the records, to the Web UI, to whoever asks."""

from datetime import timedelta
from typing import Final

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError, FailureError

from activities.deals.interface import DealRecord, RecordActivities
from domain.deals import CLOSED, DealStatus
from domain.predictions import Prediction
from domain.settlement import settle
from domain.views import StepView
from workflows.deal import options
from workflows.deal.failures import problem_of
from workflows.deal.hearing import Hearing
from workflows.deal.messages import CommandMessage, OwnerMessage
from workflows.deal.predicting import compare
from workflows.deal.state import DealState
from workflows.deal.story import details_of

_END_IN_HISTORY: Final = "end-in-history"
"""Deals that ended before there was this recorded their end by a local activity."""

_ASK_AGAIN: Final = timedelta(seconds=1)
_ASK_AGAIN_AT_LEAST: Final = timedelta(minutes=10)
"""How long records that refuse a deal's end are let be, at first and at last."""


class Recording:
    """Every change of one deal, recorded when it happens."""

    def __init__(self, deal: DealState) -> None:
        """Take the deal."""
        self._deal = deal
        self._hearing = Hearing()
        self._recorded: Prediction | None = None

    def heard(self, message: CommandMessage | OwnerMessage) -> None:
        """Keep who has the next change made, and why: the records say so beside it."""
        self._hearing.take(message)

    def tell(self, doing: str) -> None:
        """Say what is going on, for queries and the Web UI; not recorded."""
        self._deal.doing = doing
        workflow.set_current_details(details_of(self._deal.view()))

    async def tell_on_record(self, doing: str) -> None:
        """Say what is waited for where everybody can see it."""
        await self.move(self._deal.status, doing)

    async def move(self, status: DealStatus, doing: str) -> None:
        """Change the status and record it."""
        self._deal.move(status, doing)
        await self.record(None)

    async def close(self, status: DealStatus, doing: str = "done") -> None:
        """Add up, and close the deal."""
        if self._deal.position is not None:
            outcomes = [step.outcome for step in self._deal.steps]
            self._deal.settlement = settle(outcomes, self._deal.position)
        await compare(self._deal)
        await self.move(status, doing)

    async def executed(self, step: StepView) -> None:
        """Keep a step that has been executed, and record it."""
        self._deal.steps.append(step)
        await self.record(step)

    async def record(self, step: StepView | None) -> None:
        """Write what changed to the records and show it in the Web UI."""
        self._deal.version += 1
        self._deal.updated_at = workflow.now()
        view = self._deal.view()
        workflow.set_current_details(details_of(view))
        info = workflow.info()
        predicted = None if view.prediction == self._recorded else view.prediction
        record = DealRecord(
            view=view.model_copy(update={"steps": (), "prediction": None, "realised": None}),
            step=step,
            prediction=predicted,
            realised=view.realised,
            run_id=info.run_id,
            history_length=info.get_current_history_length(),
            cause=None if step is not None else self._hearing.cause_of(view.status),
        )
        await _write(record)
        self._recorded = view.prediction


async def _write(record: DealRecord) -> None:
    """Have it written: on the way by a local activity, which costs no round trip to Temporal.

    The task that ran one can be lost, and what it recorded be taken back. A deal's end must
    not be: it is recorded when the history has it.
    """
    summary = f"Record {record.view.status}"
    if record.view.status in CLOSED and workflow.patched(_END_IN_HISTORY):
        await _write_end(record, summary)
        return
    try:
        await workflow.execute_local_activity_method(
            RecordActivities.record_deal, record, summary=summary, **options.RECORD
        )
    except (ActivityError, ApplicationError) as error:  # bare, unless it timed out
        # Records that contradict the workflow are a defect. Failing the task, not the deal,
        # holds the deal where it is until the defect is mended: the task is tried again, and
        # with it the local activity, whose failure is in no history.
        raise RuntimeError(_refusal(record, error)) from error


async def _write_end(record: DealRecord, summary: str) -> None:
    """Have the deal's end written, for as long as it takes until the records take it.

    Their refusal is in the history: a task that failed for it would fail for it at every
    replay, also once the defect is mended. So they are asked again, less and less often.
    """
    wait = _ASK_AGAIN
    while True:
        try:
            await workflow.execute_activity_method(
                RecordActivities.record_deal, record, summary=summary, **options.CLOSE
            )
        except ActivityError as error:
            told = _refusal(record, error)
            workflow.logger.error(told)
            workflow.set_current_details(f"{told}; asked again in {wait}")
        else:
            return
        await workflow.sleep(wait)
        wait = min(2 * wait, _ASK_AGAIN_AT_LEAST)


def _refusal(record: DealRecord, error: FailureError) -> str:
    return f"the records refuse version {record.view.version}: {problem_of(error).message}"
