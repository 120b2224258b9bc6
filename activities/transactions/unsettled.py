"""The intents of a chain that are not final yet, and the moves that looking at them leads to."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from psycopg.types.json import Jsonb

from activities.transactions.store import Attempt, Connection, Pool, attempt_of
from domain.identifiers import Address, ChainId, DealId
from domain.tracking import IN_A_BLOCK, Notice, Receipt
from domain.transactions import IntentState

_UNSETTLED: Final = """
SELECT i.intent_id, i.deal_id, i.sender, i.nonce, i.state, i.block_number, i.block_hash,
    i.mined_hash,
    extract(epoch FROM now() - i.updated_at),
    coalesce(jsonb_agg(jsonb_build_array(a.transaction_hash, encode(a.raw, 'hex'),
        a.max_fee_per_gas_wei::text, a.max_priority_fee_per_gas_wei::text, a.no_op,
        extract(epoch FROM now() - a.created_at))
        ORDER BY a.created_at) FILTER (WHERE a.transaction_hash IS NOT NULL), '[]')
FROM transactions.intents i LEFT JOIN transactions.attempts a USING (intent_id)
WHERE i.chain_id = %(chain_id)s AND (%(deal_id)s::text IS NULL OR i.deal_id = %(deal_id)s)
    AND i.state IN ('PREPARED', 'SIGNED', 'BROADCAST', 'UNKNOWN', 'INCLUDED', 'REVERTED',
        'REPLACED')
    AND NOT (i.state = 'REPLACED' AND i.mined_hash IS NULL)
GROUP BY i.intent_id ORDER BY i.nonce LIMIT %(limit)s
"""
_OUT_AGAIN: Final = """
UPDATE transactions.intents SET state = 'BROADCAST', block_number = NULL, block_hash = NULL
WHERE intent_id = %s AND state = %s AND block_hash IS NOT DISTINCT FROM %s
RETURNING intent_id
"""
_IN_A_BLOCK: Final = """
UPDATE transactions.intents SET state = %s, mined_hash = %s, block_number = %s, block_hash = %s,
    gas_used = %s, effective_gas_price_wei = %s, succeeded = %s
WHERE intent_id = %s AND state = %s RETURNING intent_id
"""
_TO_UNKNOWN: Final = """
UPDATE transactions.intents SET state = 'UNKNOWN', block_number = %s
WHERE intent_id = %s AND state = %s RETURNING intent_id
"""
_FINAL: Final = """
UPDATE transactions.intents SET state = 'FINALIZED' WHERE intent_id = %s AND state = %s
RETURNING intent_id
"""
_HALTED: Final = """
SELECT i.intent_id FROM transactions.intents i
WHERE EXISTS (SELECT FROM control.halts h WHERE h.state <> 'ACTIVE')
    AND i.chain_id = %s AND i.state IN ('BROADCAST', 'UNKNOWN')
    AND EXISTS (SELECT FROM transactions.halt_of(i.batch_key))
"""
_NOTICE: Final = "INSERT INTO transactions.notices (chain_id, deal_id, notice) VALUES (%s, %s, %s)"
_UNSENT: Final = """
SELECT notice_id, notice FROM transactions.notices
WHERE chain_id = %s AND sent_at IS NULL ORDER BY notice_id LIMIT 100
"""
_FINAL_BLOCKS: Final = """
SELECT block_number, block_hash FROM transactions.intents
WHERE chain_id = %s AND state = 'FINALIZED' AND block_number < %s
GROUP BY block_number, block_hash ORDER BY block_number DESC LIMIT %s
"""
_OF_BLOCKS: Final = """
SELECT intent_id, deal_id, block_hash FROM transactions.intents
WHERE chain_id = %s AND state = 'FINALIZED' AND block_hash = ANY(%s) ORDER BY nonce
"""
_RECEIPTS: Final = """
SELECT i.intent_id, i.mined_hash, i.block_number, i.block_hash, a.no_op, i.gas_used,
    i.effective_gas_price_wei, i.succeeded
