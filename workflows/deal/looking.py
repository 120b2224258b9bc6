"""What a deal looks at on the chain before it decides."""

from temporalio import workflow

from activities.protocols.interface import (
    MarketReading,
    ProtocolActivities,
    ReadMarket,
    ReadPosition,
)
from domain.identifiers import Address
from domain.positions import Position
from workflows.deal import options
from workflows.deal.state import DealState
from workflows.deal.transaction import chain_queue


async def read_market(
    deal: DealState, treasury: Address, how: options.ActivityOptions
) -> MarketReading:
    """The markets, redemption's terms and what the treasury holds; raises `ActivityError`."""
    return await workflow.execute_activity_method(
        ProtocolActivities.read_market,
        ReadMarket(request=deal.request, treasury=treasury),
        task_queue=chain_queue(deal.request.chain_id),
        summary="Look at the markets",
        **how,
    )


async def read_position(deal: DealState) -> Position:
    """What the account holds and owes now; raises `ActivityError`."""
    assert deal.account is not None  # noqa: S101 - only ever called after admission
    return await workflow.execute_activity_method(
        ProtocolActivities.read_position,
        ReadPosition(
            chain_id=deal.request.chain_id, module=deal.request.module, account=deal.account
        ),
        task_queue=chain_queue(deal.request.chain_id),
        summary="Look at what the account holds and owes",
        **options.READ,
    )


async def last_position(deal: DealState) -> Position:
    """The account as the last step left it, looked up if there was none."""
    return deal.position or await read_position(deal)
