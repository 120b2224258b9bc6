"""The engine's memory in Postgres. Every method is one transaction and safe to repeat."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import psycopg
from psycopg.pq import PipelineStatus
from psycopg.types.json import Jsonb
from psycopg_pool import AsyncConnectionPool

from activities.halts.standing import refusal_of
from domain.deals import DealRequest
from domain.errors import Conflict, NotAllowed
from domain.identifiers import Address, ChainId, DealId
from domain.tracking import Receipt
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
_BATCH: Final = "SELECT prepared, order_digest FROM transactions.batches WHERE batch_key = %s"
_OF_DEAL: Final = """
SELECT b.prepared, EXISTS (
    SELECT FROM transactions.intents i
    WHERE i.batch_key = b.batch_key AND i.state <> 'ABANDONED'
) FROM transactions.batches b WHERE b.chain_id = %s AND b.deal_id = %s ORDER BY b.created_at
"""
_INTENT: Final = """
SELECT i.nonce, i.state, b.prepared
FROM transactions.intents i JOIN transactions.batches b USING (batch_key)
WHERE i.chain_id = %s AND i.deal_id = %s AND i.intent_id = %s
"""
_LAST_BATCH: Final = """
SELECT b.prepared FROM transactions.intents i JOIN transactions.batches b USING (batch_key)
WHERE i.chain_id = %s AND i.sender = %s ORDER BY i.nonce DESC LIMIT 1
"""
_INSERT_BATCH: Final = """
INSERT INTO transactions.batches (batch_key, deal_id, chain_id, prepared, digest, order_digest,
    bank, module)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s)
"""
_INSERT_INTENT: Final = """
INSERT INTO transactions.intents (intent_id, batch_key, deal_id, chain_id, sender, nonce,
    to_address, value_wei, data, gas_limit, purpose, body_digest)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
"""
_INSERT_ATTEMPT: Final = """
INSERT INTO transactions.attempts (transaction_hash, intent_id, raw, max_fee_per_gas_wei,
    max_priority_fee_per_gas_wei, no_op)
VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING
"""
_MOVE: Final = """
UPDATE transactions.intents SET state = %s WHERE intent_id = ANY(%s) AND state = ANY(%s)
"""
_ATTEMPTS: Final = """
SELECT i.intent_id, a.transaction_hash, a.raw, a.max_fee_per_gas_wei,
    a.max_priority_fee_per_gas_wei, a.no_op, extract(epoch FROM now() - a.created_at)
FROM transactions.intents i JOIN transactions.attempts a USING (intent_id)
WHERE i.intent_id = ANY(%s) ORDER BY i.nonce, a.created_at
"""
_SENT: Final = """
SELECT DISTINCT ON (i.nonce) i.intent_id, a.transaction_hash, a.raw, a.max_fee_per_gas_wei,
    a.max_priority_fee_per_gas_wei, a.no_op, extract(epoch FROM now() - a.created_at)
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
_UNDO: Final = """
UPDATE transactions.intents SET state = 'BROADCAST', block_number = NULL, block_hash = NULL
WHERE intent_id = %s AND state IN ('INCLUDED', 'REVERTED', 'REPLACED') AND block_hash <> %s
"""
_MARK_UNKNOWN: Final = """
UPDATE transactions.intents SET state = 'UNKNOWN', block_number = %s
WHERE intent_id = ANY(%s) AND state = 'BROADCAST'
"""
_UNKNOWN: Final = """
SELECT intent_id, block_number, extract(epoch FROM now() - updated_at)
FROM transactions.intents WHERE intent_id = ANY(%s) AND state = 'UNKNOWN'
"""
_USED_ELSEWHERE: Final = """
UPDATE transactions.intents SET state = 'REPLACED', block_number = NULL
WHERE intent_id = ANY(%s) AND state = 'UNKNOWN'
"""
_REPLACED_BY_OTHERS: Final = """
SELECT intent_id FROM transactions.intents
WHERE intent_id = ANY(%s) AND state = 'REPLACED' AND mined_hash IS NULL
"""
_INCLUDE: Final = """
UPDATE transactions.intents SET state = %s, mined_hash = %s, block_number = %s, block_hash = %s,
    gas_used = %s, effective_gas_price_wei = %s, succeeded = %s
WHERE intent_id = %s AND state IN ('BROADCAST', 'UNKNOWN')
"""
_RELEASE: Final = """
UPDATE transactions.accounts SET next_nonce = %(first)s, updated_at = now()
WHERE chain_id = %(chain_id)s AND address = %(address)s AND next_nonce = %(first)s + %(count)s
"""


@dataclass(frozen=True, slots=True)
class Attempt:
    """Signed bytes of an intent, as they were saved before they were first sent.

    `no_op`: they only use up the intent's nonce, in its place. `age_seconds` is since they were
    saved.
    """

    intent_id: str
    transaction_hash: str
    raw: str
    fees: Fees
    no_op: bool = False
    age_seconds: float = field(default=0.0, compare=False)


