"""Handing a command over: written down first, given once under its id, its answer kept.

The same for everything that goes to a workflow, whatever it is about.
"""

from collections.abc import Awaitable, Callable
from typing import Final, Generic, TypeVar

from pydantic import BaseModel

from domain.commands import CommandKind, CommandState, NewCommand, RecordedCommand
from domain.errors import DealError, OutcomeUnknown, Unavailable, error_from
from domain.identity import Caller
from starters.control.commands import CommandStore

A = TypeVar("A", bound=BaseModel)
C = TypeVar("C")

QUEUED: Final = frozenset({CommandKind.CANCEL, CommandKind.UNWIND})
"""What is done when Temporal returns; it brings funds home, so it is never too late for it."""


class Giving(Generic[C]):
    """Gives commands by clients of one kind. Raises the domain's errors only."""

    def __init__(self, clients: Callable[[], Awaitable[C]], commands: CommandStore) -> None:
        """Connect by this, which raises `Unavailable`; write commands down there."""
        self._clients = clients
        self._commands = commands

    async def give(
        self,
        caller: Caller,
        command: NewCommand,
        hand_over: Callable[[C], Awaitable[A]],
        answer: type[A],
    ) -> A | None:
        """Write it down, hand it over, and keep what comes of it; None if it is queued.

        The same id again is answered as the first time. Raises `Conflict` for an id that was used
        for another command, what `hand_over` refuses, `OutcomeUnknown` and `Unavailable`.
        """
        recorded = await self._commands.record(caller, command)
        if recorded.state is not CommandState.RECORDED:
            return _again(recorded, answer)
        try:
            client = await self._clients()
        except Unavailable as away:
            if recorded.kind not in QUEUED:
                await self._commands.refuse(caller, recorded, away.problem)
                raise
            await self._commands.queue(caller, recorded)
            return None
        try:
            given = await hand_over(client)
        except (OutcomeUnknown, Unavailable):
            raise  # it stays recorded: the same id again finds out
        except DealError as refused:
            await self._commands.refuse(caller, recorded, refused.problem)
            raise
        await self._commands.apply(caller, recorded, given.model_dump(mode="json"))
        return given


def heard(answer: A | None) -> A:
    """The answer to what is never queued."""
    if answer is None:
        raise AssertionError
    return answer


def _again(recorded: RecordedCommand, answer: type[A]) -> A | None:
    """Answer as the first time."""
    if recorded.state is CommandState.QUEUED:
        return None
    if recorded.problem is not None:
        raise error_from(recorded.problem)
    return answer.model_validate(recorded.answer)
