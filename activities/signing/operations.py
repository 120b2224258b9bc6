"""What the signer has agreed to under the name of each operation; rows are only added."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from activities.database import Pool, connected
from activities.signing.findings import Finding, Rule
from activities.signing.timelock import Told
from domain.deals import Step
from domain.identifiers import ChainId, DealId
from domain.transactions import PreparedBatch

_FIND: Final = """
SELECT step, chain_id, timelock_id, delay_seconds, decided_at FROM signing.operations
WHERE owner = %s
"""
_ADD: Final = """
INSERT INTO signing.operations (owner, step, chain_id, timelock_id, delay_seconds, decided_at)
VALUES (%s, %s, %s, %s, %s, to_timestamp(%s)) ON CONFLICT (owner, step) DO NOTHING
"""
_ASK: Final = "do not send it again: find out who prepared it, and how it came to differ"


@dataclass(frozen=True, slots=True)
class _Agreed:
    chain_id: int
    timelock_id: str
    delay_seconds: int
    at: datetime


class Operations:
    """Holds what is told to a timelock against what was told before."""

    def __init__(self, pool: Pool) -> None:
        """Use this database."""
        self._pool = pool

    async def agree(
        self, batch: PreparedBatch, chain_id: ChainId, told: Told, now: int
    ) -> Finding | None:
        """Return why it may not be told, or None and keep it.

        The first that is scheduled under a name is all that there ever is under it: nothing else is
        executed or cancelled, it is not executed before its delay is over by this clock (Unix
        seconds), and neither executed nor scheduled again once its cancellation was signed. Raises
        `Unavailable`.
        """
        owner = batch.key.deal_id
        if told.step is Step.SCHEDULE:
            await self._add(owner, chain_id, told, now)
        agreed = await self._find(owner)
        finding = _against(agreed, batch, chain_id, told, now)
        if finding is None and told.step is Step.REVOKE:
            await self._add(owner, chain_id, told, now)
        return finding

    async def _add(self, owner: DealId, chain_id: ChainId, told: Told, now: int) -> None:
        row = (owner, told.step, chain_id, told.timelock_id, told.delay_seconds, now)
        async with connected(self._pool) as connection:
            await connection.execute(_ADD, row)

    async def _find(self, owner: DealId) -> dict[Step, _Agreed]:
        async with connected(self._pool) as connection:
            rows = await (await connection.execute(_FIND, (owner,))).fetchall()
        return {Step(row[0]): _Agreed(row[1], row[2], row[3], row[4]) for row in rows}


def _against(
    agreed: dict[Step, _Agreed], batch: PreparedBatch, chain_id: ChainId, told: Told, now: int
) -> Finding | None:
    (intent,) = batch.intents
    scheduled = agreed.get(Step.SCHEDULE)
    if scheduled is None or (scheduled.chain_id, scheduled.timelock_id) != (
        chain_id,
        told.timelock_id,
    ):
        return Finding(
            Rule.OPERATION,
            "it is not what was scheduled under this name",
            value=told.timelock_id,
            limit=scheduled.timelock_id if scheduled else "nothing was scheduled",
            next_action=_ASK,
            intent=intent,
        )
    if told.step is not Step.REVOKE and Step.REVOKE in agreed:
        return Finding(
            Rule.OPERATION_CANCELLED,
            "the operation was cancelled",
            value=told.timelock_id,
            limit="not cancelled",
            next_action="propose it anew under another name",
            intent=intent,
        )
    ready = int(scheduled.at.timestamp()) + scheduled.delay_seconds
    if told.step is Step.EXECUTE and now < ready:
        return Finding(
            Rule.OPERATION_EARLY,
            "the operation's delay is not over",
            value=now,
            limit=f"not before {ready} (Unix seconds)",
            actual=f"{ready - now} seconds early",
            next_action="wait",
            intent=intent,
        )
    if told.step is Step.SCHEDULE and told.delay_seconds != scheduled.delay_seconds:
        return Finding(
            Rule.OPERATION_DELAY,
            "it was scheduled with another delay",
            value=told.delay_seconds,
            limit=scheduled.delay_seconds,
            next_action=_ASK,
            intent=intent,
        )
    return None
