"""Critical operations in Postgres."""
