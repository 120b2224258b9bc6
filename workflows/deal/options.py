"""Named sets of activity options: what may take how long, and what is tried again.

Errors that trying again cannot cure are raised as non-retryable by the activities themselves, so
the policies here only say how patiently the others are repeated.
"""

from datetime import timedelta
from typing import Final, TypedDict

from temporalio.common import RetryPolicy
from temporalio.workflow import ActivityCancellationType

_SILENCE: Final = timedelta(seconds=2.5)
"""Workers beat every second (`workers.runtime.heartbeats`): one silent for so long was killed."""

_PATIENT: Final = RetryPolicy(
    initial_interval=timedelta(seconds=0.2),
    backoff_coefficient=2,
    maximum_interval=timedelta(seconds=10),
)


class ActivityOptions(TypedDict, total=False):
    """The options of `workflow.execute_activity` that a set may fix."""

    start_to_close_timeout: timedelta
    schedule_to_close_timeout: timedelta
    heartbeat_timeout: timedelta
    retry_policy: RetryPolicy
    cancellation_type: ActivityCancellationType


class LocalActivityOptions(TypedDict, total=False):
    """The options of `workflow.execute_local_activity`."""

    start_to_close_timeout: timedelta
    schedule_to_close_timeout: timedelta
    retry_policy: RetryPolicy


ADMISSION: Final = ActivityOptions(
    start_to_close_timeout=timedelta(seconds=15),
    schedule_to_close_timeout=timedelta(seconds=60),
    heartbeat_timeout=_SILENCE,
    retry_policy=_PATIENT,
)
"""Before anything was signed: give up within a minute and deny."""

READ: Final = ActivityOptions(
    start_to_close_timeout=timedelta(seconds=15),
    heartbeat_timeout=_SILENCE,
    retry_policy=_PATIENT,
)
"""Look at the chain, for as long as it takes until a node answers."""

PREPARE: Final = ActivityOptions(
    start_to_close_timeout=timedelta(seconds=30),
    heartbeat_timeout=_SILENCE,
    retry_policy=_PATIENT,
)
"""Build and simulate, for as long as it takes."""

SIGN: Final = ActivityOptions(
    start_to_close_timeout=timedelta(seconds=30),
    heartbeat_timeout=_SILENCE,
    retry_policy=_PATIENT,
)
"""Sign, for as long as it takes until the signer is there."""

COMMAND: Final = ActivityOptions(
    start_to_close_timeout=timedelta(seconds=15),
    schedule_to_close_timeout=timedelta(seconds=60),
    heartbeat_timeout=_SILENCE,
    retry_policy=_PATIENT,
)
"""Somebody waits for the answer: give up within a minute and say why."""

RETIRE: Final = ActivityOptions(
    start_to_close_timeout=timedelta(seconds=30),
    schedule_to_close_timeout=timedelta(hours=1),
    heartbeat_timeout=_SILENCE,
    retry_policy=_PATIENT,
)
"""The deal has ended and its account is empty: after an hour it is left to a person."""

VERIFY: Final = ActivityOptions(
    start_to_close_timeout=timedelta(hours=1),
    schedule_to_close_timeout=timedelta(hours=2),
    heartbeat_timeout=_SILENCE,
    retry_policy=_PATIENT,
)
"""Recompute a journal of any length; somebody waits for the answer."""

DELIVER: Final = ActivityOptions(
    start_to_close_timeout=timedelta(minutes=30),
    heartbeat_timeout=_SILENCE,
    retry_policy=_PATIENT,
    cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
)
"""Deliver until included: never given up, since the bytes are signed."""

RECORD: Final = LocalActivityOptions(
    start_to_close_timeout=timedelta(seconds=10), retry_policy=_PATIENT
)
"""Write the records; a deal does not move on without them."""

ASK: Final = LocalActivityOptions(
    start_to_close_timeout=timedelta(seconds=15),
    schedule_to_close_timeout=timedelta(seconds=60),
    retry_policy=_PATIENT,
)
"""As `ADMISSION`, of what the deals worker itself looks up in the records."""

CLOSE: Final = ActivityOptions(
    start_to_close_timeout=timedelta(seconds=10),
    heartbeat_timeout=_SILENCE,
    retry_policy=_PATIENT,
)
"""Write the record of a deal's end, for as long as it takes."""

WATCH: Final = ActivityOptions(
    start_to_close_timeout=timedelta(hours=1),
    heartbeat_timeout=_SILENCE,
    retry_policy=_PATIENT,
)
"""Wait until something changes, for as long as it takes: an hour at a time."""

RELEASE: Final = ActivityOptions(
    start_to_close_timeout=timedelta(hours=1),
    heartbeat_timeout=timedelta(seconds=10),
    retry_policy=_PATIENT,
)
"""Wait for the end of a halt: an hour at a time, with few beats, as many deals may wait."""
