"""Halts: stopping what adds risk, and letting it go on. They need Postgres and nothing else."""

from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Path
from pydantic import Field
from starlette.responses import Response

from domain.errors import NotAllowed, NotFound
from domain.halts import Halt, Scope, TradingState
from domain.identity import Permission
from starters.api import examples
from starters.api.asking import Asking, CommandIdOf, Why, With
from starters.api.describing import endpoint
from starters.api.documents import Document, Records, answer
from starters.api.entry import Entry
from starters.api.limiting import Rate
from starters.control.halts import HaltChange

router = APIRouter(route_class=Entry, tags=["halts"])

_SCOPE: Final = r"^(desk|(bank|module)=[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?|chain=[1-9][0-9]{0,18})$"
_WORDS: Final = "desk, bank=ID, chain=ID or module=ID."
_Version = Annotated[
    int | None,
    Field(
        strict=True,
        ge=0,
        lt=2**31,
        description="What the halt must be at, 0: never halted; else 409. Left out: any.",
    ),
]
ScopePath = Annotated[str, Path(pattern=_SCOPE, description=_WORDS, examples=["bank=bank-one"])]


class HaltDocument(Document):
    """Where one scope stands; none of `set_by` may release it. `version` counts the changes."""

    scope: str
    state: TradingState
    who: str
    why: str
    since: datetime
    set_by: list[str]
    version: int

    @classmethod
    def of(cls, halt: Halt) -> "HaltDocument":
        """The scope as it is typed."""
        return cls(**_fields(halt))


class HaltChangeDocument(HaltDocument):
    """The scope as it stands after the request; `changed`: whether that changed anything."""

    changed: bool


class HaltsDocument(Records):
    """Every scope that was ever halted, as far as the caller's banks go."""

    halts: list[HaltDocument]


class SetHaltBody(Why):
    """What to halt, how far, and why."""

    scope: Annotated[str, Field(pattern=_SCOPE, description=_WORDS)]
    state: Annotated[
        Literal["HALTED", "REDUCING"], Field(description="HALTED: deals wait; REDUCING: unwind.")
    ] = "HALTED"
    version: _Version = None


class ReleaseHaltBody(Why):
    """Why, and how far to release it."""

    state: Annotated[
        Literal["ACTIVE", "REDUCING"], Field(description="ACTIVE, or REDUCING first.")
    ] = "ACTIVE"
    version: _Version = None


@endpoint(
    router,
    "GET",
    "/halts",
    Permission.HALTS_READ,
    Rate.READ,
    answer=HaltsDocument,
    example={"source": "records", "as_of": examples.HALT["since"], "halts": [examples.HALT]},
)
async def list_halts(caller: Asking, services: With) -> Response:
    """Show what is halted, by whom, why and since when."""
    halts = await services.halts.all(caller)
    found = [HaltDocument.of(halt) for halt in halts]
    return answer(HaltsDocument(as_of=datetime.now(UTC), halts=found))


@endpoint(
    router,
    "POST",
    "/halts",
    Permission.HALTS_SET,
    Rate.SAFETY,
    answer=HaltChangeDocument,
    example=examples.HALT | {"changed": True},
    body_example=examples.REASON | {"scope": "bank=bank-one", "state": "HALTED"},
)
async def set_halt(
    caller: Asking, services: With, command_id: CommandIdOf, body: SetHaltBody
) -> Response:
    """Halt at once: from this moment nothing that adds risk goes out, exits go on.

    It takes nobody else; to release it does. It needs neither Temporal, nor Redis, nor a node.
    """
    return _told(
        await services.halts.set(
            caller,
            Scope.parse(body.scope),
            body.reason,
            TradingState(body.state),
            command_id=command_id,
            version=body.version,
        )
    )


@endpoint(
    router,
    "POST",
    "/halts/{scope}/release",
    Permission.HALTS_RELEASE,
    Rate.LAUNCH,
    answer=HaltChangeDocument,
    example=examples.HALT | {"state": "ACTIVE", "set_by": [], "version": 2, "changed": True},
    body_example=examples.REASON | {"state": "ACTIVE"},
    failures=(NotFound, NotAllowed),
)
async def release_halt(
    caller: Asking,
    services: With,
    command_id: CommandIdOf,
    scope: ScopePath,
    body: ReleaseHaltBody,
) -> Response:
    """Release a halt that somebody else has set; waiting deals go on by themselves."""
    return _told(
        await services.halts.release(
            caller,
            Scope.parse(scope),
            body.reason,
            TradingState(body.state),
            command_id=command_id,
            version=body.version,
        )
    )


def _told(change: HaltChange) -> Response:
    return answer(HaltChangeDocument(**_fields(change.halt), changed=change.changed))


def _fields(halt: Halt) -> dict[str, Any]:
    return halt.model_dump() | {"scope": str(halt.scope)}