FROM transactions.intents i JOIN transactions.attempts a ON a.transaction_hash = i.mined_hash
WHERE i.chain_id = %s AND i.deal_id = %s AND i.block_hash IS NOT NULL ORDER BY i.nonce
"""
_MOST: Final = 20_000


@dataclass(frozen=True, slots=True)
class Unsettled:
    """An intent that is not final; `seconds` since it last moved, `attempts` oldest first."""

    intent_id: str
    deal_id: DealId
    sender: Address
    nonce: int
    state: IntentState
    block_number: int | None
    block_hash: str | None
    mined_hash: str | None
    seconds: float
    attempts: tuple[Attempt, ...]


@dataclass(frozen=True, slots=True)
class Change:
    """The states that an intent passes through now, and the receipt that made it."""

    intent: Unsettled
    path: tuple[IntentState, ...]
    receipt: Receipt | None
    head: int

    @property
    def undone(self) -> bool:
        """Whether it was in a block that is no more."""
        return self.intent.state in IN_A_BLOCK and IntentState.BROADCAST in self.path

    @property
    def found_again(self) -> bool:
        """Whether it is in a block now, and was in another before."""
        was_mined = self.intent.mined_hash is not None
        return was_mined and self.receipt is not None and self.receipt.state in self.path


class UnsettledStore:
    """Reads and moves the intents of one chain. Every method is one transaction."""

    def __init__(self, chain_id: ChainId, pool: Pool) -> None:
        """Take the pool of the engine's own database role."""
        self._chain_id = chain_id
        self._pool = pool

    async def all(self, deal_id: DealId | None = None) -> list[Unsettled]:
        """What is not final, of one deal or of all, by nonce."""
        order = {"chain_id": self._chain_id, "deal_id": deal_id, "limit": _MOST}
        async with self._pool.connection() as connection:
            cursor = await connection.execute(_UNSETTLED, order)
            return [_unsettled(row) for row in await cursor.fetchall()]

    async def apply(self, changes: Sequence[Change]) -> list[Change]:
        """Make the moves, with the notices that tell of them; return those that were made.

        Whoever moved one of them meanwhile has looked later: then nothing is done about it.
        """
        if not changes:
            return []
        async with self._pool.connection() as connection, connection.transaction():
            made = await _move_all(connection, changes)
            for notice in self._notices(made):
                await self._tell(connection, notice)
        return made

    async def halted(self) -> set[str]:
        """Which intents that are out would add risk that may not be added now."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(_HALTED, (self._chain_id,))
            return {str(row[0]) for row in await cursor.fetchall()}

    async def unsent_notices(self) -> list[Notice]:
        """What deals have not been told yet, in order."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(_UNSENT, (self._chain_id,))
            rows = await cursor.fetchall()
        return [
            Notice.model_validate(notice).model_copy(update={"notice_id": number})
            for number, notice in rows
        ]

    async def notice_sent(self, notice_id: int) -> None:
        """Note that a deal was told."""
        async with self._pool.connection() as connection:
            await connection.execute(
                "UPDATE transactions.notices SET sent_at = now() WHERE notice_id = %s", (notice_id,)
            )

    async def final_blocks(self, below: int, limit: int) -> list[tuple[int, str]]:
        """Number and hash of blocks that hold final intents, the highest below `below` first."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(_FINAL_BLOCKS, (self._chain_id, below, limit))
            return [(int(row[0]), str(row[1])) for row in await cursor.fetchall()]

    async def definalize(self, block_hashes: list[str]) -> int:
        """Send out again what was final in these blocks; return how many. Needs a cleared latch."""
        async with self._pool.connection() as connection, connection.transaction():
            cursor = await connection.execute(_OF_BLOCKS, (self._chain_id, block_hashes))
            rows = await cursor.fetchall()
            for intent_id, _, block_hash in rows:
                await connection.execute(_OUT_AGAIN, (intent_id, "FINALIZED", block_hash))
            for deal_id in sorted({str(row[1]) for row in rows}):
                undone = tuple(str(row[0]) for row in rows if row[1] == deal_id)
                notice = Notice(chain_id=self._chain_id, deal_id=DealId(deal_id), undone=undone)
                await self._tell(connection, notice)
        return len(rows)

    async def receipts(self, deal_id: DealId) -> tuple[Receipt, ...]:
        """How every mined intent of a deal is in the chain, by nonce."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(_RECEIPTS, (self._chain_id, deal_id))
            return tuple(_receipt(row) for row in await cursor.fetchall())

    def _notices(self, changes: Iterable[Change]) -> list[Notice]:
        told: dict[DealId, Notice] = {}
        for change in changes:
            if not change.undone and not change.found_again:
                continue
            deal_id = change.intent.deal_id
            notice = told.get(deal_id) or Notice(chain_id=self._chain_id, deal_id=deal_id)
            if change.found_again and change.receipt is not None:
                update: dict[str, Any] = {"mined": (*notice.mined, change.receipt)}
            else:
                update = {"undone": (*notice.undone, change.intent.intent_id)}
            told[deal_id] = notice.model_copy(update=update)
        return list(told.values())

    async def _tell(self, connection: Connection, notice: Notice) -> None:
        document = notice.model_dump(mode="json", exclude={"notice_id"})
        await connection.execute(_NOTICE, (self._chain_id, notice.deal_id, Jsonb(document)))


