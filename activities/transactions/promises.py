"""What a chain has called final must stay: how it is checked, and what follows if it does not."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from psycopg.types.json import Jsonb

from activities.rpc.client import Rpc
from activities.transactions.store import Pool
from activities.transactions.tracker import Look, Tracker
from activities.transactions.unsettled import Change, UnsettledStore
from domain.chains import ChainProfile
from domain.errors import OutcomeUnknown, Problem
from domain.transactions import IntentState

_PAGE: Final = 100
_CHECKPOINT: Final = """
SELECT block_number, block_hash FROM transactions.checkpoints WHERE chain_id = %s
"""
_BEGIN: Final = """
INSERT INTO transactions.checkpoints (chain_id, block_number, block_hash) VALUES (%s, %s, %s)
ON CONFLICT (chain_id) DO NOTHING RETURNING chain_id
"""
_ADVANCE: Final = """
UPDATE transactions.checkpoints SET block_number = %s, block_hash = %s, updated_at = now()
WHERE chain_id = %s AND block_number = %s AND block_hash = %s RETURNING chain_id
"""
_ACCEPT: Final = """
INSERT INTO transactions.checkpoints (chain_id, block_number, block_hash) VALUES (%s, %s, %s)
ON CONFLICT (chain_id) DO UPDATE SET block_number = excluded.block_number,
    block_hash = excluded.block_hash, updated_at = now()
"""
# Only while the checkpoint is the one that was found broken: a look from before a release must not
# undo it.
_LATCH: Final = """
WITH checkpoint AS (
    SELECT chain_id FROM transactions.checkpoints
    WHERE chain_id = %s AND block_number = %s AND block_hash = %s FOR SHARE
)
INSERT INTO signing.latches (chain_id, problem) SELECT chain_id, %s FROM checkpoint
ON CONFLICT (chain_id) WHERE cleared_at IS NULL DO NOTHING
"""
_FORGET: Final = "DELETE FROM transactions.checkpoints WHERE chain_id = %s"
_LATCHED: Final = """
SELECT problem FROM signing.latches WHERE chain_id = %s AND cleared_at IS NULL
"""
_RELEASE: Final = """
UPDATE signing.latches SET cleared_at = clock_timestamp(), cleared_by = %s, cleared_why = %s
WHERE chain_id = %s AND cleared_at IS NULL RETURNING problem
"""


Checkpoint = tuple[int, str]
"""A block that was called final, by number and hash."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What a look says of the chain's promise.

    `final` is whether that look may call anything final; `broken` is how the promise was broken.
    """

    final: bool = False
    broken: OutcomeUnknown | None = None

    def allowed(self, changes: Sequence[Change]) -> list[Change]:
        """The changes, without calling anything final that must not be."""
        if self.final:
            return list(changes)
        paths = [tuple(s for s in c.path if s is not IntentState.FINALIZED) for c in changes]
        return [replace(c, path=path) for c, path in zip(changes, paths, strict=True) if path]


class Promises:
    """Holds one chain to what it has called final."""

    def __init__(self, profile: ChainProfile, rpc: Rpc, pool: Pool) -> None:
        """Take the chain's connections and the engine's database."""
        self._profile = profile
        self._pool = pool
        self._tracker = Tracker(profile, rpc)
        self._intents = UnsettledStore(profile.chain_id, pool)

    async def checkpoint(self) -> Checkpoint | None:
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

    async def check(self, look: Look, checkpoint: Checkpoint | None) -> Standing:
        """Hold the chain to the checkpoint, and move that on to what is final now.

        Everything that is called final lies at or below a checkpoint that stood when it was, so
        nothing of it can be taken back unnoticed. Where a block at that number is missing its node
        may only be behind; where somebody else has moved the checkpoint meanwhile, they looked at
        another moment. Then nothing is called final until the next look.
        """
        if checkpoint is None:
            return Standing(final=await self._advance(look, None))
        number, block_hash = checkpoint
        block = look.blocks.get(number)
        if block is not None and block.hash != block_hash:
            return Standing(broken=_broken(self._profile, number, block_hash, block.hash))
        if block is None:
            return Standing(final=False)
        return Standing(final=look.finalized <= number or await self._advance(look, checkpoint))

    async def latch(self, error: OutcomeUnknown, checkpoint: Checkpoint) -> None:
        """Stop all signing on the chain until somebody has cleared it.

        `checkpoint` is the one that does not stand any more. If it was given up meanwhile, somebody
        has released the chain, and nothing is latched.
        """
        problem = error.problem.model_dump(mode="json", exclude_none=True)
        broken = (self._profile.chain_id, *checkpoint, Jsonb(problem))
        async with self._pool.connection() as connection:
            await connection.execute(_LATCH, broken)

    async def release(self, who: str, why: str) -> Problem | None:
        """Accept the chain as it is now, and send out again what it took back.

        Returns what the latch was for; None if there was none, and then nothing is done. May be
        repeated: what was released and not yet sent out goes out with the next call.
        """
        chain_id = self._profile.chain_id
        async with self._pool.connection() as connection, connection.transaction():
            cursor = await connection.execute(_RELEASE, (who, why, chain_id))
            row = await cursor.fetchone()
            if row is not None:
                await connection.execute(_FORGET, (chain_id,))
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
        await self._accept(await self._tracker.look([]))

    async def _advance(self, look: Look, checkpoint: Checkpoint | None) -> bool:
        """Move the checkpoint on from where it was; False if it is not there any more."""
        block = look.blocks.get(look.finalized)
        if block is None:
            return False
        chain_id = self._profile.chain_id
        async with self._pool.connection() as connection:
            if checkpoint is None:
                begin = (chain_id, block.number, block.hash)
                cursor = await connection.execute(_BEGIN, begin)
            else:
                advance = (block.number, block.hash, chain_id, *checkpoint)
                cursor = await connection.execute(_ADVANCE, advance)
            return await cursor.fetchone() is not None

    async def _accept(self, look: Look) -> None:
        """Begin anew from what the chain calls final now."""
        block = look.blocks.get(look.finalized)
        if block is None:
            return
        async with self._pool.connection() as connection:
            await connection.execute(_ACCEPT, (self._profile.chain_id, block.number, block.hash))


def _broken(profile: ChainProfile, number: int, was: str, now: str) -> OutcomeUnknown:
    return OutcomeUnknown(
        f"chain {profile.chain_id} took back block {number}, which it had called final",
        field="finality",
        value=number,
        limit=was,
        actual=now,
        next_action=f"find out what happened; `deal chain release {profile.chain_id}` accepts it",
    )
