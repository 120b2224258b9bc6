"""Releasing a chain: letting it be signed for again after a person has looked."""

import asyncio
from typing import Final

from temporalio.client import Client, WorkflowHandle
from temporalio.common import WorkflowIDConflictPolicy

from activities.transactions.interface import ChainReleased, ReleaseChain
from domain.errors import OutcomeUnknown, Unavailable
from starters.deals.failures import About, errors_about
from workflows.chain.release import ReleaseChainWorkflow, workflow_id
from workflows.deal.workflow import TASK_QUEUE

_ANSWER_SECONDS: Final = 60


async def release_chain(client: Client, order: ReleaseChain) -> ChainReleased:
    """Clear the chain's latch; those who ask at the same time get the same answer.

    Raises `OutcomeUnknown` if none comes (asking again is safe), and `Unavailable` if nothing was
    asked.
    """
    about = About(f"chain {order.chain_id}", "chain", order.chain_id)
    with errors_about(about):
        handle: WorkflowHandle[ReleaseChainWorkflow, ChainReleased] = await client.start_workflow(
            ReleaseChainWorkflow.run,
            order,
            id=workflow_id(order.chain_id),
            task_queue=TASK_QUEUE,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            static_summary=f"{order.who}: {order.why}"[:200],
        )
    try:
        async with asyncio.timeout(_ANSWER_SECONDS):
            with errors_about(about):
                return await handle.result()
    except (TimeoutError, Unavailable) as error:
        raise OutcomeUnknown(
            f"it is not known whether chain {order.chain_id} was released",
            field="chain",
            value=order.chain_id,
            limit=f"an answer within {_ANSWER_SECONDS} s",
            actual="none",
            next_action="check that the workers run, look at `deal chain status`, and ask again",
        ) from error
