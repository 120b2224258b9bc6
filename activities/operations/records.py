"""The records of operations in Postgres, as the role ``deal_records``."""

from typing import Final

from psycopg.types.json import Jsonb
from temporalio import activity

from activities.database import Pool, connected
from activities.operations.interface import OperationRecordActivities
from domain.operations import OperationView

_RECORD: Final = """
INSERT INTO deals.operations AS known
    (operation_id, chain_id, kind, status, version, view, created_at, updated_at)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s)
ON CONFLICT (operation_id) DO UPDATE SET status = excluded.status, version = excluded.version,
    view = excluded.view, updated_at = excluded.updated_at
WHERE known.version < excluded.version
"""


class OperationRecords(OperationRecordActivities):
    """Writes operations, one version after the other."""

    def __init__(self, pool: Pool) -> None:
        """Use the connections of an open pool; the caller closes it."""
        self._pool = pool

    @activity.defn
    async def record_operation(self, view: OperationView) -> None:
        """See `OperationRecordActivities.record_operation`."""
        request = view.request
        row = (
            request.operation_id,
            request.chain_id,
            request.change.kind,
            view.status,
            view.version,
            Jsonb(view.model_dump(mode="json")),
            view.created_at,
            view.updated_at,
        )
        async with connected(self._pool, "operations cannot be recorded now") as connection:
            await connection.execute(_RECORD, row)
