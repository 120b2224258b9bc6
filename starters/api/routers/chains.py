"""Chains: what their watchers saw, open alerts, and why nothing new is signed."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Path
from pydantic import Field
from starlette.responses import Response

from activities.transactions.interface import ChainReleased
from domain.chains import ChainProfile
from domain.errors import NotAllowed, NotFound
from domain.identity import Permission
from starters.api import examples
from starters.api.asking import Asking, CommandIdOf, Why, With
from starters.api.describing import endpoint
from starters.api.documents import Records, answer
from starters.api.entry import Entry
from starters.api.limiting import Rate
from starters.api.services import Services
from starters.cli.chain_view import ChainView
from starters.deals.chains import ChainReport

router = APIRouter(route_class=Entry, tags=["chains"])

ChainPath = Annotated[int, Path(ge=1, lt=2**63, description="The chain's id.", examples=[138])]


class ChainDocument(ChainReport):
    """A chain; `stale` if nobody has looked for ten blocks, or ever. Fees in wei per gas."""

    name: str | None
    stale: bool
    stale_after_seconds: int
    max_fee_per_gas_wei: str | None
    above_cap: Annotated[bool, Field(description="The base fee alone is above the engine's cap.")]


class ChainsDocument(Records):
    """What is known of the chains."""

    chains: list[ChainDocument]


@endpoint(
    router,
    "GET",
    "/chains",
    Permission.CHAIN_READ,
    Rate.READ,
    answer=ChainsDocument,
    example=examples.CHAINS,
)
async def list_chains(_: Asking, services: With) -> Response:
    """Show every chain: endpoints, head, fees, nonces, latches and alerts."""
    views = await read_chains(services)
    return answer(ChainsDocument(as_of=datetime.now(UTC), chains=list(views.values())))


@endpoint(
    router,
    "GET",
    "/chains/{chain_id}",
    Permission.CHAIN_READ,
    Rate.READ,
    answer=ChainDocument,
    example=examples.CHAINS["chains"][0],
    failures=(NotFound,),
)
async def show_chain(_: Asking, services: With, chain_id: ChainPath) -> Response:
    """Show one chain."""
    views = await read_chains(services)
    if chain_id not in views:
        raise unknown_chain(chain_id, views)
    return answer(views[chain_id])


@endpoint(
    router,
    "POST",
    "/chains/{chain_id}/release",
    Permission.CHAIN_RELEASE,
    Rate.LAUNCH,
    answer=ChainReleased,
    example=examples.CHAIN_RELEASED,
    body_example={"reason": "the node was restored, and the deals were looked at"},
    failures=(NotFound, NotAllowed),
)
async def release_chain(
    caller: Asking, services: With, command_id: CommandIdOf, chain_id: ChainPath, why: Why
) -> Response:
    """Let a latched chain be signed for again, after having looked at it; for every bank."""
    return answer(
        await services.chain_desk.release(caller, chain_id, why.reason, command_id=command_id)
    )


async def read_chains(services: Services) -> dict[int, ChainDocument]:
    """The chains that there are profiles or records of. Raises `Unavailable`."""
    profiles, reports = services.profiles, await services.chains.reports()
    return {
        chain_id: _document(chain_id, profiles.get(chain_id), reports.get(chain_id))
        for chain_id in sorted({*profiles, *reports})
    }


def unknown_chain(chain_id: int, known: dict[int, ChainDocument]) -> NotFound:
    """There is no such chain."""
    return NotFound(
        f"nothing is known of chain {chain_id}",
        field="chain_id",
        value=chain_id,
        limit=", ".join(map(str, known)) or "none",
        next_action="choose one of the chains listed",
    )


def _document(
    chain_id: int, profile: ChainProfile | None, report: ChainReport | None
) -> ChainDocument:
    view = ChainView.of(chain_id, profile, report)
    return ChainDocument.model_validate(view.document())
