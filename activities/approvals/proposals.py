"""Which nonce of a Safe is proposed for which deal: in Postgres, as the role ``deal_engine``."""

from typing import Final

from activities.approvals.interface import ProposeFunding
from activities.transactions.store import Pool
from domain.identifiers import Address, ChainId, DealId

_LOCK: Final = """
SELECT pg_advisory_xact_lock('transactions.safe_proposals'::regclass::oid::integer, hashtext(%s))
"""
_FIND: Final = """
SELECT nonce, since_block FROM transactions.safe_proposals WHERE deal_id = %s AND number = %s
"""
_HELD: Final = """
SELECT nonce FROM transactions.safe_proposals
WHERE chain_id = %s AND safe = %s AND nonce >= %s AND deal_id <> %s
    AND closed_at IS NULL AND expires_at > now()
"""
_KEEP: Final = """
INSERT INTO transactions.safe_proposals
    (deal_id, chain_id, safe, number, nonce, since_block, expires_at)
VALUES (%s, %s, %s, %s, %s, %s, %s)
ON CONFLICT (deal_id) DO UPDATE SET number = excluded.number, nonce = excluded.nonce,
    since_block = excluded.since_block, expires_at = excluded.expires_at, closed_at = NULL
WHERE safe_proposals.number < excluded.number
"""
_CLOSE: Final = """
UPDATE transactions.safe_proposals SET closed_at = now() WHERE deal_id = %s AND closed_at IS NULL
"""


class Proposals:
    """The proposals to the Safes of one chain."""

    def __init__(self, chain_id: ChainId, pool: Pool) -> None:
        """Take the pool of the engine's own database role."""
        self._chain_id = chain_id
        self._pool = pool

    async def number(
        self, order: ProposeFunding, safe: Address, *, safe_nonce: int, block: int
    ) -> tuple[int, int]:
        """The nonce of this proposal, and the block that the Safe was looked at in before.

        The lowest nonce, from the Safe's next one on, that no other open proposal holds. It is
        given under a lock of the Safe, and stays the proposal's for ever.
        """
        deal_id = order.request.deal_id
        async with self._pool.connection() as connection, connection.transaction():
            await connection.execute(_LOCK, (f"{self._chain_id} {safe}",))
            cursor = await connection.execute(_FIND, (deal_id, order.number))
            row = await cursor.fetchone()
            if row is not None:
                return int(row[0]), int(row[1])
            cursor = await connection.execute(_HELD, (self._chain_id, safe, safe_nonce, deal_id))
            held = {int(each[0]) for each in await cursor.fetchall()}
            nonce = next(n for n in range(safe_nonce, safe_nonce + len(held) + 1) if n not in held)
            fields = (deal_id, self._chain_id, safe, order.number, nonce, block, order.expires_at)
            await connection.execute(_KEEP, fields)
        return nonce, block

    async def has_gap(self, deal_id: DealId, safe: Address, first: int, nonce: int) -> bool:
        """Whether no other open proposal holds one of the nonces from `first` to before `nonce`."""
        if first >= nonce:
            return False
        async with self._pool.connection() as connection:
            cursor = await connection.execute(_HELD, (self._chain_id, safe, first, deal_id))
            held = {int(each[0]) for each in await cursor.fetchall()}
        return not held.issuperset(range(first, nonce))

    async def close(self, deal_id: DealId) -> None:
        """Hold the deal's nonce no longer."""
        async with self._pool.connection() as connection:
            await connection.execute(_CLOSE, (deal_id,))
