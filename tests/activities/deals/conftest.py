"""Fixtures of the records' tests."""

from tests.activities.deals.postgres import database, empty_database_url, postgres

__all__ = ["database", "empty_database_url", "postgres"]
