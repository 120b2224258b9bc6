"""The real servers that several test folders share, started when the first test asks for one."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Generator, Iterator
from pathlib import Path

import pytest
from coverage import Coverage

from starters.local.stack import Stack
from tests.support.desk import Desk
from tests.support.postgres import Database, Postgres, running_postgres
from tests.support.stacks import of_ours, running_stack
from tests.support.vault import VaultServer, dev_vault, file_vault, needed_vault


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None]:
    """Run what is marked `unmeasured` without coverage: the same lines, thousands of times."""
    measuring = Coverage.current() if item.get_closest_marker("unmeasured") else None
    if measuring is None:
        return (yield)
    measuring.stop()
    try:
        return (yield)
    finally:
        measuring.start()


@pytest.fixture(autouse=True)
def same_environment() -> Iterator[None]:
    """Commands run in this process name their stack in its environment: the next test has its own.

    Only what is ours: a library that was loaded may depend on the rest.
    """
    before = of_ours()
    yield
    for name in of_ours():
        del os.environ[name]
    os.environ.update(before)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A Postgres alone, without a stack."""
    with running_postgres() as postgres:
        yield postgres


@pytest.fixture(scope="module")
def database(postgres: Postgres) -> Database:
    """A database with our schema, for the tests of one module."""
    return postgres.migrated()


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """Everything, with both chains, every transaction mined at once."""
    with running_stack(block_time=None, chains=(138, 651940)) as stack:
        yield stack


@pytest.fixture(scope="session")
async def desk(stack: Stack) -> AsyncIterator[Desk]:
    """A desk on that stack."""
    yield await Desk.open(stack)
    await asyncio.sleep(0.25)  # the SDK's own threads have to be done with the last answer


@pytest.fixture(scope="session")
def slow_stack() -> Iterator[Stack]:
    """A stack of one chain with a block every second, for tests that kill its parts."""
    with running_stack(block_time=1, chains=(138,)) as stack:
        yield stack


@pytest.fixture(scope="session")
async def slow_desk(slow_stack: Stack) -> AsyncIterator[Desk]:
    """A desk on that stack."""
    yield await Desk.open(slow_stack)
    await asyncio.sleep(0.25)  # as above


@pytest.fixture(scope="session")
def vault_program() -> Path:
    """The `vault` program, without which a test is skipped, or fails where CI is set."""
    return needed_vault()


@pytest.fixture(scope="session")
def vault(vault_program: Path) -> Iterator[VaultServer]:
    """A Vault in dev mode."""
    with dev_vault(vault_program) as server:
        yield server


@pytest.fixture(scope="module")
def stored_vault(vault_program: Path) -> Iterator[VaultServer]:
    """A Vault with storage in files and TLS, for the tests of one module to break."""
    with file_vault(vault_program, tls=True) as server:
        yield server
