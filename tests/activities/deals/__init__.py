"""The records in Postgres."""
