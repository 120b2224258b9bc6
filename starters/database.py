"""The database's schema: bringing a database to the newest migration, once, whoever asks."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from yoyo import read_migrations
from yoyo.backends.core.postgresql import PostgresqlPsycopgBackend
from yoyo.connections import DatabaseURI

from domain.errors import DealError, InvalidConfiguration, Unavailable

MIGRATIONS: Final = Path(__file__).resolve().parents[1] / "deploy" / "migrations"

_LOCK_KEY: Final = 0x6465616C  # "deal"; any number does, as long as every process has the same
_LOCK_TIMEOUT: Final = "60s"
_CONNECT_SECONDS: Final = 10
_MIGRATION_TABLE: Final = "_yoyo_migration"


def migrate(database_url: str) -> list[str]:
    """Apply the migrations that the database lacks and return their names, in order.

    Processes that do so at once take turns; each migration is applied and marked in one
    transaction, so a crash leaves it either done or not begun.

    Raises `InvalidConfiguration` (the URL), `Unavailable` (no answer, or another process holds the
    lock for a minute) and `DealError` naming the migration that failed.
    """
    parameters = _parameters(database_url)
    where = _address(parameters)
    with _named_failures(where), _taking_turns(parameters), _backend(parameters) as backend:
        # A lock row left by a process that was killed; the turn above is the real lock.
        backend.break_lock()
        missing = backend.to_apply(read_migrations(str(MIGRATIONS)))
        return [_apply(backend, migration) for migration in missing]


def _parameters(database_url: str) -> dict[str, str]:
    try:
        parameters = conninfo_to_dict(database_url)
    except psycopg.ProgrammingError:
        # The driver's own message repeats the text, and with it the password.
        raise InvalidConfiguration(
            "the database URL cannot be read",
            field="database_url",
            limit="postgresql://user:password@host:port/database",
            next_action="correct the URL; its password must be percent-encoded",
        ) from None
    return {name: str(value) for name, value in parameters.items() if value is not None}


def _address(parameters: dict[str, str]) -> str:
    """Where the database is, without user and password."""
    host, port = parameters.get("host", "localhost"), parameters.get("port", 5432)
    return f"{host}:{port}/{parameters.get('dbname', '')}"


@contextmanager
def _named_failures(where: str) -> Iterator[None]:
    try:
        yield
    except psycopg.errors.LockNotAvailable as error:
        raise Unavailable(
            "another process is migrating this database",
            field="database",
            value=where,
            limit=_LOCK_TIMEOUT,
            next_action="wait until it is done and try again",
        ) from error
    except psycopg.OperationalError as error:
        raise Unavailable(
            "the database does not answer",
            field="database",
            value=where,
            actual=str(error).partition("\n")[0],
            next_action="start Postgres, or correct the URL, and try again",
        ) from error


@contextmanager
def _taking_turns(parameters: dict[str, str]) -> Iterator[None]:
    """Hold an advisory lock in a transaction: a process that dies lets go of it."""
    with_timeout = {"connect_timeout": str(_CONNECT_SECONDS), **parameters}
    with (
        psycopg.connect(make_conninfo(**with_timeout)) as connection,
        connection.transaction(),
    ):
        connection.execute("SELECT set_config('lock_timeout', %s, true)", (_LOCK_TIMEOUT,))
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK_KEY,))
        yield


@contextmanager
def _backend(parameters: dict[str, str]) -> Iterator[PostgresqlPsycopgBackend]:
    """Open the migration tool's connection, from parameters, so that no URL is put together."""
    uri = DatabaseURI("postgresql+psycopg", None, None, None, None, None, parameters)
    with PostgresqlPsycopgBackend(uri, _MIGRATION_TABLE) as backend:
        backend.init_database()
        yield backend


def _apply(backend: PostgresqlPsycopgBackend, migration: Any) -> str:  # noqa: ANN401 - untyped tool
    name = str(migration.id)
    try:
        # The tool itself would mark it in a second transaction, and a crash could come between.
        with backend.transaction():
            migration.process_steps(backend, "apply")
            backend.mark_one(migration, log=False)
    except psycopg.OperationalError:
        raise
    except psycopg.Error as error:
        raise DealError(
            f"migration {name} failed and was undone",
            field="migration",
            value=name,
            actual=str(error).partition("\n")[0],
            next_action="correct the database or the migration and try again",
        ) from error
    return name
