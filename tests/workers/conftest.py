"""A real Temporal and a real Postgres, for what connects to them."""

from collections.abc import AsyncIterator

import pytest
from temporalio.testing import WorkflowEnvironment

from starters.local.temporal import ensure_temporal
from tests.support.codec import codec_variables
from tests.support.postgres import Postgres


@pytest.fixture(scope="session")
def codec(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What tells a process of one key file."""
    return codec_variables(tmp_path_factory.mktemp("codec"))


@pytest.fixture
def encrypted(codec: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Have this process, and those it starts, encrypt with the keys of that file."""
    for name, value in codec.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="session")
async def temporal_address() -> AsyncIterator[str]:
    """Where a development server listens."""
    server = await WorkflowEnvironment.start_local(
        dev_server_existing_path=str(ensure_temporal()), dev_server_log_level="error"
    )
    async with server:
        yield server.client.service_client.config.target_host


@pytest.fixture(scope="session")
def database_url(postgres: Postgres) -> str:
    """An empty database of a real Postgres."""
    return postgres.empty().owner
