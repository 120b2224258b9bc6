"""Reading the trail in tests."""

from typing import Any

import psycopg
from psycopg.rows import dict_row

from tests.support.postgres import Database


def rows_of(database: Database, deal: str) -> list[dict[str, Any]]:
    """The rows of a deal, oldest first."""
    return query(database, "SELECT * FROM audit.events WHERE deal = %s ORDER BY sequence", deal)


def query(database: Database, text: str, *parameters: object) -> list[dict[str, Any]]:
    """What the reader's role sees."""
    with psycopg.connect(database.role("deal_reader"), row_factory=dict_row) as connection:
        return connection.execute(text.encode(), parameters).fetchall()
