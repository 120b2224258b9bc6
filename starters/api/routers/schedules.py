"""What happens by itself, in time."""

from fastapi import APIRouter
from starlette.responses import Response

from domain.identity import Permission
from starters.api import examples_keys as shown
from starters.api.asking import Asking, CommandIdOf, Why, With
from starters.api.describing import endpoint
from starters.api.documents import answer
from starters.api.entry import Entry
from starters.api.limiting import Rate
from starters.control.schedules import SchedulesApplied

router = APIRouter(route_class=Entry, tags=["schedules"])


@endpoint(
    router,
    "POST",
    "/schedules/apply",
    Permission.SCHEDULES_ACT,
    Rate.CHANGE,
    answer=SchedulesApplied,
    example=shown.SCHEDULES,
    body_example={"reason": "a new version"},
)
async def apply_schedules(
    caller: Asking, services: With, command_id: CommandIdOf, why: Why
) -> Response:
    """Have Temporal keep every schedule as this version has it; pauses and history stay."""
    return answer(await services.schedule_desk.apply(caller, why.reason, command_id))
