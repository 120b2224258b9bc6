"""The chain worker: reads and transactions of one or more chains (``chain-<id>`` queues)."""

import argparse
from contextlib import AsyncExitStack
from datetime import timedelta

from temporalio.client import Client
from temporalio.worker import Worker

from activities.protocols.activities import ProtocolReads
from activities.protocols.reader import ChainReader
from activities.rpc.client import Rpc
from activities.transactions.engine import TransactionEngine
from domain.chains import find_chain
from workers.runtime.failures import FailureInterceptor
from workers.runtime.heartbeats import HEARTBEAT_THROTTLE, HeartbeatInterceptor
from workers.runtime.process import database_pool, run_process
from workers.runtime.profiles import load_profiles
from workers.runtime.settings import ChainWorkerSettings
from workflows.deal.transaction import chain_queue

_DATABASE_CONNECTIONS = 10
_CONCURRENT_ACTIVITIES = 200


async def build(
    settings: ChainWorkerSettings, chains: list[int], client: Client, stack: AsyncExitStack
) -> list[Worker]:
    """One worker a chain, on a queue of its own, sharing one database pool."""
    profiles = load_profiles(settings.config_dir)
    pool = await stack.enter_async_context(
        database_pool(settings.database_url, size=_DATABASE_CONNECTIONS)
    )
    workers: list[Worker] = []
    for chain_id in chains:
        profile = find_chain(profiles, chain_id)
        rpc = Rpc(profile)
        stack.push_async_callback(rpc.close)
        reader = ChainReader(profile, rpc)
        engine = TransactionEngine(profile, rpc, reader, pool, settings.treasury_address)
        reads = ProtocolReads(reader)
        workers.append(
            Worker(
                client,
                task_queue=chain_queue(chain_id),
                activities=[
                    engine.prepare_batch,
                    engine.deliver_batch,
                    engine.abandon_batch,
                    engine.finalize_deal,
                    reads.read_market,
                    reads.read_position,
                ],
                interceptors=[HeartbeatInterceptor(), FailureInterceptor()],
                max_concurrent_activities=_CONCURRENT_ACTIVITIES,
                max_heartbeat_throttle_interval=HEARTBEAT_THROTTLE,
                graceful_shutdown_timeout=timedelta(seconds=settings.graceful_shutdown_seconds),
            )
        )
    return workers


def main() -> None:
    """Run the worker for the chains named on the command line."""
    parser = argparse.ArgumentParser(prog="python -m workers.chain", description=__doc__)
    parser.add_argument("--chain", type=int, action="append", required=True, metavar="ID")
    chains: list[int] = parser.parse_args().chain
    run_process(
        "chain",
        ChainWorkerSettings,
        lambda settings, client, stack: build(settings, chains, client, stack),
    )


if __name__ == "__main__":
    main()
