"""Workers of this very process in a Temporal namespace of their own, beside those of the stack."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from uuid import uuid4

from google.protobuf.duration_pb2 import Duration
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest, RegisterNamespaceRequest
from temporalio.client import Client
from temporalio.service import RPCError
from temporalio.worker import Worker

from starters.local.stack import Stack
from starters.local.state import load_environment
from tests.support.stacks import own_environment
from workers.runtime.connect import connect, silent_runtime

_RETENTION = Duration(seconds=int(timedelta(days=1).total_seconds()))
_ATTEMPTS = 200
_PAUSE_SECONDS = 0.05


async def fresh_namespace(stack: Stack) -> Client:
    """Register a namespace on the stack's server and connect to it as workers do."""
    name = f"tests-{uuid4().hex[:8]}"
    environment = load_environment(stack.folder)
    with own_environment(environment):
        service = (await connect(runtime=silent_runtime())).workflow_service
    await service.register_namespace(
        RegisterNamespaceRequest(namespace=name, workflow_execution_retention_period=_RETENTION)
    )
    for _ in range(_ATTEMPTS):  # the server takes a moment to know it everywhere
        try:
            await service.describe_namespace(DescribeNamespaceRequest(namespace=name))
            with own_environment(environment | {"TEMPORAL_NAMESPACE": name}):
                client = await connect(runtime=silent_runtime())
            await client.count_workflows()
        except RPCError:
            await asyncio.sleep(_PAUSE_SECONDS)
        else:
            return client
    msg = f"namespace {name} did not come up"
    raise AssertionError(msg)


@asynccontextmanager
async def polling(workers: Sequence[Worker]) -> AsyncIterator[None]:
    """Run the workers until this ends."""
    running = [asyncio.create_task(worker.run()) for worker in workers]
    try:
        yield
    finally:
        await asyncio.gather(*(worker.shutdown() for worker in workers))
        await asyncio.gather(*running)
