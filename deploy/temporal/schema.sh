#!/bin/sh
# Creates Temporal's two databases and brings them to the schema of these tools; run again, it changes nothing.
# Address, user and password come from SQL_HOST, SQL_PORT, SQL_USER, SQL_PASSWORD, and SQL_PLUGIN.
set -eu

prepare() {
    temporal-sql-tool --database "$1" create-database
    temporal-sql-tool --database "$1" setup-schema --version 0.0
    temporal-sql-tool --database "$1" update-schema --schema-name "postgresql/v12/$2"
}

prepare temporal temporal
prepare temporal_visibility visibility
