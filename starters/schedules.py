"""What happens by itself, in time: the schedules that Temporal keeps."""

from datetime import timedelta
from typing import Final

from pydantic import BaseModel, ConfigDict
from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleIntervalSpec,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleSpec,
    ScheduleUpdate,
    ScheduleUpdateInput,
)
from temporalio.service import RPCError

from activities.custody.interface import Rotation
from domain.errors import Unavailable
from workflows.deal.workflow import TASK_QUEUE
from workflows.keys.rotation import WORKFLOW_ID, RotateKeysWorkflow, RotateRequest
from workflows.payloads.rotation import WORKFLOW_ID as CODEC_WORKFLOW_ID
from workflows.payloads.rotation import RotateCodecWorkflow

ROTATION_SCHEDULE: Final = "rotate-keys"
CODEC_SCHEDULE: Final = "rotate-codec"
ROTATION_PERIOD: Final = timedelta(days=90)

_CATCH_UP: Final = timedelta(days=7)
"""A rotation that fell into an outage is made up for if that was no longer."""


class Applied(BaseModel):
    """A schedule as it is kept now; `created` if it was not there before."""

    model_config = ConfigDict(frozen=True)

    schedule: str
    every_days: int
    created: bool


async def apply_schedules(client: Client) -> tuple[Applied, ...]:
    """Have every schedule exist as it is here; one that exists keeps its pauses and its history.

    Raises `Unavailable`.
    """
    kept = {ROTATION_SCHEDULE: rotation(), CODEC_SCHEDULE: codec_rotation()}
    try:
        created = {name: await _apply(client, name, kept[name]) for name in kept}
    except RPCError as error:
        raise Unavailable(
            "Temporal does not take the schedules",
            field="TEMPORAL_ADDRESS",
            actual=error.message,
            next_action="check that Temporal runs, and apply them again",
        ) from error
    return tuple(
        Applied(schedule=name, every_days=ROTATION_PERIOD.days, created=created[name])
        for name in kept
    )


def rotation() -> Schedule:
    """Both the seed and the wrapping key, every 90 days."""
    request = RotateRequest(
        rotations=(Rotation.SEED, Rotation.WRAPPING),
        who=f"schedule {ROTATION_SCHEDULE}",
        why=f"every {ROTATION_PERIOD.days} days",
        lenient=True,
    )
    return Schedule(
        action=ScheduleActionStartWorkflow(
            RotateKeysWorkflow.run,
            request,
            id=WORKFLOW_ID,
            task_queue=TASK_QUEUE,
            static_summary="Rotate the seed and the wrapping key",
        ),
        spec=_every_period(),
        policy=_one_at_a_time(),
    )


def codec_rotation() -> Schedule:
    """The key that encrypts what Temporal keeps, every 90 days."""
    return Schedule(
        action=ScheduleActionStartWorkflow(
            RotateCodecWorkflow.run,
            id=CODEC_WORKFLOW_ID,
            task_queue=TASK_QUEUE,
            static_summary="Rotate the key that encrypts what Temporal keeps",
        ),
        spec=_every_period(),
        policy=_one_at_a_time(),
    )


def _every_period() -> ScheduleSpec:
    return ScheduleSpec(intervals=[ScheduleIntervalSpec(every=ROTATION_PERIOD)])


def _one_at_a_time() -> SchedulePolicy:
    return SchedulePolicy(overlap=ScheduleOverlapPolicy.SKIP, catchup_window=_CATCH_UP)


async def _apply(client: Client, schedule_id: str, schedule: Schedule) -> bool:
    try:
        await client.create_schedule(schedule_id, schedule)
    except ScheduleAlreadyRunningError:
        await client.get_schedule_handle(schedule_id).update(lambda found: _merged(found, schedule))
        return False
    return True


def _merged(found: ScheduleUpdateInput, schedule: Schedule) -> ScheduleUpdate:
    schedule.state = found.description.schedule.state
    return ScheduleUpdate(schedule)
