"""A real Postgres with the project's migrations, and signers that work on it."""

from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from typing import Any

import psycopg
import pytest
from psycopg_pool import AsyncConnectionPool
from pydantic import SecretBytes

from activities.database import Pool
from activities.signing.interface import DealAccounts, OpenAccount
from activities.signing.policies import put_in_force
from activities.signing.providers.local import LocalKeyProvider
from activities.signing.signer import Signer
from domain.identifiers import DealId
from tests.activities.signing.samples import DEAL, MNEMONIC, POLICY, Batches
from tests.support.postgres import Database, Postgres

TABLES = (
    "signing.journal, signing.accounts, signing.policies, signing.key_events, signing.signatures,"
    " signing.treasuries, signing.operations"
)


@pytest.fixture(scope="session")
def migrated(postgres: Postgres) -> Database:
    return postgres.migrated()


@pytest.fixture
def database(migrated: Database) -> Iterator[Database]:
    """Lend the database, and empty it behind the back of its guards when the test ends."""
    yield migrated
    _unguarded(migrated, "TRUNCATE " + TABLES)


@pytest.fixture(scope="session")
def keys() -> LocalKeyProvider:
    return LocalKeyProvider.from_mnemonic(SecretBytes(MNEMONIC.encode()), "development")


@pytest.fixture
async def pool(database: Database) -> AsyncIterator[Pool]:
    async with signer_pool(database.role("deal_signer")) as pool:
        await put_in_force(pool, POLICY)
        yield pool


@pytest.fixture
def signer(keys: LocalKeyProvider, pool: Pool) -> Signer:
    return Signer(POLICY, keys, pool)


@pytest.fixture
async def other_signer(keys: LocalKeyProvider, database: Database) -> AsyncIterator[Signer]:
    """Another process's signer on the same database."""
    async with signer_pool(database.role("deal_signer")) as pool:
        yield Signer(POLICY, keys, pool)


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


def signer_pool(url: str) -> Pool:
    return AsyncConnectionPool[psycopg.AsyncConnection[Any]](
        url, kwargs={"autocommit": True}, min_size=2, max_size=8, open=False
    )
