"""The chain worker: reads and transactions of one or more chains (``chain-<id>`` queues)."""

import argparse
from contextlib import AsyncExitStack
from datetime import timedelta
from functools import partial

import structlog
from temporalio.client import Client
from temporalio.common import WorkflowIDConflictPolicy
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import Worker

from activities.approvals.safes import Safes
from activities.dryrun.activities import DryRuns
from activities.operations.standing import Operations
from activities.protocols.activities import ProtocolReads
from activities.protocols.reader import ChainReader
from activities.rpc.client import Rpc
from activities.transactions.engine import TransactionEngine
from activities.transactions.interface import FillNonce
from activities.transactions.monitor import Fill, Tell
from domain.chains import find_chain
from domain.errors import Unavailable
from domain.tracking import Notice
from workers.runtime import checks
from workers.runtime.background import beside
from workers.runtime.failures import FailureInterceptor
from workers.runtime.health import Health
from workers.runtime.heartbeats import HEARTBEAT_THROTTLE, HeartbeatInterceptor
from workers.runtime.process import BUILD_ID, database_pool, run_process
from workers.runtime.profiles import load_profiles
from workers.runtime.settings import ChainWorkerSettings
from workflows.chain.fill import FillNonceWorkflow
from workflows.chain.fill import workflow_id as fill_id
from workflows.deal.transaction import chain_queue
from workflows.deal.workflow import TASK_QUEUE as DEALS_QUEUE
from workflows.deal.workflow import DealWorkflow, workflow_id

_log = structlog.get_logger(__name__)
_DATABASE_CONNECTIONS = 10
_CONCURRENT_ACTIVITIES = 200


async def build(
    settings: ChainWorkerSettings,
    chains: list[int],
    client: Client,
    stack: AsyncExitStack,
    health: Health,
) -> list[Worker]:
    """One worker a chain, on a queue of its own, sharing one database pool."""
    profiles = load_profiles(settings.config_dir)
    pool = await stack.enter_async_context(
        database_pool(settings.database_url.get_secret_value(), size=_DATABASE_CONNECTIONS)
    )
    health.watch("postgres", checks.database(pool.connection), without="nothing new is signed")
    workers: list[Worker] = []
    for chain_id in chains:
        profile = find_chain(profiles, chain_id)
        rpc = Rpc(profile)
        stack.push_async_callback(rpc.close)
        health.watch(
            f"node-{chain_id}",
            partial(rpc.call, "eth_blockNumber"),
            # One chain's node must not have the other chains' deals taken from their worker.
            needed=len(chains) == 1,
            without=f"nothing is sent to or read from chain {chain_id}",
        )
        reader = ChainReader(profile, rpc)
        engine = TransactionEngine(profile, rpc, reader, pool, settings.treasury_address)
        reads = ProtocolReads(reader)
        safes = Safes(reader, pool)
        operations = Operations(reader)
        dry_runs = DryRuns(reader, rpc, settings.treasury_address)
        await stack.enter_async_context(
            beside(engine.monitor(_teller(client), _filler(client)).run())
        )
        workers.append(
            Worker(
                client,
                task_queue=chain_queue(chain_id),
                build_id=BUILD_ID,
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
                    dry_runs.dry_run,
                    safes.propose_funding,
                    safes.watch_safe,
                    safes.check_signature,
                    safes.close_proposal,
                    safes.adopt_funding,
                    operations.plan_operation,
                    operations.watch_operation,
                ],
                interceptors=[HeartbeatInterceptor(), FailureInterceptor()],
                max_concurrent_activities=_CONCURRENT_ACTIVITIES,
                max_heartbeat_throttle_interval=HEARTBEAT_THROTTLE,
                graceful_shutdown_timeout=timedelta(seconds=settings.graceful_shutdown_seconds),
            )
        )
    return workers


def _teller(client: Client) -> Tell:
    """Tells deals what has become of their transactions."""

    async def tell(notice: Notice) -> None:
        handle = client.get_workflow_handle(workflow_id(notice.deal_id))
        try:
            await handle.signal(DealWorkflow.chain_notice, notice)
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:  # a deal that is closed need not know
                raise _untold(error) from error

    return tell


def _filler(client: Client) -> Fill:
    """Starts the workflow that fills a nonce, unless it runs already."""

    async def fill(order: FillNonce) -> None:
        try:
            await client.start_workflow(
                FillNonceWorkflow.run,
                order,
                id=fill_id(order),
                task_queue=DEALS_QUEUE,
                id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
                static_summary=f"Fill nonce {order.nonce} of {order.account}",
            )
        except RPCError as error:
            raise _untold(error) from error

    return fill


def _untold(error: RPCError) -> Unavailable:
    return Unavailable(
        "Temporal does not take a message for a deal",
        field="TEMPORAL_ADDRESS",
        actual=error.message,
        next_action="check that Temporal runs; the deal is told when it does",
    )


def main() -> None:
    """Run the worker for the chains named on the command line."""
    parser = argparse.ArgumentParser(prog="python -m workers.chain", description=__doc__)
    parser.add_argument("--chain", type=int, action="append", required=True, metavar="ID")
    chains: list[int] = parser.parse_args().chain
    run_process(
        "chain",
        ChainWorkerSettings,
        lambda settings, client, stack, health: build(settings, chains, client, stack, health),
    )


if __name__ == "__main__":
    main()
