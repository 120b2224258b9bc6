"""Dry runs: what a deal would do, and how its launch would be decided."""

from fastapi import APIRouter
from starlette.responses import Response

from domain.errors import (
    LimitExceeded,
    NoPrediction,
    NotAllowed,
    NotFound,
    PostConditionFailed,
    RedemptionFrozen,
    SimulationFailed,
    SizingRefused,
)
from domain.identity import Permission
from starters.api import examples
from starters.api.asking import Asking, With
from starters.api.describing import endpoint
from starters.api.documents import answer
from starters.api.entry import Entry
from starters.api.limiting import Rate
from starters.api.routers.commands import RequestBody, checked
from starters.control.dry_runs import DryRunReport

router = APIRouter(route_class=Entry, tags=["dry runs"])


@endpoint(
    router,
    "POST",
    "/dry-runs",
    Permission.DEALS_START,
    Rate.LAUNCH,
    answer=DryRunReport,
    example=examples.DRY_RUN,
    body_example=examples.START,
    failures=(
        NotFound,
        LimitExceeded,
        SizingRefused,
        SimulationFailed,
        NoPrediction,
        RedemptionFrozen,
        PostConditionFailed,
        NotAllowed,
    ),
)
async def run_dry(caller: Asking, services: With, body: RequestBody) -> Response:
    """Say what a deal would do, step by step, and whether and by which rule it would be admitted.

    Nothing is recorded, signed or sent. What its size or its chain would refuse it for is an error;
    what the policy or a halt would deny it for is in the `outlook`, with the approvals it needs.
    """
    caller.require(Permission.DEALS_START, body.bank)
    return answer(await services.dry_runs.run(caller, checked(services, body)))
