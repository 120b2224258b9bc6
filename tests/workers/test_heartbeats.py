"""An activity beats for as long as it runs, whatever it waits for."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from temporalio.testing import ActivityEnvironment
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput

from workers.runtime import heartbeats
from workers.runtime.heartbeats import HEARTBEAT_THROTTLE, HeartbeatInterceptor
from workflows.deal import options

INPUT: Any = object()
BEAT = 0.01


class Activity(ActivityInboundInterceptor):
    """An activity that takes this many beats."""

    def __init__(self, beats: int, error: Exception | None = None) -> None:
        self.beats, self.error = beats, error

    async def execute_activity(self, input: ExecuteActivityInput) -> object:  # noqa: A002 - the SDK's name
        assert input is INPUT
        await asyncio.sleep((self.beats + 0.5) * BEAT)
        if self.error is not None:
            raise self.error
        return self.beats


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeats, "BEAT", timedelta(seconds=BEAT))


async def beats_of(activity: Activity, allowed: timedelta | None) -> int:
    """How often an activity with this heartbeat timeout beats, up to some time after its end."""
    environment, beats = ActivityEnvironment(), list[Any]()
    environment.info = replace(environment.info, heartbeat_timeout=allowed)
    environment.on_heartbeat = lambda *_: beats.append(None)
    inbound = HeartbeatInterceptor().intercept_activity(activity)

    async def run() -> None:
        await inbound.execute_activity(INPUT)

    try:
        await environment.run(run)
    finally:
        counted = len(beats)
        await asyncio.sleep(3 * BEAT)
        assert len(beats) == counted  # none after its end
    return counted


async def test_it_beats_until_it_ends() -> None:
    assert await beats_of(Activity(5), timedelta(seconds=3)) >= 3


async def test_one_that_is_over_before_the_first_beat_costs_the_server_nothing() -> None:
    assert await beats_of(Activity(0), timedelta(seconds=3)) == 0


async def test_one_without_a_heartbeat_timeout_does_not_beat() -> None:
    assert await beats_of(Activity(5), None) == 0


async def test_a_failure_is_passed_on_and_ends_the_beating() -> None:
    with pytest.raises(ValueError, match="no"):
        await beats_of(Activity(2, ValueError("no")), timedelta(seconds=3))


def test_two_beats_fit_into_every_timeout() -> None:
    """So that one that comes late, or is held back by the SDK, is taken for no death."""
    named = (
        options.ADMISSION,
        options.COMMAND,
        options.READ,
        options.PREPARE,
        options.SIGN,
        options.DELIVER,
    )
    for each in named:
        assert each["heartbeat_timeout"] >= 2 * timedelta(seconds=1) + HEARTBEAT_THROTTLE / 2
