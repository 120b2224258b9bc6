"""The engine's memory in Postgres. Every method is one transaction and safe to repeat."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import psycopg
from psycopg.types.json import Jsonb
from psycopg_pool import AsyncConnectionPool

from domain.errors import NotAllowed
from domain.identifiers import Address, ChainId, DealId
from domain.transactions import (
    BatchKey,
    Fees,
    Inclusion,
    Intent,
    IntentState,
    PreparedBatch,
    SignedTransaction,
)

Connection = psycopg.AsyncConnection[tuple[Any, ...]]
Pool = AsyncConnectionPool[Connection]

_ALLOCATE: Final = """
INSERT INTO transactions.accounts AS a (chain_id, address, next_nonce)
VALUES (%(chain_id)s, %(address)s, %(mined)s + %(count)s)
ON CONFLICT (chain_id, address) DO UPDATE
    SET next_nonce = greatest(a.next_nonce, %(mined)s) + %(count)s, updated_at = now()
RETURNING next_nonce - %(count)s
"""
_INSERT_BATCH: Final = """
INSERT INTO transactions.batches (batch_key, deal_id, chain_id, prepared, digest)
VALUES (%s, %s, %s, %s, %s)
"""
_INSERT_INTENT: Final = """
INSERT INTO transactions.intents (intent_id, batch_key, deal_id, chain_id, sender, nonce,
    to_address, value_wei, data, gas_limit, purpose, body_digest)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
"""
_INSERT_ATTEMPT: Final = """
INSERT INTO transactions.attempts (transaction_hash, intent_id, raw, max_fee_per_gas_wei,
    max_priority_fee_per_gas_wei)
VALUES (%s, %s, %s, %s, %s) ON CONFLICT DO NOTHING
"""
_MOVE: Final = """
UPDATE transactions.intents SET state = %s WHERE intent_id = ANY(%s) AND state = ANY(%s)
"""
_ATTEMPTS: Final = """
SELECT i.intent_id, a.transaction_hash, a.raw, a.max_fee_per_gas_wei,
    a.max_priority_fee_per_gas_wei
FROM transactions.intents i JOIN transactions.attempts a USING (intent_id)
WHERE i.intent_id = ANY(%s) ORDER BY i.nonce, a.created_at
"""
_SENT: Final = """
SELECT DISTINCT ON (i.nonce) i.intent_id, a.transaction_hash, a.raw, a.max_fee_per_gas_wei,
    a.max_priority_fee_per_gas_wei
FROM transactions.intents i JOIN transactions.attempts a USING (intent_id)
WHERE i.chain_id = %s AND i.sender = %s AND i.nonce >= %s AND i.nonce < %s
    AND i.state <> 'ABANDONED'
ORDER BY i.nonce, (a.transaction_hash = i.mined_hash) DESC NULLS LAST, a.created_at DESC
"""
_REACHED: Final = """
SELECT sender, max(nonce) FROM transactions.intents
WHERE deal_id = %s AND mined_hash IS NOT NULL GROUP BY sender
"""
_NOT_ABANDONED: Final = """
SELECT intent_id, state FROM transactions.intents
WHERE intent_id = ANY(%s) AND state <> 'ABANDONED' ORDER BY nonce LIMIT 1
"""
_INCLUDE: Final = """
UPDATE transactions.intents SET state = %s, mined_hash = %s, block_number = %s, block_hash = %s,
    gas_used = %s, effective_gas_price_wei = %s
