"""The schedules as a caller may have them kept, by command line and API alike."""

from collections.abc import Awaitable, Callable

from pydantic import BaseModel, ConfigDict
from temporalio.client import Client

from domain.commands import CommandKind, NewCommand
from domain.identity import Caller, Permission
from starters.control.commands import CommandStore
from starters.control.giving import Giving, heard
from starters.schedules import Applied, apply_schedules

_ALL = "schedules"


class SchedulesApplied(BaseModel):
    """Every schedule as it is kept now."""

    model_config = ConfigDict(frozen=True)

    schedules: tuple[Applied, ...]


class ScheduleDesk:
    """Schedules for callers."""

    def __init__(self, clients: Callable[[], Awaitable[Client]], commands: CommandStore) -> None:
        """Talk to Temporal by these clients, which raise `Unavailable`; write commands there."""
        self._giving = Giving(clients, commands)

    async def apply(self, caller: Caller, why: str, command_id: str) -> SchedulesApplied:
        """Have Temporal keep every schedule as this version has it.

        Raises `Forbidden` and `Unavailable`.
        """
        caller.require(Permission.SCHEDULES_ACT)
        command = NewCommand(
            command_id=command_id,
            kind=CommandKind.APPLY_SCHEDULES,
            subject=_ALL,
            body={},
            why=why,
        )
        return heard(await self._giving.give(caller, command, _applied, SchedulesApplied))


async def _applied(client: Client) -> SchedulesApplied:
    return SchedulesApplied(schedules=await apply_schedules(client))
