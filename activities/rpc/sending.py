"""Sending the same transactions to several endpoints at once, none of which may hold it up."""

import asyncio
from collections.abc import Coroutine, Sequence
from functools import partial
from typing import Any, Final

import structlog

from activities.rpc.submission import EndpointAnswer, SendResult, Submission, together

_log = structlog.get_logger(__name__)

Answers = list[EndpointAnswer]
"""One endpoint's, in the order of the transactions."""

_GRACE_SECONDS: Final = 0.05
"""How long the others are waited for once one endpoint has taken everything."""
_PATIENCE_SECONDS: Final = 1.0
"""How long they are waited for once one has refused something."""


class Sender:
    """Waits for what matters, and lets the rest go on in the background."""

    def __init__(self) -> None:
        """Begin with nothing under way."""
        self._under_way: set[asyncio.Task[Answers]] = set()

    async def send(
        self, sendings: Sequence[Coroutine[Any, Any, Answers]], count: int
    ) -> list[Submission]:
        """What the endpoints make of so many transactions, one result for each."""
        tasks = [asyncio.create_task(sending) for sending in sendings]
        self._under_way.update(tasks)
        for task in tasks:
            task.add_done_callback(self._under_way.discard)
        answered = await _answered(tasks)
        for task in tasks:
            if not task.done():
                task.add_done_callback(partial(_hear_late, answered))
        return _together(answered, count)

    async def close(self) -> None:
        """Give up what is still under way."""
        under_way = list(self._under_way)
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)


async def _answered(tasks: list[asyncio.Task[Answers]]) -> list[Answers]:
    """The answers that are there when no more is waited for, in the order of the tasks."""
    clock = asyncio.get_running_loop().time
    pending, deadline = set(tasks), float("inf")
    while pending and clock() < deadline:
        left = None if deadline == float("inf") else deadline - clock()
        done, pending = await asyncio.wait(
            pending, timeout=left, return_when=asyncio.FIRST_COMPLETED
        )
        for task in done:
            deadline = min(deadline, clock() + _worth_waiting_after(task.result()))
    return [task.result() for task in tasks if task.done()]


def _together(answered: list[Answers], count: int) -> list[Submission]:
    return [together([answers[index] for answers in answered]) for index in range(count)]


def _hear_late(before: list[Answers], task: asyncio.Task[Answers]) -> None:
    """What contradicts the others is told even if nobody waits for it any more."""
    if task.cancelled() or task.exception() is not None:
        return
    late = task.result()
    for submission in _together([*before, late], len(late)):
        if submission.contradiction is not None:
            _log.warning("endpoints contradict each other", contradiction=submission.contradiction)


def _worth_waiting_after(answers: Answers) -> float:
    """For how many seconds others may still tell something that these answers do not."""
    results = [answer.result for answer in answers]
    if all(result.succeeded for result in results):
        return _GRACE_SECONDS
    nothing_said = all(result is SendResult.UNANSWERED for result in results)
    return float("inf") if nothing_said else _PATIENCE_SECONDS
