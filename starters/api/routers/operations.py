"""Changes through the timelock: listed, asked, proposed, cancelled."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Path
from pydantic import Field, ValidationError
from starlette.responses import Response

from domain.deals import invalid_input_from
from domain.errors import NotAllowed, NotFound
from domain.identity import Permission
from domain.operations import Change, OperationId, OperationRequest, OperationView
from starters.api import examples
from starters.api.asking import (
    DEFAULT,
    NAME,
    Asking,
    ChainQuery,
    CommandIdOf,
    LimitQuery,
    Why,
    With,
)
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


class ProposeBody(Why):
    """A change, and why. Without a delay it is the shortest that the timelock allows."""

    operation_id: Annotated[str, Field(pattern=NAME)]
    chain_id: Annotated[int, Field(strict=True, gt=0, lt=2**63)]
    module: Annotated[str, Field(pattern=NAME)]
    change: Change
    delay_seconds: Annotated[int, Field(strict=True, ge=1, lt=2**31)] | None = None

    def request(self, who: str) -> OperationRequest:
        """The operation in somebody's name; raises `InvalidInput` for what none can be."""
        fields = {name: value for name, value in self if name != "reason"}
        try:
            return OperationRequest.model_validate(fields | {"who": who, "why": self.reason})
        except ValidationError as error:
            raise invalid_input_from(error) from None


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
    caller: Asking, services: With, chain_id: ChainQuery = None, limit: LimitQuery = DEFAULT
) -> Response:
    """List changes of treasury, owners, destinations and terms, newest first."""
    found = await services.operation_desk.list(caller, chain_id, limit)
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
async def show_operation(caller: Asking, services: With, operation_id: OperationPath) -> Response:
    """Ask an operation where it stands: what it changes, its calls, and when it can be executed.

    While Temporal is away it is told as it was recorded, at `updated_at`.
    """
    return answer(await services.operation_desk.view(caller, OperationId(operation_id)))


@endpoint(
    router,
    "POST",
    "/operations",
    Permission.OPERATIONS_ACT,
    Rate.CHANGE,
    answer=OperationView,
    example=examples.OPERATION,
    status=201,
    body_example={
        "operation_id": "lower-fee",
        "chain_id": 138,
        "module": "usdtz",
        "change": {"kind": "redemption_fee", "fee_bps": 5},
        "delay_seconds": 172800,
        "reason": "agreed terms",
    },
)
async def propose_operation(
    caller: Asking, services: With, command_id: CommandIdOf, body: ProposeBody
) -> Response:
    """Schedule a change in the timelock; it is executed by itself when the delay is over."""
    request = body.request(caller.who)
    return answer(await services.operation_desk.propose(caller, request, command_id), 201)


@endpoint(
    router,
    "POST",
    "/operations/{operation_id}/cancel",
    Permission.OPERATIONS_ACT,
    Rate.SAFETY,
    answer=OperationView,
    example=examples.OPERATION | {"status": "CANCELLED", "cancelled_by": "admin-2"},
    body_example={"reason": "not agreed after all"},
    failures=(NotFound, NotAllowed),
)
async def cancel_operation(
    caller: Asking, services: With, command_id: CommandIdOf, operation_id: OperationPath, why: Why
) -> Response:
    """Cancel an operation before it is executed."""
    view = await services.operation_desk.cancel(
        caller, OperationId(operation_id), why.reason, command_id
    )
    return answer(view)
