"""What people have to know of: one open row for each thing, seen again as long as it holds."""

import logging
from enum import StrEnum
from typing import Final

import structlog
from prometheus_client import Counter
from psycopg.types.json import Jsonb

from activities.transactions.store import Pool
from domain.errors import DealError
from domain.identifiers import ChainId

RAISED: Final = Counter("deal_chain_alerts", "Alerts raised or seen again", ["chain", "kind"])
_log = structlog.get_logger(__name__)

_RAISE: Final = """
INSERT INTO transactions.alerts (chain_id, kind, subject, problem) VALUES (%s, %s, %s, %s)
ON CONFLICT (chain_id, kind, subject) WHERE cleared_at IS NULL
    DO UPDATE SET problem = excluded.problem, seen_at = now()
RETURNING raised_at = seen_at
"""
_CLEAR_OLD: Final = """
UPDATE transactions.alerts SET cleared_at = now()
WHERE chain_id = %(chain_id)s AND cleared_at IS NULL AND CASE kind
    WHEN 'latch' THEN NOT EXISTS (
        SELECT FROM signing.latches l WHERE l.chain_id = %(chain_id)s AND l.cleared_at IS NULL)
    ELSE seen_at < now() - make_interval(secs =>
        CASE WHEN kind IN ('foreign_nonce', 'reorg') THEN %(long)s ELSE %(short)s END)
    END
"""
_SHOWN_LONG_SECONDS: Final = 3_600.0
"""What happens at one moment stays open for an hour, or nobody would see it."""


class AlertKind(StrEnum):
    """What there is to know of an intent, an account, an endpoint, a deal or the chain."""

    FEE_CAP = "fee_cap"
    FOREIGN_NONCE = "foreign_nonce"
    NONCE_GAP = "nonce_gap"
    UNKNOWN = "unknown"
    REORG = "reorg"
    CONTRADICTION = "contradiction"
    HEAD_STALLED = "head_stalled"
    LATCH = "latch"
    UNSENT = "unsent"
    SAFE_PAYMENT = "safe_payment"


class Alerts:
    """The alerts of one chain."""

    def __init__(self, chain_id: ChainId, pool: Pool, *, shown_seconds: float = 30.0) -> None:
        """Clear what was not seen again for `shown_seconds`."""
        self._chain_id = chain_id
        self._pool = pool
        self._shown = shown_seconds

    async def notice(self, kind: AlertKind, subject: str, error: DealError) -> None:
        """Raise the alert, or note that it still holds."""
        problem = error.problem.model_dump(mode="json", exclude_none=True)
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                _RAISE, (self._chain_id, kind, subject, Jsonb(problem))
            )
            row = await cursor.fetchone()
        RAISED.labels(self._chain_id, kind).inc()
        if row and row[0]:
            # What the engine mends by itself is no error; somebody may want to know all the same.
            level = logging.WARNING if kind is AlertKind.REORG else logging.ERROR
            _log.log(level, "alert", kind=kind, chain=self._chain_id, subject=subject, **problem)

    async def clear_old(self) -> None:
        """Clear what no longer holds; of a latch, once it is released."""
        order = {"chain_id": self._chain_id, "long": _SHOWN_LONG_SECONDS, "short": self._shown}
        async with self._pool.connection() as connection:
            await connection.execute(_CLEAR_OLD, order)
