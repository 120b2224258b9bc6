"""What a chain has called final must stay: how it is checked, and what follows if it does not."""

from typing import Final

from psycopg.types.json import Jsonb

from activities.rpc.client import Rpc
from activities.transactions.store import Pool
from activities.transactions.tracker import Look, Tracker
from activities.transactions.unsettled import UnsettledStore
from domain.chains import ChainProfile
from domain.errors import OutcomeUnknown, Problem

_PAGE: Final = 100
_CHECKPOINT: Final = """
SELECT block_number, block_hash FROM transactions.checkpoints WHERE chain_id = %s
"""
_ADVANCE: Final = """
INSERT INTO transactions.checkpoints (chain_id, block_number, block_hash) VALUES (%s, %s, %s)
ON CONFLICT (chain_id) DO UPDATE SET block_number = excluded.block_number,
    block_hash = excluded.block_hash, updated_at = now()
"""
_LATCH: Final = """
INSERT INTO signing.latches (chain_id, problem) VALUES (%s, %s)
ON CONFLICT (chain_id) WHERE cleared_at IS NULL DO NOTHING
"""
_LATCHED: Final = """
SELECT problem FROM signing.latches WHERE chain_id = %s AND cleared_at IS NULL
"""
_RELEASE: Final = """
UPDATE signing.latches SET cleared_at = clock_timestamp(), cleared_by = %s, cleared_why = %s
WHERE chain_id = %s AND cleared_at IS NULL RETURNING problem
"""


class Promises:
    """Holds one chain to what it has called final."""

    def __init__(self, profile: ChainProfile, rpc: Rpc, pool: Pool) -> None:
        """Take the chain's connections and the engine's database."""
        self._profile = profile
        self._pool = pool
        self._tracker = Tracker(profile, rpc)
        self._intents = UnsettledStore(profile.chain_id, pool)

    async def checkpoint(self) -> tuple[int, str] | None:
        """The newest block that was called final, by number and hash."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(_CHECKPOINT, (self._profile.chain_id,))
            row = await cursor.fetchone()
        return None if row is None else (int(row[0]), str(row[1]))

    async def latched(self) -> Problem | None:
        """Why nothing is signed on the chain, if that is so."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(_LATCHED, (self._profile.chain_id,))
            row = await cursor.fetchone()
        return None if row is None else Problem.model_validate(row[0])

    async def check(self, look: Look, checkpoint: tuple[int, str] | None) -> OutcomeUnknown | None:
        """Advance the checkpoint, or return how the chain has broken its promise.

        A chain that has no block at that number yet says nothing: its node may only be behind.
        """
        if checkpoint is not None:
            number, block_hash = checkpoint
            block = look.blocks.get(number)
            if block is not None and block.hash != block_hash:
                return _broken(self._profile, number, block_hash, block.hash)
            if block is None or look.finalized <= number:
                return None
        await self._advance(look)
        return None

    async def latch(self, error: OutcomeUnknown) -> None:
        """Stop all signing on the chain until somebody has cleared it."""
        problem = error.problem.model_dump(mode="json", exclude_none=True)
        async with self._pool.connection() as connection:
            await connection.execute(_LATCH, (self._profile.chain_id, Jsonb(problem)))

    async def release(self, who: str, why: str) -> Problem | None:
        """Accept the chain as it is now, and send out again what it took back.

        Returns what the latch was for; None if there was none, and then nothing is done. May be
        repeated: what was released and not yet sent out goes out with the next call.
        """
        async with self._pool.connection() as connection:
            cursor = await connection.execute(_RELEASE, (who, why, self._profile.chain_id))
            row = await cursor.fetchone()
        await self._send_out_again()
        return None if row is None else Problem.model_validate(row[0])

    async def _send_out_again(self) -> None:
        """Block by block from the newest, until one stands: all below it stand as well."""
        below, standing = 2**62, False
        while not standing and (page := await self._intents.final_blocks(below, _PAGE)):
            look = await self._tracker.look([], blocks=[number for number, _ in page])
            gone = []
            for number, block_hash in page:
                block = look.blocks[number]
                if block is not None and block.hash == block_hash:
                    standing = True
                else:
                    gone.append(block_hash)
            if gone:
                await self._intents.definalize(gone)
            below = page[-1][0]
        await self._advance(await self._tracker.look([]))

    async def _advance(self, look: Look) -> None:
        block = look.blocks.get(look.finalized)
        if block is None:
            return
        async with self._pool.connection() as connection:
            await connection.execute(_ADVANCE, (self._profile.chain_id, block.number, block.hash))


def _broken(profile: ChainProfile, number: int, was: str, now: str) -> OutcomeUnknown:
    return OutcomeUnknown(
        f"chain {profile.chain_id} took back block {number}, which it had called final",
        field="finality",
        value=number,
        limit=was,
        actual=now,
        next_action=f"find out what happened; `deal chain release {profile.chain_id}` accepts it",
    )
