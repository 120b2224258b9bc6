"""A real node with every protocol, a real Postgres with our schema, and the engine on both."""

from collections.abc import AsyncIterator, Iterator

import psycopg
import pytest
from psycopg_pool import AsyncConnectionPool

from activities.transactions.store import Pool
from deploy.chain import ChainState, RunningAnvil, ensure_state, running_anvil
from tests.activities.chain import CHAIN, Node
from tests.activities.desk import Desk
from tests.support.postgres import Database, Postgres


@pytest.fixture(scope="session")
def chain_state() -> ChainState:
    """The deployed chain, as files."""
    return ensure_state(CHAIN)


@pytest.fixture(scope="session")
def anvil(chain_state: ChainState) -> Iterator[RunningAnvil]:
    """One node for all tests; each leaves it as it was, see `node`."""
    start = str(chain_state.tip_timestamp + 1)
    options = ("--load-state", str(chain_state.state_file), "--timestamp", start)
    with running_anvil(CHAIN, *options) as running:
        yield running


@pytest.fixture
def node(anvil: RunningAnvil) -> Iterator[Node]:
    """Lend the node, and put it back to where it was when the test ends."""
    node = Node(anvil.url)
    snapshot = node.ask("evm_snapshot")
    base_fee = node.base_fee()
    yield node
    node.ask("anvil_dropAllTransactions")
    node.ask("evm_setIntervalMining", 0)
    node.ask("evm_setAutomine", True)  # noqa: FBT003 - JSON-RPC positional
    assert node.ask("evm_revert", snapshot)
    node.next_base_fee(base_fee)  # the one thing that is not put back


@pytest.fixture(scope="session")
def migrated(postgres: Postgres) -> Database:
    """One database for all tests of the engine; each leaves it empty."""
    return postgres.migrated()


@pytest.fixture
def engine_database(migrated: Database) -> Iterator[Database]:
    """Lend the database, and empty it when the test ends."""
    yield migrated
    with psycopg.connect(migrated.owner, autocommit=True) as connection:
        connection.execute(
            "TRUNCATE transactions.attempts, transactions.intents, transactions.batches,"
            " transactions.accounts, transactions.alerts, transactions.notices,"
            " transactions.checkpoints, transactions.chain_status, signing.latches"
        )


@pytest.fixture
async def engine_pool(engine_database: Database) -> AsyncIterator[Pool]:
    """Connections of the engine's own role."""
    async with AsyncConnectionPool(
        engine_database.role("deal_engine"),
        min_size=1,
        max_size=10,
        open=False,
        kwargs={"autocommit": True},
    ) as pool:
        yield pool


@pytest.fixture
async def desk(node: Node, engine_pool: Pool) -> AsyncIterator[Desk]:
    """A deal on the real chain that has not begun, and the engine that runs it."""
    async with Desk.opened(node, engine_pool) as desk:
        yield desk
