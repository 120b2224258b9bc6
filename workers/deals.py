"""The deals worker: the deal workflow, and the records it writes as local activities."""

from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Final

from temporalio.client import Client
from temporalio.worker import Worker
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

from activities.approvals.reservations import Reservations
from activities.control.admissions import Admissions
from activities.deals.records import Records
from activities.operations.records import OperationRecords
from workers.codec_rotation import CodecRotation
from workers.runtime import checks
from workers.runtime.codec_keys import key_source
from workers.runtime.failures import FailureInterceptor
from workers.runtime.health import Health
from workers.runtime.process import BUILD_ID, database_pool, run_process
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

WORKFLOW_RUNNER = SandboxedWorkflowRunner(
    restrictions=SandboxRestrictions.default.with_passthrough_modules(
        # Pure code, checked by the import rule: loading it anew would cost every workflow a second
        # of processor time.
        "domain",
        "activities.approvals.interface",
        "activities.control.interface",
        "activities.custody.interface",
        "activities.deals.interface",
        "activities.dryrun.interface",
        "activities.payloads.interface",
        "activities.operations.interface",
        "activities.protocols.interface",
        "activities.signing.interface",
        "activities.transactions.interface",
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
    records = Records(pool)
    reservations = Reservations(pool)
    admissions = Admissions(pool)
    return [
        Worker(
            client,
            task_queue=TASK_QUEUE,
            build_id=BUILD_ID,
            workflows=WORKFLOWS,
            activities=[
                records.record_deal,
                records.find_deal,
                reservations.reserve_funding,
                reservations.release_funding,
                admissions.admit_deal,
                admissions.ask_approvals,
                admissions.record_approval,
                CodecRotation(key_source(CodecSettings.load())).rotate_codec,
                OperationRecords(pool).record_operation,
            ],
            workflow_runner=WORKFLOW_RUNNER,
            interceptors=[FailureInterceptor()],
            sticky_queue_schedule_to_start_timeout=_STICKY_FOR,
            graceful_shutdown_timeout=timedelta(seconds=settings.graceful_shutdown_seconds),
        )
    ]


if __name__ == "__main__":
    run_process("deals", DealsWorkerSettings, build)