async def _move_all(connection: Connection, changes: Sequence[Change]) -> list[Change]:
    """Pass through the states, all together; what is not where it was any more is left out.

    A block changes hundreds of intents at once: one round trip for each would take most of the time
    until the next block.
    """
    stopped: set[str] = set()
    for number in range(max(len(change.path) for change in changes)):
        steps: dict[str, dict[str, tuple[object, ...]]] = {}
        for change in changes:
            intent_id = change.intent.intent_id
            if number < len(change.path) and intent_id not in stopped:
                statement, row = _step(change, number)
                steps.setdefault(statement, {})[intent_id] = row
        for statement, rows in steps.items():
            stopped |= rows.keys() - await _moved(connection, statement, rows.values())
    return [change for change in changes if change.intent.intent_id not in stopped]


async def _moved(
    connection: Connection, statement: str, rows: Iterable[tuple[object, ...]]
) -> set[str]:
    """The ids that the statement returns for these rows."""
    found: set[str] = set()
    async with connection.cursor() as cursor:
        await cursor.executemany(statement.encode(), rows, returning=True)
        more: bool | None = True
        while more:
            found |= {str(row[0]) for row in await cursor.fetchall()}
            more = cursor.nextset()
    return found


def _step(change: Change, number: int) -> tuple[str, tuple[object, ...]]:
    """The statement and its row for one of the states that an intent passes through."""
    intent, after = change.intent, change.path[number]
    before = change.path[number - 1] if number else intent.state
    match after:
        case IntentState.BROADCAST:
            return _OUT_AGAIN, (intent.intent_id, before, intent.block_hash)
        case IntentState.UNKNOWN:
            return _TO_UNKNOWN, (change.head, intent.intent_id, before)
        case IntentState.FINALIZED:
            return _FINAL, (intent.intent_id, before)
        case _:
            return _IN_A_BLOCK, _receipt_row(change.receipt, after, before)


def _receipt_row(
    receipt: Receipt | None, after: IntentState, before: IntentState
) -> tuple[object, ...]:
    assert receipt is not None  # noqa: S101 - only a receipt leads there
    return (
        after,
        receipt.transaction_hash,
        receipt.block_number,
        receipt.block_hash,
        receipt.gas_used,
        receipt.effective_gas_price,
        receipt.succeeded,
        receipt.intent_id,
        before,
    )


def _unsettled(row: tuple[Any, ...]) -> Unsettled:
    attempts = tuple(
        attempt_of((row[0], each[0], bytes.fromhex(each[1]), *each[2:])) for each in row[9]
    )
    return Unsettled(
        intent_id=str(row[0]),
        deal_id=DealId(row[1]),
        sender=Address(row[2]),
        nonce=int(row[3]),
        state=IntentState(row[4]),
        block_number=row[5],
        block_hash=row[6],
        mined_hash=row[7],
        seconds=float(row[8]),
        attempts=attempts,
    )


def _receipt(row: tuple[Any, ...]) -> Receipt:
    return Receipt(
        intent_id=str(row[0]),
        transaction_hash=str(row[1]),
        block_number=int(row[2]),
        block_hash=str(row[3]),
        no_op=bool(row[4]),
        gas_used=int(row[5]),
        effective_gas_price=int(row[6]),
        succeeded=bool(row[7]),
    )
