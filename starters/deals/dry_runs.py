"""Running a request dry before it is a deal: what the command line and the API both do."""

import asyncio
from datetime import timedelta
from typing import Final
from uuid import uuid4

from temporalio.client import Client

from activities.dryrun.interface import DryRun, DryRunResult
from domain.deals import DealRequest
from domain.errors import Unavailable
from domain.identity import Caller, Permission
from starters.deals.failures import About, errors_about
from workflows.deal.workflow import TASK_QUEUE
from workflows.dryrun.workflow import DryRunWorkflow, workflow_id

_ANSWER_SECONDS: Final = 75
"""A little longer than the workflow lets its activity try."""


async def dry_run(client: Client, request: DealRequest, caller: Caller) -> DryRunResult:
    """What the request would do as a deal; nothing is recorded, signed or sent.

    `caller` must be allowed to start it. Raises `Forbidden`, what the deal would be refused for,
    `NoPrediction` if its chain's nodes cannot simulate, and `Unavailable`.
    """
    caller.require(Permission.DEALS_START, request.bank)
    about = About(f"the dry run of {request.deal_id}", "deal_id", request.deal_id)
    try:
        async with asyncio.timeout(_ANSWER_SECONDS):
            with errors_about(about):
                return await client.execute_workflow(
                    DryRunWorkflow.run,
                    DryRun(request=request),
                    id=workflow_id(request.deal_id, uuid4().hex),
                    task_queue=TASK_QUEUE,
                    execution_timeout=timedelta(seconds=_ANSWER_SECONDS),
                    static_summary=f"{request.working_liquidity} ETH for {request.bank}, dry",
                )
    except TimeoutError as error:
        raise Unavailable(
            f"no worker answers for the dry run of {request.deal_id}",
            field="deal_id",
            value=request.deal_id,
            limit=f"an answer within {_ANSWER_SECONDS} s",
            next_action="check that the deals and chain workers run, and try again",
        ) from error
