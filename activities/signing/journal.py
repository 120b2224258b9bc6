"""The signer's journal: every decision, append-only, each row bound to the one before it.

The database keeps the rules (migration 0003): it computes the chain, refuses a second use of a
nonce and whatever was withheld, and skips a decision that it holds already. One insert is one round
trip and one transaction, so what was recorded is durable when it returns.
"""

import hashlib
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import psycopg
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from activities.signing.calls import MOST_INTENTS
from activities.signing.database import Pool, connected
from activities.signing.findings import Finding, Rule
from activities.signing.policy import is_no_op
from domain.transactions import Intent, PreparedBatch, SignedTransaction

GENESIS: Final = "0" * 64
"""What the first row has for the hash of the one before it."""

_INSERT: Final = """
INSERT INTO signing.journal (decision, batch, intent_id, chain_id, account, nonce, body_digest,
    no_op, max_fee_per_gas, max_priority_fee_per_gas, transaction_hash, rule, reason)
SELECT decision, batch, intent_id, chain_id, account, nonce, body_digest,
    no_op, max_fee_per_gas, max_priority_fee_per_gas, transaction_hash, rule, reason
FROM jsonb_to_recordset(%s) AS entry (decision text, batch text, intent_id text, chain_id numeric,
    account text, nonce bigint, body_digest text, no_op boolean, max_fee_per_gas numeric,
    max_priority_fee_per_gas numeric, transaction_hash text, rule text, reason text)
"""
_SIGNED: Final = """
SELECT DISTINCT journal.intent_id
FROM signing.journal AS journal
JOIN unnest(%s::text[], %s::text[]) AS asked (intent_id, body_digest)
    USING (intent_id, body_digest)
WHERE journal.decision = 'signed'
"""
_READ: Final = "SELECT * FROM signing.journal WHERE sequence > %s ORDER BY sequence LIMIT %s"

_PAGE: Final = 1_000
_LONGEST_TEXT: Final = 500
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LIMITS: Final = {
    Rule.NONCE_TAKEN: "one intent and one body for each nonce of an account",
    Rule.NONCE_FILLED: "nothing new at a nonce that a no-op has filled",
    Rule.INTENT_MOVED: "one nonce for each intent, for ever",
    Rule.WITHHELD: "nothing that was withheld",
    Rule.CHAIN_LATCHED: "nothing new while the chain is latched",
    Rule.JOURNAL: "what the journal's constraints allow",
}


@dataclass(frozen=True, slots=True)
class JournalCheck:
    """What recomputing the journal found.

    `head` is the hash of the last good row; kept elsewhere, it shows later that no row was cut off
    the end. `broken` is the sequence of the first row that does not follow from the one before.
    """

    rows: int
    head: str
    broken: int | None = None