@dataclass(frozen=True, slots=True)
class StoredIntent:
    """An intent as it stands, and the batch that it belongs to."""

    nonce: int
    state: IntentState
    batch: PreparedBatch


@dataclass(frozen=True, slots=True)
class UnknownIntent:
    """An intent whose nonce is used and that has no receipt: since when, and at which head."""

    intent_id: str
    head: int
    seconds: float


class TransactionStore:
    """Reads and writes batches, intents and attempts; numbers are given under a row lock."""

    def __init__(self, pool: Pool) -> None:
        """Take the pool of the engine's own database role."""
        self._pool = pool

    async def batch(self, key: BatchKey, *, ordered: str | None = None) -> PreparedBatch | None:
        """The batch stored under this key, if it was prepared before.

        Raises `Conflict` if it was prepared for an order of another digest than `ordered`.
        """
        async with self._pool.connection() as connection:
            cursor = await connection.execute(_BATCH, (str(key),))
            row = await cursor.fetchone()
        if row is None:
            return None
        if None not in (ordered, row[1]) and ordered != row[1]:
            raise _other_order(key, ordered, row[1])
        return PreparedBatch.model_validate(row[0])

    async def batches_of(
        self, chain_id: ChainId, deal_id: DealId
    ) -> list[tuple[PreparedBatch, bool]]:
        """Every batch of a deal, oldest first, and whether it was not given up."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(_OF_DEAL, (chain_id, deal_id))
            return [
                (PreparedBatch.model_validate(row[0]), bool(row[1]))
                for row in await cursor.fetchall()
            ]

    async def intent(
        self, chain_id: ChainId, deal_id: DealId, intent_id: str
    ) -> StoredIntent | None:
        """An intent of a deal on a chain, if there is one of that id."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(_INTENT, (chain_id, deal_id, intent_id))
            row = await cursor.fetchone()
        if row is None:
            return None
        batch = PreparedBatch.model_validate(row[2])
        return StoredIntent(int(row[0]), IntentState(row[1]), batch)

    async def add_batch(
        self,
        batch: PreparedBatch,
        *,
        mined_nonce: int,
        ordered: str | None = None,
        request: DealRequest | None = None,
    ) -> PreparedBatch:
        """Number the batch and store it; the stored one is returned if another was quicker.

        `ordered` is the digest of what it was ordered with; raises `Conflict` as `batch` does.
        `request` is the deal's: by its bank and module it is known what halts the batch.

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
                await connection.execute(_INSERT_BATCH, _batch_row(numbered, ordered, request))
                async with connection.cursor() as rows:
                    await rows.executemany(_INSERT_INTENT, _intent_rows(numbered))
        except psycopg.errors.UniqueViolation:
            stored = await self.batch(batch.key, ordered=ordered)
            if stored is None:
                raise
            return stored
        return numbered

    async def add_at(self, batch: PreparedBatch) -> PreparedBatch:
        """Store a batch at the nonces it has; raises `Conflict` if another intent holds one."""
        try:
            async with self._pool.connection() as connection, connection.transaction():
                await connection.execute(_INSERT_BATCH, _batch_row(batch))
                async with connection.cursor() as rows:
                    await rows.executemany(_INSERT_INTENT, _intent_rows(batch))
        except psycopg.errors.UniqueViolation as error:
            stored = await self.batch(batch.key)
            if stored is None:
                raise _held(batch, error) from error
            return stored
        return batch

    async def last_batch(self, chain_id: ChainId, sender: Address) -> PreparedBatch | None:
        """The batch that took this account's highest nonces."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(_LAST_BATCH, (chain_id, sender))
            row = await cursor.fetchone()
        return None if row is None else PreparedBatch.model_validate(row[0])

    async def save_attempts(
        self, batch: PreparedBatch, signed: Iterable[SignedTransaction]
    ) -> tuple[list[Attempt], bool]:
        """Save what was signed, before any of it is sent.

        Returns every attempt of these intents and whether some may have been sent before. Raises
        `Halted`, or `NotAllowed` if the deal's admission does not stand, having saved nothing, if
        there is a new one that adds risk.
        """
        ids = [intent.intent_id for intent in batch.intents]
        try:
            async with self._pool.connection() as connection:
                async with _one_round_trip(connection), connection.cursor() as cursor:
                    before = await connection.execute(_ATTEMPTS, (ids,))
                    await cursor.executemany(_INSERT_ATTEMPT, _attempt_rows(signed))
                    await connection.execute(_MOVE, (IntentState.SIGNED, ids, ["PREPARED"]))
                    await connection.execute(_MOVE, (IntentState.BROADCAST, ids, ["SIGNED"]))
                    after = await connection.execute(_ATTEMPTS, (ids,))
                sent_before = bool(await before.fetchall())
                rows = await after.fetchall()
        except psycopg.IntegrityError as error:
            refused = refusal_of(error)
            if refused is None:
                raise
            raise refused from error
        return [attempt_of(row) for row in rows], sent_before

    async def sent(
        self, chain_id: ChainId, sender: Address, first_nonce: int, end_nonce: int
    ) -> list[Attempt]:
        """One attempt for each nonce, the end left out: the one that was mined, or the newest."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(_SENT, (chain_id, sender, first_nonce, end_nonce))
            return [attempt_of(row) for row in await cursor.fetchall()]

    async def reached(self, deal_id: DealId) -> dict[Address, int]:
        """The highest nonce that was seen mined for the deal, by the account that sent it."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(_REACHED, (deal_id,))
            return {Address(row[0]): int(row[1]) for row in await cursor.fetchall()}

    async def attempts(self, batch: PreparedBatch) -> list[Attempt]:
        """Every attempt of the batch's intents, by nonce, the newest of a nonce last."""
        ids = [intent.intent_id for intent in batch.intents]
        async with self._pool.connection() as connection:
            cursor = await connection.execute(_ATTEMPTS, (ids,))
            return [attempt_of(row) for row in await cursor.fetchall()]

    async def mark_unknown(self, intent_ids: list[str], *, head: int) -> list[UnknownIntent]:
        """Note that these nonces are used but no receipt is found, and return since when."""
        async with self._pool.connection() as connection, _one_round_trip(connection):
            await connection.execute(_MARK_UNKNOWN, (head, intent_ids))
            cursor = await connection.execute(_UNKNOWN, (intent_ids,))
            return [
                UnknownIntent(str(row[0]), int(row[1]), float(row[2]))
                for row in await cursor.fetchall()
            ]

    async def mark_used_elsewhere(self, intent_ids: list[str]) -> None:
        """Note that somebody else has used these nonces, so the intents never have an effect."""
        async with self._pool.connection() as connection:
            await connection.execute(_USED_ELSEWHERE, (intent_ids,))

    async def used_elsewhere(self, intent_ids: list[str]) -> set[str]:
        """Which of these intents lost their nonce to somebody else."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(_REPLACED_BY_OTHERS, (intent_ids,))
            return {str(row[0]) for row in await cursor.fetchall()}

    async def include(self, inclusions: Iterable[Inclusion]) -> None:
        """Record receipts. That they are final is for `Promises` to say."""
        inclusions = list(inclusions)
        async with (
            self._pool.connection() as connection,
            _one_round_trip(connection),
            connection.cursor() as cursor,
        ):
            moved = [(each.intent_id, each.block_hash) for each in inclusions]
            await cursor.executemany(_UNDO, moved)
            await cursor.executemany(_INCLUDE, [_inclusion_row(each) for each in inclusions])

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
    try:
        async with connection.pipeline(), connection.transaction():
            yield
    finally:
        if connection.pgconn.pipeline_status != PipelineStatus.OFF:
            # Cancelled before the answers were in. The pool would lend it out again as it is, and
            # whatever is said on it would be neither answered nor done; closed, it is replaced.
            await connection.close()


def attempt_of(row: tuple[Any, ...]) -> Attempt:
    """An attempt from a row of intent id, hash, raw bytes, both fees, no-op and age in seconds."""
    fees = Fees(max_fee_per_gas=int(row[3]), max_priority_fee_per_gas=int(row[4]))
    raw = "0x" + bytes(row[2]).hex()
    return Attempt(str(row[0]), str(row[1]), raw, fees, bool(row[5]), float(row[6]))


def _numbered(batch: PreparedBatch, first: int) -> PreparedBatch:
    intents = tuple(
        intent.model_copy(update={"nonce": first + offset})
        for offset, intent in enumerate(batch.intents)
    )
    return batch.model_copy(update={"intents": intents})


def _batch_row(
    batch: PreparedBatch, ordered: str | None = None, request: DealRequest | None = None
) -> tuple[object, ...]:
    return (
        str(batch.key),
        batch.key.deal_id,
        batch.intents[0].chain_id,
        Jsonb(batch.model_dump(mode="json")),
        batch.digest(),
        ordered,
        None if request is None else request.bank,
        None if request is None else request.module,
    )


def _held(batch: PreparedBatch, error: psycopg.errors.UniqueViolation) -> Conflict:
    return Conflict(
        "a nonce that should be filled is held by an intent",
        field="nonce",
        value=", ".join(str(intent.nonce) for intent in batch.intents),
        limit="nonces that nothing holds",
        actual=error.diag.message_detail,
        next_action="nothing: the intent that holds it is looked after",
    )


def _other_order(key: BatchKey, ordered: str | None, before: str) -> Conflict:
    return Conflict(
        "the same batch was ordered before with another body; the first one stands",
        field="batch_key",
        value=str(key),
        limit=before,
        actual=ordered,
        next_action="find out how one key came to have two orders; use another attempt's key",
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
            each.no_op,
        )
        for each in signed
    ]


def _inclusion_row(inclusion: Inclusion) -> tuple[object, ...]:
    return (
        Receipt.model_validate(inclusion, from_attributes=True).state,
        inclusion.transaction_hash,
        inclusion.block_number,
        inclusion.block_hash,
        inclusion.gas_used,
        inclusion.effective_gas_price,
        inclusion.succeeded,
        inclusion.intent_id,
    )
