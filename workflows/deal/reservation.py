"""What a deal's bank moves together with the deal: counted once, released if nothing was moved."""

from temporalio import workflow

from activities.approvals.interface import (
    ReleaseFunding,
    ReservationActivities,
    ReserveFunding,
)
from activities.control.interface import AdmitDeal, Admitted, ControlActivities
from activities.protocols.interface import MarketReading
from domain.approvals import Funding, funding_usd8
from workflows.deal import options
from workflows.deal.asking import ask
from workflows.deal.state import DealState
from workflows.deal.transaction import DEALS_QUEUE


async def reserve(deal: DealState, reading: MarketReading) -> Funding:
    """Count the deal with the others of its bank: do they need the owners?"""
    request, multisig = deal.request, reading.multisig
    deal.reserved = True
    return await workflow.execute_activity_method(
        ReservationActivities.reserve_funding,
        ReserveFunding(
            deal_id=request.deal_id,
            bank=request.bank,
            value_usd8=funding_usd8(request, reading.module, reading.market),
            limit_usd8=multisig.threshold_usd8,
            window_seconds=int(multisig.window.total_seconds()),
        ),
        task_queue=DEALS_QUEUE,
        summary=f"Count it with what else {request.bank} moves",
        **options.ADMISSION,
    )


async def admit(deal: DealState, reading: MarketReading) -> Admitted:
    """Have the policy decide, and count the deal with the others of its bank.

    Raises `ActivityError`, or `DealFailure`, if it may not begin.
    """
    request, multisig = deal.request, reading.multisig
    deal.reserved = True
    order = AdmitDeal(
        request=request,
        command_id=None if deal.launch is None else deal.launch.command_id,
        value_usd8=funding_usd8(request, reading.module, reading.market),
        limit_usd8=multisig.threshold_usd8,
        window_seconds=int(multisig.window.total_seconds()),
    )
    summary = f"Ask the policy, and count it with what else {request.bank} moves"
    return await ask(deal, ControlActivities.admit_deal, order, summary)


async def release(deal: DealState) -> None:
    """Count the deal no longer: it has moved nothing, and never will."""
    if not deal.reserved:
        return
    await workflow.execute_activity_method(
        ReservationActivities.release_funding,
        ReleaseFunding(deal_id=deal.request.deal_id),
        task_queue=DEALS_QUEUE,
        summary="Count it no longer: nothing was moved",
        **options.READ,
    )
