"""Releasing a chain whose signing was stopped because it took back what it had called final."""

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.transactions.interface import (
        ChainReleased,
        ReleaseChain,
        TransactionActivities,
    )
    from workflows.deal import options
    from workflows.deal.transaction import chain_queue


def workflow_id(chain_id: int) -> str:
    """The workflow that releases a chain; one at a time."""
    return f"release-chain-{chain_id}"


@workflow.defn(name="ReleaseChain")
class ReleaseChainWorkflow:
    """Clears the latch in the name of who asks for it; the history says who and why."""

    @workflow.run
    async def run(self, order: ReleaseChain) -> ChainReleased:
        """Clear it, and send out again what the chain took back."""
        return await workflow.execute_activity_method(
            TransactionActivities.release_chain,
            order,
            task_queue=chain_queue(order.chain_id),
            summary=f"Release by {order.who}: {order.why}"[:200],
            **options.READ,
        )
