"""A Temporal server of its own, with the real workflow and scripted activities."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from itertools import count
from typing import Any
from uuid import uuid4

import pytest
from temporalio.client import Client, WorkflowHandle
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from activities.halts.interface import HALTS_QUEUE
from domain.deals import Command, DealRequest
from domain.identifiers import DealId
from domain.identity import PrincipalId, Via
from domain.launches import Launch
from domain.views import DealView
from starters.deals.client import DealClient
from starters.local import temporal
from tests.support.codec import encrypting_converter
from tests.support.desk import WITHIN, first_view
from tests.support.namespace import polling
from tests.workflows.fakes import (
    CHAIN,
    FakeControl,
    FakeCustody,
    FakeDryRuns,
    FakeEngine,
    FakeReads,
    FakeRecords,
    FakeReleases,
    FakeReservations,
    FakeSafes,
    FakeSigner,
    Script,
    scripts,
)
from workers.deals import WORKFLOW_RUNNER, WORKFLOWS
from workflows.deal.messages import CommandMessage
from workflows.deal.transaction import SIGNER_QUEUE, chain_queue
from workflows.deal.workflow import TASK_QUEUE, DealWorkflow, workflow_id

_numbers = count(1)
LAUNCH = Launch(command_id="c-theatre", initiator=PrincipalId("trader"), via=Via.CLI)


@dataclass(frozen=True)
class Theatre:
    """Where deals follow scripts."""

    client: Client
    deals: DealClient

    async def start(self, script: Script, **changes: Any) -> DealView:
        """Start a deal that follows the script."""
        return await self.deals.start(self.request(script, **changes), LAUNCH)

    def request(self, script: Script, **changes: Any) -> DealRequest:
        """A request for a deal that will follow the script."""
        fields: dict[str, Any] = {
            "deal_id": f"scripted-{next(_numbers)}",
            "bank": "bank-one",
            "module": "usdtz",
            "chain_id": CHAIN,
            "working_liquidity": "9",
        }
        request = DealRequest.parse(**fields | changes)
        scripts[request.deal_id] = script
        return request

    async def run(self, script: Script, **changes: Any) -> DealView:
        """Run a deal that follows the script to its end."""
        return await self.end((await self.start(script, **changes)).request.deal_id)

    async def end(self, deal_id: DealId) -> DealView:
        """The deal as its workflow ended."""
        async with asyncio.timeout(WITHIN):
            return await self.handle(deal_id).result()

    async def until(self, deal_id: DealId, holds: Callable[[DealView], object]) -> DealView:
        """The first view that this holds of."""
        return await first_view(self.deals, deal_id, holds)

    async def command(self, deal_id: DealId, command: Command) -> DealView:
        """Give a command."""
        message = CommandMessage(who="on-call", why="a test")
        return await self.deals.command(deal_id, command, message, uuid4().hex)

    def handle(self, deal_id: DealId) -> WorkflowHandle[DealWorkflow, DealView]:
        """The deal's workflow."""
        return self.client.get_workflow_handle_for(DealWorkflow.run, workflow_id(deal_id))


@pytest.fixture(scope="session")
async def theatre() -> AsyncIterator[Theatre]:
    """The server, and workers with fakes on every queue."""
    async with await WorkflowEnvironment.start_local(
        data_converter=encrypting_converter(),
        dev_server_existing_path=str(await asyncio.to_thread(temporal.ensure_temporal)),
        dev_server_log_level="error",
        dev_server_extra_args=[
            f"--dynamic-config-value={key}={value}"
            for key, value in temporal.DYNAMIC_CONFIG.items()
        ],
    ) as environment:
        client = environment.client
        engine, signer, reads = FakeEngine(), FakeSigner(), FakeReads()
        reservations, safes = FakeReservations(), FakeSafes()
        control = FakeControl()
        custody = FakeCustody()
        workers = [
            Worker(
                client,
                task_queue=TASK_QUEUE,
                workflows=WORKFLOWS,
                activities=[
                    FakeRecords().record_deal,
                    FakeRecords().find_deal,
                    FakeReleases().ensure_active,
                    reservations.reserve_funding,
                    reservations.release_funding,
                    control.admit_deal,
                    control.find_policy,
                    control.ask_approvals,
                    control.record_approval,
                ],
                workflow_runner=WORKFLOW_RUNNER,
            ),
            Worker(client, task_queue=HALTS_QUEUE, activities=[FakeReleases().await_release]),
            Worker(
                client,
                task_queue=SIGNER_QUEUE,
                activities=[
                    signer.open_account,
                    signer.fund_from_safe,
                    signer.sign_batch,
                    signer.withhold_batch,
                    custody.retire_account,
                    custody.reinstate_account,
                    custody.list_keys,
                    custody.rotate_keys,
                    custody.verify_journal,
                ],
            ),
            Worker(
                client,
                task_queue=chain_queue(CHAIN),
                activities=[
                    engine.prepare_batch,
                    engine.deliver_batch,
                    engine.abandon_batch,
                    engine.finalize_deal,
                    engine.find_batches,
                    engine.replace_transaction,
                    engine.send_attempts,
                    engine.plan_no_op,
                    engine.release_chain,
                    reads.read_market,
                    reads.read_position,
                    reads.watch_redemption,
                    FakeDryRuns().dry_run,
                    safes.propose_funding,
                    safes.watch_safe,
                    safes.check_signature,
                    safes.close_proposal,
                    safes.adopt_funding,
                ],
            ),
        ]
        async with polling(workers):
            yield Theatre(client, DealClient(client))
