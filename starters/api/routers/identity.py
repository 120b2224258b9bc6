"""Who asks, as the API sees him."""

from typing import Annotated

from fastapi import APIRouter
from pydantic import Field
from starlette.responses import Response

from domain.identity import Permission, PrincipalKind, Role
from starters.api import examples
from starters.api.asking import Asking
from starters.api.describing import endpoint
from starters.api.documents import Document, answer
from starters.api.entry import Entry
from starters.api.limiting import Rate

router = APIRouter(route_class=Entry, tags=["identity"])


class WhoamiDocument(Document):
    """The caller: what he may do, for which banks, and by which credential he is known."""

    principal: str
    kind: PrincipalKind
    roles: list[Role]
    banks: Annotated[list[str], Field(description="`*` alone: every bank.")]
    max_deal_usd8: Annotated[str, Field(description="The largest deal, in 1e-8 USD.")]
    groups: list[str]
    permissions: Annotated[list[Permission], Field(description="With this credential.")]
    credential: Annotated[str | None, Field(description="Its id; never the secret.")]
    address: str | None


@endpoint(
    router,
    "GET",
    "/whoami",
    None,
    Rate.READ,
    answer=WhoamiDocument,
    example=examples.WHOAMI,
)
async def whoami(caller: Asking) -> Response:
    """Show who you are to the API, and what you may do with this credential."""
    principal = caller.principal
    return answer(
        WhoamiDocument(
            principal=principal.principal_id,
            kind=principal.kind,
            roles=sorted(principal.roles),
            banks=sorted(principal.banks),
            max_deal_usd8=str(principal.max_deal_usd8),
            groups=sorted(principal.groups),
            permissions=[each for each in Permission if caller.may(each)],
            credential=caller.credential,
            address=caller.address,
        )
    )
