"""What endpoints take from a request: who asks, the services, and usual parameters."""

from typing import Annotated, Final

from fastapi import Depends, Path, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request

from domain.errors import NotFound
from domain.identifiers import DealId
from domain.identity import Caller
from starters.api.services import Services
from starters.deals.paging import DEFAULT_LIMIT, MAX_LIMIT

NAME: Final = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"
REASON: Final = r"^[^\x00]*[^\s\x00][^\x00]*$"
"""Something to read, and no NUL, which Postgres does not keep."""


def _caller(request: Request) -> Caller:
    caller: Caller = request.state.caller
    return caller


def _services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


def _command_id(request: Request) -> str:
    command_id: str = request.state.command_id
    return command_id


Asking = Annotated[Caller, Depends(_caller)]
"""Who asks; the guard has let him in."""
With = Annotated[Services, Depends(_services)]
CommandIdOf = Annotated[str, Depends(_command_id)]
"""The id of the command that the request gives, derived from its Idempotency-Key."""

DealPath = Annotated[str, Path(pattern=NAME, description="The deal's id.", examples=["alpha"])]
BankQuery = Annotated[
    str | None, Query(pattern=NAME, description="Only this bank's.", examples=["bank-one"])
]
ChainQuery = Annotated[
    int | None, Query(ge=1, lt=2**63, description="Only on this chain.", examples=[138])
]
LimitQuery = Annotated[int, Query(ge=1, le=MAX_LIMIT, description="At most so many.")]
CursorQuery = Annotated[
    str | None,
    Query(min_length=1, max_length=500, description="`next_cursor` of the page before."),
]
DEFAULT: Final = DEFAULT_LIMIT


class Why(BaseModel):
    """Why something is done; it is kept for ever."""

    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)

    reason: Annotated[str, Field(min_length=1, max_length=500, pattern=REASON)]


def see(caller: Caller, bank: str, hidden: NotFound) -> None:
    """Raise `hidden` if the bank is not the caller's: there is no such thing for him."""
    if not caller.principal.has_bank(bank):
        raise hidden


def deal_id_of(text: str) -> DealId:
    """A deal's id, whose form the path has checked."""
    return DealId(text)