WHERE intent_id = %s AND state IN ('BROADCAST', 'UNKNOWN')
"""
_RELEASE: Final = """
UPDATE transactions.accounts SET next_nonce = %(first)s, updated_at = now()
WHERE chain_id = %(chain_id)s AND address = %(address)s AND next_nonce = %(first)s + %(count)s
"""


@dataclass(frozen=True, slots=True)
class Attempt:
    """Signed bytes of an intent, as they were saved before they were first sent."""

    intent_id: str
    transaction_hash: str
    raw: str
    fees: Fees


@dataclass(frozen=True, slots=True)
class MinedIntent:
    """An intent that has been seen in a block but is not final yet."""

    intent_id: str
    transaction_hash: str
    block_number: int
    block_hash: str


class TransactionStore:
    """Reads and writes batches, intents and attempts; numbers are given under a row lock."""

    def __init__(self, pool: Pool) -> None:
        """Take the pool of the engine's own database role."""
        self._pool = pool

    async def batch(self, key: BatchKey) -> PreparedBatch | None:
        """The batch stored under this key, if it was prepared before."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                "SELECT prepared FROM transactions.batches WHERE batch_key = %s", (str(key),)
            )
            row = await cursor.fetchone()
        return None if row is None else PreparedBatch.model_validate(row[0])

    async def add_batch(self, batch: PreparedBatch, *, mined_nonce: int) -> PreparedBatch:
        """Number the batch and store it; the stored one is returned if another was quicker.

        The nonces follow the account's last, or the mined nonce where that is higher. They are
        taken in the same transaction as the rows that use them, so none is ever lost.
        """
        first = batch.intents[0]
        try:
            async with self._pool.connection() as connection, _one_round_trip(connection):
                cursor = await connection.execute(
                    _ALLOCATE,
                    {
                        "chain_id": first.chain_id,
                        "address": first.sender,
                        "mined": mined_nonce,
                        "count": len(batch.intents),
                    },
                )
                row = await cursor.fetchone()
                assert row is not None  # noqa: S101 - RETURNING always answers
                numbered = _numbered(batch, int(row[0]))
                await connection.execute(_INSERT_BATCH, _batch_row(numbered))
                async with connection.cursor() as rows:
                    await rows.executemany(_INSERT_INTENT, _intent_rows(numbered))
        except psycopg.errors.UniqueViolation:
            stored = await self.batch(batch.key)
            if stored is None:
                raise
            return stored
        return numbered

    async def save_attempts(
        self, batch: PreparedBatch, signed: Iterable[SignedTransaction]
    ) -> tuple[list[Attempt], bool]:
        """Save what was signed, before any of it is sent.

        Returns every attempt of these intents and whether some may have been sent before.
        """
        ids = [intent.intent_id for intent in batch.intents]
        async with self._pool.connection() as connection:
            async with _one_round_trip(connection), connection.cursor() as cursor:
                before = await connection.execute(_ATTEMPTS, (ids,))
                await cursor.executemany(_INSERT_ATTEMPT, _attempt_rows(signed))
                await connection.execute(_MOVE, (IntentState.SIGNED, ids, [IntentState.PREPARED]))
                await connection.execute(_MOVE, (IntentState.BROADCAST, ids, [IntentState.SIGNED]))
                after = await connection.execute(_ATTEMPTS, (ids,))
            sent_before = bool(await before.fetchall())
            rows = await after.fetchall()
        return [_attempt(row) for row in rows], sent_before

    async def sent(
        self, chain_id: ChainId, sender: Address, first_nonce: int, end_nonce: int
    ) -> list[Attempt]:
        """One attempt for each nonce, the end left out: the one that was mined, or the newest."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(_SENT, (chain_id, sender, first_nonce, end_nonce))
            return [_attempt(row) for row in await cursor.fetchall()]

    async def reached(self, deal_id: DealId) -> dict[Address, int]:
        """The highest nonce that was seen mined for the deal, by the account that sent it."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(_REACHED, (deal_id,))
            return {Address(row[0]): int(row[1]) for row in await cursor.fetchall()}

    async def mark_unknown(self, intent_ids: list[str]) -> None:
        """Note that the nonce is used but no receipt is found: to be resolved by looking."""
        async with self._pool.connection() as connection:
            await connection.execute(
                _MOVE, (IntentState.UNKNOWN, intent_ids, [IntentState.BROADCAST])
            )

    async def include(self, inclusions: Iterable[Inclusion], *, final: bool) -> None:
        """Record receipts; with `final`, that they cannot be undone any more."""
        inclusions = list(inclusions)
        async with (
            self._pool.connection() as connection,
            _one_round_trip(connection),
            connection.cursor() as cursor,
        ):
            await cursor.executemany(_INCLUDE, [_inclusion_row(each) for each in inclusions])
            if final:
                await connection.execute(_MOVE, _final([i.intent_id for i in inclusions]))

    async def finalize(self, intent_ids: list[str]) -> None:
        """Record that these intents' blocks cannot be undone any more."""
        async with self._pool.connection() as connection:
            await connection.execute(_MOVE, _final(intent_ids))

    async def not_final(self, deal_id: DealId) -> list[MinedIntent]:
        """The deal's intents that were mined but are not final."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                """
                SELECT intent_id, mined_hash, block_number, block_hash
                FROM transactions.intents
                WHERE deal_id = %s AND state IN ('INCLUDED', 'REVERTED') ORDER BY block_number
                """,
                (deal_id,),
            )
            return [
                MinedIntent(str(row[0]), str(row[1]), int(row[2]), str(row[3]))
                for row in await cursor.fetchall()
            ]

    async def count(self, deal_id: DealId) -> int:
        """How many intents the deal has."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                "SELECT count(*) FROM transactions.intents WHERE deal_id = %s", (deal_id,)
            )
            row = await cursor.fetchone()
        return int(row[0]) if row else 0

    async def abandon(self, batch: PreparedBatch, fill: PreparedBatch) -> PreparedBatch | None:
        """Give up a batch that will never be signed.

        If its nonces are the account's last they are given back and None is returned; otherwise
        `fill`, a batch of no-ops at the same nonces, takes its place and is returned. Raises
        `NotAllowed` if any of it is signed.
        """
        ids = [intent.intent_id for intent in batch.intents]
        async with self._pool.connection() as connection, connection.transaction():
            given_up = await connection.execute(
                _MOVE, (IntentState.ABANDONED, ids, [IntentState.PREPARED])
            )
            if given_up.rowcount == len(ids):
                return await _release_or_fill(connection, batch, fill)
            cursor = await connection.execute(_NOT_ABANDONED, (ids,))
            signed = await cursor.fetchone()
            if signed is not None:
                raise NotAllowed(
                    "a batch of which a part is signed cannot be given up",
                    field="intent",
                    value=signed[0],
                    limit=IntentState.PREPARED,
                    actual=signed[1],
                    next_action="deliver it, or wait until it is mined",
                )
        # It was given up before, or by another process just now.
        return await self.batch(fill.key)


