"""Deals: starting them, and commands to them."""

from collections.abc import Callable
from typing import Annotated, Any, Final

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from domain.commands import CommandKind
from domain.deals import Command, DealRequest, ExecutionMode
from domain.errors import (
    ApprovalNeeded,
    Halted,
    InvalidConfiguration,
    InvalidInput,
    LimitExceeded,
    NotAllowed,
    NotFound,
    PolicyDenied,
)
from domain.identifiers import DealId
from domain.identity import Permission
from domain.views import DealView
from starters.api import examples
from starters.api.asking import NAME, REASON, Asking, CommandIdOf, DealPath, Why, With
from starters.api.describing import F, endpoint
from starters.api.documents import DealDocument, Document, answer
from starters.api.entry import Entry
from starters.api.limiting import Rate
from starters.api.routers.deals import document_of
from starters.api.services import Services
from starters.control.giving import QUEUED
from starters.deals.launch import check_request

router = APIRouter(route_class=Entry, tags=["deals"])

_DECIMAL: Final = r"^[0-9]{1,30}(\.[0-9]{1,18})?$"
_Name = Annotated[str, Field(pattern=NAME)]
_Decimal = Annotated[str, Field(pattern=_DECIMAL)]


class RequestBody(BaseModel):
    """What a trader asks for. Ratios and ETH are decimal text: "0.30" is 30 %."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    deal_id: _Name
    bank: _Name
    module: _Name
    chain_id: Annotated[int, Field(strict=True, gt=0, lt=2**63)]
    working_liquidity: Annotated[_Decimal, Field(description="In ETH.")]
    max_ltv: _Decimal | None = None
    max_slippage: _Decimal | None = None
    cycles: Annotated[int | None, Field(strict=True, ge=1, le=20)] = None
    mode: ExecutionMode | None = None
    max_fee_per_gas_wei: Annotated[str | None, Field(pattern=r"^[1-9][0-9]{0,30}$")] = None

    def request(self) -> DealRequest:
        """The deal; raises `InvalidInput` for what no deal can be."""
        fields: dict[str, Any] = self.model_dump(exclude_none=True, exclude={"reason"})
        return DealRequest.parse(**fields)


class StartBody(RequestBody):
    """The same, and why."""

    reason: Annotated[str, Field(min_length=1, max_length=500, pattern=REASON)] = "a new deal"


class QueuedDocument(Document):
    """The command waits for Temporal, and is given once when it is back."""

    state: str = "QUEUED"
    command: Command
    deal_id: str
    command_id: str


@endpoint(
    router,
    "POST",
    "/deals",
    Permission.DEALS_START,
    Rate.LAUNCH,
    answer=DealDocument,
    example=examples.DEAL,
    status=201,
    body_example=examples.START,
    failures=(NotFound, LimitExceeded, PolicyDenied, ApprovalNeeded, Halted),
)
async def start_deal(
    caller: Asking, services: With, command_id: CommandIdOf, body: StartBody
) -> Response:
    """Start a deal, once; it is answered as soon as it is admitted or denied."""
    caller.require(Permission.DEALS_START, body.bank)
    request = checked(services, body)
    view = await services.desk.start(caller, request, why=body.reason, command_id=command_id)
    return answer(document_of(services, view, from_workflow=True), 201)


def checked(services: Services, body: RequestBody) -> DealRequest:
    """The request, if a chain of ours can run it; raises `InvalidInput` and `NotFound`."""
    request = body.request()
    try:
        check_request(request, services.settings.config_dir)
    except InvalidConfiguration as error:  # no chain of ours runs this
        problem = error.problem.model_copy(update={"code": InvalidInput.code})
        raise InvalidInput.from_problem(problem) from None
    return request


class UnwindBody(Why):
    """Why, and how much of the deal."""

    part_bps: Annotated[
        int | None,
        Field(strict=True, ge=1, lt=10_000, description="In basis points; left out: all of it."),
    ] = None


class AdoptBody(Why):
    """Why, and who answers for what may be left of the deal."""

    answers: Annotated[_Name | None, Field(description="Left out: who adopts it.")] = None


def _endpoint(command: Command, rate: Rate, body_example: Any) -> Callable[[F], F]:  # noqa: ANN401 - any JSON
    return endpoint(
        router,
        "POST",
        f"/deals/{{deal_id}}/{command}",
        Permission(f"deals.{command}"),
        rate,
        answer=DealDocument,
        example=examples.DEAL,
        queued=QueuedDocument if CommandKind(f"deal.{command}") in QUEUED else None,
        body_example=body_example,
        failures=(NotFound, NotAllowed, Halted),
    )


def _told(
    services: Services, command: Command, deal_id: str, command_id: str, view: DealView | None
) -> Response:
    if view is None:
        return answer(QueuedDocument(command=command, deal_id=deal_id, command_id=command_id), 202)
    return answer(document_of(services, view, from_workflow=True))


@_endpoint(Command.UNWIND, Rate.SAFETY, examples.REASON | {"part_bps": 2500})
async def unwind_deal(
    caller: Asking, services: With, command_id: CommandIdOf, deal_id: DealPath, body: UnwindBody
) -> Response:
    """Bring a deal's funds home, whatever its state; queued while Temporal is away."""
    view = await services.desk.give(
        caller,
        Command.UNWIND,
        DealId(deal_id),
        body.reason,
        command_id,
        part_bps=body.part_bps,
    )
    return _told(services, Command.UNWIND, deal_id, command_id, view)


@_endpoint(Command.ADOPT, Rate.CHANGE, examples.REASON | {"answers": "oncall-1"})
async def adopt_deal(
    caller: Asking, services: With, command_id: CommandIdOf, deal_id: DealPath, body: AdoptBody
) -> Response:
    """Take over a stuck deal, and say who answers for what is left of it."""
    view = await services.desk.give(
        caller,
        Command.ADOPT,
        DealId(deal_id),
        body.reason,
        command_id,
        answers=body.answers,
    )
    return _told(services, Command.ADOPT, deal_id, command_id, view)


def _add(command: Command, rate: Rate, words: str) -> None:
    async def give(
        caller: Asking, services: With, command_id: CommandIdOf, deal_id: DealPath, why: Why
    ) -> Response:
        view = await services.desk.give(caller, command, DealId(deal_id), why.reason, command_id)
        return _told(services, command, deal_id, command_id, view)

    give.__name__ = f"{command}_deal"
    give.__doc__ = words
    _endpoint(command, rate, examples.REASON)(give)


for _command, _rate, _words in (
    (
        Command.PAUSE,
        Rate.SAFETY,
        "Stop a deal before its next step; the one under way is brought to its end.",
    ),
    (Command.RESUME, Rate.LAUNCH, "Let a paused deal go on."),
    (
        Command.CANCEL,
        Rate.SAFETY,
        "Unwind a deal from where it stands; queued while Temporal is away.",
    ),
    (Command.RETRY, Rate.LAUNCH, "Try the failed step of a deal again."),
    (Command.EXPIRE, Rate.SAFETY, "End a deal that waits for people or for time."),
):
    _add(_command, _rate, _words)
