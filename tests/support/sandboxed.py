"""Workflows that only the sandbox is tested with; it imports this module anew for each."""

import random

from temporalio import workflow


@workflow.defn(failure_exception_types=[workflow.NondeterminismError, RuntimeError])
class Gambling:
    """Does what no workflow may, and says so by the SDK's own error."""

    @workflow.run
    async def run(self, greeting: str) -> str:
        return f"{greeting} {random.random()}"  # noqa: S311 - the sandbox refuses it


@workflow.defn
class Greeting:
    """Takes and gives a payload, and waits for a timer between."""

    @workflow.run
    async def run(self, greeting: str) -> str:
        await workflow.sleep(0.01)
        return f"{greeting}, {greeting}"
