"""Heartbeats of every activity, so that a worker that was killed is missed within seconds.

Temporal learns of a killed process by nothing but silence. Without heartbeats, an activity that
died with its worker is given to another one only when its whole time is up.
"""

import asyncio
from datetime import timedelta
from typing import Any, Final

from temporalio import activity
from temporalio.worker import (
    ActivityInboundInterceptor,
    ExecuteActivityInput,
    Interceptor,
)

BEAT: Final = timedelta(seconds=1)
"""Several within every heartbeat timeout, so that one that comes late is no death."""

HEARTBEAT_THROTTLE: Final = BEAT * 0.8
"""For `Worker`: the SDK holds beats back, for up to 0.8 of the timeout, if it may."""


class HeartbeatInterceptor(Interceptor):
    """Beats for an activity all the while it runs, if it has a heartbeat timeout."""

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:  # noqa: A002 - the SDK's name
        """Wrap the activity."""
        return _Inbound(next)


class _Inbound(ActivityInboundInterceptor):
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002, ANN401 - the SDK's signature
        if not activity.info().heartbeat_timeout:
            return await super().execute_activity(input)
        beating = asyncio.create_task(_beat())
        try:
            return await super().execute_activity(input)
        finally:
            beating.cancel()


async def _beat() -> None:
    while True:  # most activities are over before the first one, which would cost the server
        await asyncio.sleep(BEAT.total_seconds())
        activity.heartbeat()