class Journal:
    """Records decisions; the database decides whether they may stand."""

    def __init__(self, pool: Pool) -> None:
        """Use connections of the role deal_signer."""
        self._pool = pool

    async def record_signed(
        self, batch: PreparedBatch, transactions: Sequence[SignedTransaction]
    ) -> Finding | None:
        """Record the signatures of a whole batch, or none and return why.

        No signature may leave the signer before this has returned None. Raises `Unavailable`.
        """
        entries = [
            _entry("signed", batch, intent) | {"transaction_hash": signed.transaction_hash}
            for intent, signed in zip(batch.intents, transactions, strict=True)
        ]
        try:
            await self._insert(entries)
        except psycopg.IntegrityError as error:
            return _finding(batch, error)
        return None

    async def record_refused(self, batch: PreparedBatch, finding: Finding) -> None:
        """Record a refusal: of the intent at fault, or of them all (as many as a batch may have).

        Raises `Unavailable`.
        """
        of_them = batch.intents[:MOST_INTENTS]
        refused = (finding.intent,) if finding.intent else of_them
        reason = f"{finding.reason}: {finding.value}, allowed: {finding.limit}"
        await self._insert(
            _entry("refused", batch, intent) | {"rule": finding.rule, "reason": _printable(reason)}
            for intent in refused
        )

    async def withhold(self, batch: PreparedBatch) -> tuple[str, ...]:
        """Promise never to sign these intents; return those for which it is too late.

        Whoever signs at the same time comes either before, and is returned, or after, and is
        refused: the promise is committed before this looks. What was signed stays signable, because
        it may be out and need a higher fee. Raises `Unavailable`.
        """
        await self._insert(_entry("withheld", batch, intent) for intent in batch.intents)
        return await self.signed_before(batch)

    async def signed_before(self, batch: PreparedBatch) -> tuple[str, ...]:
        """The intents that were signed with the bodies they have here. Raises `Unavailable`."""
        ids = [intent.intent_id for intent in batch.intents]
        bodies = [intent.body_digest() for intent in batch.intents]
        async with connected(self._pool) as connection:
            rows = await (await connection.execute(_SIGNED, (ids, bodies))).fetchall()
        signed = {row[0] for row in rows}
        return tuple(intent_id for intent_id in ids if intent_id in signed)

    async def verify(self) -> JournalCheck:
        """Recompute the whole chain. Raises `Unavailable`."""
        rows, head = 0, GENESIS
        async for row in self._rows():
            if row["sequence"] != rows + 1 or not _follows(row, head):
                return JournalCheck(rows, head, broken=rows + 1)
            rows, head = rows + 1, row["hash"]
        return JournalCheck(rows, head)

    async def _insert(self, entries: Iterable[dict[str, object]]) -> None:
        async with connected(self._pool) as connection:
            await connection.execute(_INSERT, (Jsonb(list(entries)),))

    async def _rows(self) -> AsyncIterator[dict[str, Any]]:
        last = 0
        while True:
            async with connected(self._pool) as connection:
                cursor = connection.cursor(row_factory=dict_row)
                page = await (await cursor.execute(_READ, (last, _PAGE))).fetchall()
            for row in page:
                yield row
            if len(page) < _PAGE:
                return
            last = page[-1]["sequence"]


def _entry(decision: str, batch: PreparedBatch, intent: Intent) -> dict[str, object]:
    """A row as JSON; numbers as text, because they are larger than JSON readers take."""
    return {
        "decision": decision,
        "batch": str(batch.key),
        "intent_id": _printable(intent.intent_id),
        "chain_id": str(intent.chain_id),
        "account": intent.sender,
        "nonce": str(intent.nonce),
        "body_digest": intent.body_digest(),
        "no_op": is_no_op(intent),
        "max_fee_per_gas": str(intent.fees.max_fee_per_gas),
        "max_priority_fee_per_gas": str(intent.fees.max_priority_fee_per_gas),
    }


def _printable(text: str) -> str:
    """Text that any database takes: what was refused may be anything."""
    return "".join(char if char.isprintable() else "?" for char in text[:_LONGEST_TEXT])


def _finding(batch: PreparedBatch, error: psycopg.IntegrityError) -> Finding:
    """Read the rule and the intent out of the database's refusal."""
    name = error.diag.constraint_name
    rule = Rule(name) if name in _LIMITS else Rule.JOURNAL
    detail = error.diag.message_detail
    at_fault = next((intent for intent in batch.intents if intent.intent_id == detail), None)
    return Finding(
        rule,
        "the journal does not allow this signature",
        value=at_fault.nonce if at_fault else None,
        limit=_LIMITS[rule],
        actual=error.diag.message_primary,
        next_action="look at the deal's transactions; a new one needs a new intent and nonce",
        intent=at_fault,
    )


def _follows(row: dict[str, Any], head: str) -> bool:
    content = _digest(
        row["decision"],
        row["batch"],
        row["intent_id"],
        row["chain_id"],
        row["account"],
        row["nonce"],
        row["body_digest"],
        row["no_op"],
        row["max_fee_per_gas"],
        row["max_priority_fee_per_gas"],
        row["transaction_hash"],
        row["rule"],
        row["reason"],
    )
    microseconds = (row["decided_at"] - _EPOCH) // timedelta(microseconds=1)
    expected = _digest(head, row["sequence"], microseconds, row["replacement"], content)
    recorded = (row["previous_hash"], row["content_digest"], row["hash"])
    return recorded == (head, content, expected)


def _digest(*fields: object) -> str:
    """SHA-256 over length-prefixed fields, as the database's ``signing.digest`` has it."""
    return hashlib.sha256(b",".join(_field(field) for field in fields)).hexdigest()


def _field(field: object) -> bytes:
    if field is None:
        return b"-"
    text = str(field).lower() if isinstance(field, bool) else str(field)
    return f"{len(text.encode())}:{text}".encode()
