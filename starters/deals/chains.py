"""Reading what is known of the chains: what their watchers saw, open alerts and latches."""

from datetime import datetime
from typing import Annotated, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict

from domain.amounts import Units
from domain.errors import Problem
from starters.deals.database import Connections, fetch
from starters.deals.transactions import Alert

_STATUS: Final = """
WITH known AS (
    SELECT chain_id FROM transactions.chain_status
    UNION SELECT chain_id FROM transactions.alerts WHERE cleared_at IS NULL
    UNION SELECT chain_id FROM signing.latches WHERE cleared_at IS NULL
)
SELECT known.chain_id, status.observed, status.updated_at,
    extract(epoch FROM clock_timestamp() - status.updated_at)::float AS age_seconds, (
        SELECT coalesce(jsonb_agg(to_jsonb(alert) ORDER BY raised_at), '[]')
        FROM transactions.alerts AS alert
        WHERE alert.chain_id = known.chain_id AND cleared_at IS NULL
    ) AS alerts, (
        SELECT coalesce(jsonb_agg(to_jsonb(latch) ORDER BY set_at), '[]')
        FROM signing.latches AS latch
        WHERE latch.chain_id = known.chain_id AND cleared_at IS NULL
    ) AS latches
FROM known LEFT JOIN transactions.chain_status AS status USING (chain_id)
ORDER BY known.chain_id
"""

_WHOLE: Final = BeforeValidator(lambda value: None if value is None else int(value))
_Wei = Annotated[Units | None, _WHOLE]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True)


class Endpoint(_Model):
    """An endpoint as its pool sees it; `lag` is in blocks, `label` holds no secret.

    A private one only takes transactions, and keeps them to itself.
    """

    number: int
    label: str
    private: bool = False
    healthy: bool
    circuit: str
    head: int | None = None
    lag: int | None = None
    latency_ms: float | None = None
    chain_id_ok: bool | None = None
    last_error: str | None = None
    weight: float | None = None


class AccountHealth(_Model):
    """An account's nonces: the next the chain takes, the next to be given, and what is between.

    `gap` are nonces that nothing of ours holds, so that what comes after them cannot be mined.
    """

    address: str
    mined_nonce: int
    next_nonce: int
    pending: int
    gap: tuple[int, ...] = ()


class Observation(_Model):
    """What the watcher of a chain wrote about a block ago; fees in wei per gas."""

    head: int | None = None
    finalized: int | None = None
    base_fee_wei: _Wei = None
    priority_fee_wei: _Wei = None
    endpoints: tuple[Endpoint, ...] = ()
    accounts: tuple[AccountHealth, ...] = ()


class Latch(_Model):
    """Why nothing new is signed on a chain, and since when."""

    problem: Problem
    set_at: datetime


class ChainReport(_Model):
    """What the records know of one chain, and how old that is; None: nobody has watched it yet."""

    chain_id: int
    observed: Observation | None = None
    updated_at: datetime | None = None
    age_seconds: float | None = None
    alerts: tuple[Alert, ...] = ()
    latches: tuple[Latch, ...] = ()


class ChainsReader:
    """What the watchers have written, as the role ``deal_reader``."""

    def __init__(self, connections: Connections) -> None:
        """Take a connection for each read."""
        self._connections = connections

    async def reports(self) -> dict[int, ChainReport]:
        """Return every chain that something is known of, by its id. Raises `Unavailable`."""
        rows = await fetch(self._connections, _STATUS, None)
        reports = [ChainReport.model_validate(row) for row in rows]
        return {report.chain_id: report for report in reports}
