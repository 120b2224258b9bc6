"""Launching a deal: everything that can be refused before its workflow exists is refused here."""

from contextlib import suppress
from pathlib import Path

from domain.chains import find_chain
from domain.deals import DealRequest, DealStatus, ensure_same_request
from domain.errors import NotFound, Unavailable
from domain.identifiers import DealId
from domain.launches import Launch
from domain.views import DealView
from starters.deals.client import DealClient
from starters.deals.failures import not_found
from starters.deals.reading import RecordsReader
from workers.runtime.profiles import load_profiles


def check_request(request: DealRequest, config_dir: Path) -> None:
    """Raise `InvalidConfiguration`, `NotFound` or `InvalidInput` unless a chain can run it."""
    find_chain(load_profiles(config_dir), request.chain_id).check_request(request)


async def launch(
    request: DealRequest, client: DealClient, records: RecordsReader, begun: Launch
) -> DealView:
    """Start a deal whose request was checked, or answer for the one that has its id.

    The records are asked first because they remember deals that Temporal has forgotten: a deal id
    is used once, for ever. Raises `Conflict`, `OutcomeUnknown` and `Unavailable`.
    """
    first = await records.find(request.deal_id)
    if first is None:
        return await client.start(request, begun)
    ensure_same_request(first.request, request)
    try:
        view = await client.view(request.deal_id)
    except NotFound:
        return first
    return await client.start(request, begun) if view.status is DealStatus.REQUESTED else view


async def newest_view(
    deal_id: DealId, client: DealClient | None, records: RecordsReader
) -> tuple[DealView, bool]:
    """Return the deal, and whether its workflow itself answered.

    The records answer when Temporal is away (`client` is None if it could not even be reached) or
    has forgotten the deal. Raises `NotFound`, and `Unavailable` if the records are away too.
    """
    if client is not None:
        with suppress(NotFound, Unavailable):
            return await client.view(deal_id), True
    recorded = await records.find(deal_id)
    if recorded is None:
        raise not_found(deal_id)
    return recorded, False
