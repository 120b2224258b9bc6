"""Results that can still change: waiting until none can, and noticing when one has."""

from temporalio import workflow

from activities.transactions.interface import (
    FinalizeDeal,
    FinalTransactions,
    TransactionActivities,
)
from workflows.deal import options
from workflows.deal.failures import DealFailure
from workflows.deal.recording import Recording
from workflows.deal.state import DealState
from workflows.deal.transaction import chain_queue


async def wait_for_finality(deal: DealState, recording: Recording) -> None:
    """Wait until nothing can be undone; raise `DealFailure` if something ended up otherwise."""
    if not deal.all_final:
        final: FinalTransactions = await workflow.execute_activity_method(
            TransactionActivities.finalize_deal,
            FinalizeDeal(deal_id=deal.request.deal_id, chain_id=deal.request.chain_id),
            task_queue=chain_queue(deal.request.chain_id),
            summary="Wait until every transaction is final",
            **options.DELIVER,
        )
        deal.take_receipts(final.receipts)
        deal.undone.clear()
    await note_moves(deal, recording)


async def note_moves(deal: DealState, recording: Recording) -> None:
    """Record the steps that are in other blocks now, and stop if a result is another."""
    while deal.moved:
        place = min(deal.moved)
        deal.moved.discard(place)
        await recording.record(deal.steps[place])
    if deal.overturned is not None:
        raise DealFailure(deal.overturned)
