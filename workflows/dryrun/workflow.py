"""A dry run for somebody who thinks about starting a deal; only its history is kept."""

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.dryrun.interface import DryRun, DryRunActivities, DryRunResult
    from domain.identifiers import DealId
    from workflows.deal import options
    from workflows.deal.transaction import chain_queue


def workflow_id(deal_id: DealId, asked: str) -> str:
    """The workflow of one dry run; `asked` tells it from others of the same deal id."""
    return f"dry-run-{deal_id}-{asked}"


@workflow.defn(name="DryRun")
class DryRunWorkflow:
    """Runs one request dry; fails with what a real deal would meet."""

    @workflow.run
    async def run(self, order: DryRun) -> DryRunResult:
        """Run it on its chain's worker."""
        return await workflow.execute_activity_method(
            DryRunActivities.dry_run,
            order,
            task_queue=chain_queue(order.request.chain_id),
            summary=f"{order.request.working_liquidity} ETH for {order.request.bank}, dry",
            **options.ADMISSION,
        )
