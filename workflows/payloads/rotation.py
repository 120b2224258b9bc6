"""Rotating the codec's key, asked for by the schedule."""

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.payloads.interface import CodecActivities, CodecRotated, RotateCodec
    from workflows.deal import options

WORKFLOW_ID = "rotate-codec"
"""One at a time; the schedule adds the time to it."""


@workflow.defn(name="RotateCodec")
class RotateCodecWorkflow:
    """Adds one key, however often its activity is tried."""

    @workflow.run
    async def run(self) -> CodecRotated:
        """Add a key, and return its id."""
        now = workflow.now()
        return await workflow.execute_activity_method(
            CodecActivities.rotate_codec,
            RotateCodec(key_id=f"{now:%Y%m%d}-{workflow.uuid4().hex[:8]}"),
            summary="Add a key that encrypts what Temporal keeps",
            **options.COMMAND,
        )