async def _release_or_fill(
    connection: Connection, batch: PreparedBatch, fill: PreparedBatch
) -> PreparedBatch | None:
    """Give the nonces back if they are the account's last, otherwise store what fills them."""
    first = batch.intents[0]
    released = await connection.execute(
        _RELEASE,
        {
            "chain_id": first.chain_id,
            "address": first.sender,
            "first": first.nonce,
            "count": len(batch.intents),
        },
    )
    if released.rowcount:
        return None
    await connection.execute(_INSERT_BATCH, _batch_row(fill))
    async with connection.cursor() as rows:
        await rows.executemany(_INSERT_INTENT, _intent_rows(fill))
    return fill


@asynccontextmanager
async def _one_round_trip(connection: Connection) -> AsyncIterator[None]:
    """A transaction whose statements are sent together; it has been committed when this ends.

    Reading a result inside costs another round trip. An error may only show at the end; then
    nothing was written.
    """
    async with connection.pipeline(), connection.transaction():
        yield


def _attempt(row: tuple[Any, ...]) -> Attempt:
    fees = Fees(max_fee_per_gas=int(row[3]), max_priority_fee_per_gas=int(row[4]))
    return Attempt(str(row[0]), str(row[1]), "0x" + bytes(row[2]).hex(), fees)


def _numbered(batch: PreparedBatch, first: int) -> PreparedBatch:
    intents = tuple(
        intent.model_copy(update={"nonce": first + offset})
        for offset, intent in enumerate(batch.intents)
    )
    return batch.model_copy(update={"intents": intents})


def _batch_row(batch: PreparedBatch) -> tuple[object, ...]:
    return (
        str(batch.key),
        batch.key.deal_id,
        batch.intents[0].chain_id,
        Jsonb(batch.model_dump(mode="json")),
        batch.digest(),
    )


def _intent_rows(batch: PreparedBatch) -> list[tuple[object, ...]]:
    return [_intent_row(batch, intent) for intent in batch.intents]


def _intent_row(batch: PreparedBatch, intent: Intent) -> tuple[object, ...]:
    return (
        intent.intent_id,
        str(batch.key),
        batch.key.deal_id,
        intent.chain_id,
        intent.sender,
        intent.nonce,
        intent.to,
        intent.value,
        bytes.fromhex(intent.data[2:]),
        intent.gas_limit,
        intent.purpose,
        intent.body_digest(),
    )


def _attempt_rows(signed: Iterable[SignedTransaction]) -> list[tuple[object, ...]]:
    return [
        (
            each.transaction_hash,
            each.intent_id,
            bytes.fromhex(each.raw[2:]),
            each.fees.max_fee_per_gas,
            each.fees.max_priority_fee_per_gas,
        )
        for each in signed
    ]


def _inclusion_row(inclusion: Inclusion) -> tuple[object, ...]:
    state = IntentState.INCLUDED if inclusion.succeeded else IntentState.REVERTED
    return (
        state,
        inclusion.transaction_hash,
        inclusion.block_number,
        inclusion.block_hash,
        inclusion.gas_used,
        inclusion.effective_gas_price,
        inclusion.intent_id,
    )


def _final(intent_ids: list[str]) -> tuple[object, ...]:
    return (
        IntentState.FINALIZED,
        intent_ids,
        [IntentState.INCLUDED, IntentState.REVERTED, IntentState.REPLACED],
    )
