"""Changes through the timelock, as they are recorded."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Path
from starlette.responses import Response

from domain.errors import NotFound, Unavailable
from domain.identity import Permission
from domain.operations import OperationId, OperationView
from starters.api import examples
from starters.api.asking import DEFAULT, NAME, Asking, ChainQuery, LimitQuery, With
from starters.api.describing import endpoint
from starters.api.documents import Records, answer
from starters.api.entry import Entry
from starters.api.limiting import Rate

router = APIRouter(route_class=Entry, tags=["operations"])

OperationPath = Annotated[
    str, Path(pattern=NAME, description="The operation's name.", examples=["lower-fee"])
]


class OperationsDocument(Records):
    """Operations, newest first."""

    operations: list[OperationView]


@endpoint(
    router,
    "GET",
    "/operations",
    Permission.OPERATIONS_READ,
    Rate.READ,
    answer=OperationsDocument,
    example={
        "source": "records",
        "as_of": "2026-11-28T12:00:00Z",
        "operations": [examples.OPERATION],
    },
)
async def list_operations(
    _: Asking, services: With, chain_id: ChainQuery = None, limit: LimitQuery = DEFAULT
) -> Response:
    """List changes of treasury, owners, destinations and terms, newest first."""
    found = await services.operations.list(chain_id, limit)
    return answer(OperationsDocument(as_of=datetime.now(UTC), operations=found))


@endpoint(
    router,
    "GET",
    "/operations/{operation_id}",
    Permission.OPERATIONS_READ,
    Rate.READ,
    answer=OperationView,
    example=examples.OPERATION,
    failures=(NotFound,),
)
async def show_operation(_: Asking, services: With, operation_id: OperationPath) -> Response:
    """Ask an operation where it stands: what it changes, its calls, and when it can be executed.

    While Temporal is away it is told as it was recorded, at `updated_at`.
    """
    name = OperationId(operation_id)
    try:
        client = await services.operation_client()
    except Unavailable:
        return answer(await services.operations.get(name))
    return answer(await client.view(name))
