"""The deals worker: the deal workflow, and the records it writes as local activities.

Deals that wait for the end of a halt do so here as well, on a queue of their own; and commands that
were given while Temporal was away are delivered from here.
"""

from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Final

from temporalio.client import Client
from temporalio.worker import Worker
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

from activities.approvals.reservations import Reservations
from activities.control.admissions import Admissions
from activities.deals.records import Records
from activities.halts.interface import HALTS_QUEUE
from activities.halts.standing import Halts, Releases
from activities.operations.records import OperationRecords
from workers.codec_rotation import CodecRotation
from workers.dispatch import Dispatcher
from workers.runtime import checks
from workers.runtime.background import beside
from workers.runtime.codec_keys import key_source
from workers.runtime.failures import FailureInterceptor
from workers.runtime.health import Health
from workers.runtime.heartbeats import HeartbeatInterceptor
from workers.runtime.process import BUILD_ID, database_pool, run_process
from workers.runtime.sandbox import ContextFreeRunner
from workers.runtime.settings import CodecSettings, DealsWorkerSettings
from workflows.chain.fill import FillNonceWorkflow
from workflows.chain.release import ReleaseChainWorkflow
from workflows.deal.adopted import AdoptedDealWorkflow
from workflows.deal.workflow import TASK_QUEUE, DealWorkflow
from workflows.dryrun.workflow import DryRunWorkflow
from workflows.keys.requests import (
    ListKeysWorkflow,
    ReinstateKeyWorkflow,
    RetireKeyWorkflow,
    VerifyJournalWorkflow,
)
from workflows.keys.rotation import RotateKeysWorkflow
from workflows.operations.workflow import CriticalOperationWorkflow
from workflows.payloads.rotation import RotateCodecWorkflow

_DATABASE_CONNECTIONS = 10
_WAITING_DEALS: Final = 5_000
_STICKY_FOR = timedelta(seconds=2)
"""After that, another worker may take what was kept for one that was killed."""

WORKFLOWS: Final = (
    DealWorkflow,
    DryRunWorkflow,
    AdoptedDealWorkflow,
    FillNonceWorkflow,
    ReleaseChainWorkflow,
    ListKeysWorkflow,
    RetireKeyWorkflow,
    ReinstateKeyWorkflow,
    RotateKeysWorkflow,
    VerifyJournalWorkflow,
    RotateCodecWorkflow,
    CriticalOperationWorkflow,
)

WORKFLOW_RUNNER = ContextFreeRunner(
    SandboxedWorkflowRunner(
        restrictions=SandboxRestrictions.default.with_passthrough_modules(
            # Pure code, checked by the import rule: loading it anew would cost every workflow a
            # second of processor time.
            "domain",
            "activities.approvals.interface",
            "activities.control.interface",
            "activities.custody.interface",
            "activities.deals.interface",
            "activities.dryrun.interface",
            "activities.halts.interface",
            "activities.payloads.interface",
            "activities.operations.interface",
            "activities.protocols.interface",
            "activities.signing.interface",
            "activities.transactions.interface",
        )
    )
)


async def build(
    settings: DealsWorkerSettings, client: Client, stack: AsyncExitStack, health: Health
) -> list[Worker]:
    """The worker of the ``deals`` queue."""
    pool = await stack.enter_async_context(
        database_pool(settings.database_url.get_secret_value(), size=_DATABASE_CONNECTIONS)
    )
    health.watch("postgres", checks.database(pool.connection), without="no deal is recorded")
    records, reservations = Records(pool), Reservations(pool)
    releases = Releases(Halts(pool))
    admissions = Admissions(pool)
    await stack.enter_async_context(beside(Dispatcher(pool, client).run()))
    drain = timedelta(seconds=settings.graceful_shutdown_seconds)
    return [
        _halts_worker(client, releases),
        Worker(
            client,
            task_queue=TASK_QUEUE,
            build_id=BUILD_ID,
            workflows=WORKFLOWS,
            activities=[
                records.record_deal,
                records.find_deal,
                releases.ensure_active,
                reservations.reserve_funding,
                reservations.release_funding,
                admissions.admit_deal,
                admissions.find_policy,
                admissions.ask_approvals,
                admissions.record_approval,
                CodecRotation(key_source(CodecSettings.load())).rotate_codec,
                OperationRecords(pool).record_operation,
            ],
            workflow_runner=WORKFLOW_RUNNER,
            interceptors=[FailureInterceptor()],
            sticky_queue_schedule_to_start_timeout=_STICKY_FOR,
            graceful_shutdown_timeout=drain,
        ),
    ]


def _halts_worker(client: Client, releases: Releases) -> Worker:
    """Where deals wait for releases: many, for long, and none is waited for when this stops."""
    return Worker(
        client,
        task_queue=HALTS_QUEUE,
        build_id=BUILD_ID,
        activities=[releases.await_release],
        interceptors=[HeartbeatInterceptor(), FailureInterceptor()],
        max_concurrent_activities=_WAITING_DEALS,
        graceful_shutdown_timeout=timedelta(),
    )


if __name__ == "__main__":
    run_process("deals", DealsWorkerSettings, build)
