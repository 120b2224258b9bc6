"""Rotating the seed and the wrapping key, asked for by a person or by the schedule."""

from pydantic import BaseModel, ConfigDict
from temporalio import workflow
from temporalio.exceptions import ActivityError

with workflow.unsafe.imports_passed_through():
    from activities.custody.interface import (
        CustodyActivities,
        KeyList,
        KeysRotated,
        ListKeys,
        RotateKeys,
        Rotation,
        Words,
    )
    from domain.errors import NotAllowed
    from workflows.deal import options
    from workflows.deal.failures import problem_of
    from workflows.deal.transaction import SIGNER_QUEUE

WORKFLOW_ID = "rotate-keys"
"""One at a time, whoever asks; the schedule adds the time to it."""


class RotateRequest(BaseModel):
    """What to rotate, in this order.

    `lenient` is for the schedule: what the key store rotates by itself is noted, not an error.
    """

    model_config = ConfigDict(frozen=True)

    rotations: tuple[Rotation, ...]
    who: Words
    why: Words
    lenient: bool = False
    command_id: str | None = None


@workflow.defn(name="RotateKeys")
class RotateKeysWorkflow:
    """Rotates once, however often its activities are tried."""

    @workflow.run
    async def run(self, request: RotateRequest) -> tuple[KeysRotated, ...]:
        """Rotate, and return what was done."""
        known: KeyList = await workflow.execute_activity_method(
            CustodyActivities.list_keys,
            ListKeys(limit=1),
            task_queue=SIGNER_QUEUE,
            summary="Look which generation is the newest",
            **options.COMMAND,
        )
        return tuple([await self._rotate(each, request, known) for each in request.rotations])

    async def _rotate(
        self, rotation: Rotation, request: RotateRequest, known: KeyList
    ) -> KeysRotated:
        order = RotateKeys(
            rotation=rotation,
            after=known.generation,
            who=request.who,
            why=request.why,
            request_id=f"{request.command_id or workflow.info().run_id}/{rotation}",
        )
        try:
            return await workflow.execute_activity_method(
                CustodyActivities.rotate_keys,
                order,
                task_queue=SIGNER_QUEUE,
                summary=f"Rotate the {rotation} by {request.who}: {request.why}"[:200],
                **options.SIGN,
            )
        except ActivityError as error:
            problem = problem_of(error)
            if not request.lenient or problem.code != NotAllowed.code:
                raise
            return KeysRotated(
                rotation=rotation,
                provider=known.provider,
                generation=known.generation,
                note=problem.message,
            )
