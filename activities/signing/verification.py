"""Whether the journal is whole: every row follows from the one before, and none was cut off."""

import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from psycopg.rows import dict_row

from activities.database import Pool, connected

GENESIS: Final = "0" * 64
"""What the first row has for the hash of the one before it."""

_READ: Final = "SELECT * FROM signing.journal WHERE sequence > %s ORDER BY sequence LIMIT %s"
_PAGE: Final = 1_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_CONTENT: Final = (
    "decision",
    "batch",
    "intent_id",
    "chain_id",
    "account",
    "nonce",
    "body_digest",
    "no_op",
    "max_fee_per_gas",
    "max_priority_fee_per_gas",
    "transaction_hash",
    "rule",
    "reason",
)
"""The decision itself, as in version 1 of the hash."""
_CONTENT_2: Final = (*_CONTENT, "policy_version", "policy_digest", "usd8")
_COUNTS: Final = (
    "rated",
    "total_signatures",
    "total_usd8",
    "deal_signatures",
    "deal_usd8",
    "deal_refusals",
    "unknown_refusals",
)


@dataclass(frozen=True, slots=True)
class JournalCheck:
    """What recomputing the journal found.

    `rows` good ones, the last of which has the hash `head`; kept elsewhere, it shows later that no
    row was cut off the end. `broken` is the sequence of the first row that does not follow from the
    one before, or that must have been there and is missing; `problem` says in words what is wrong.
    """

    rows: int
    head: str
    broken: int | None = None
    problem: str | None = None


async def verify_journal(pool: Pool, expected_head: str | None = None) -> JournalCheck:
    """Recompute the whole chain; raise `Unavailable`.

    `expected_head` is the head of an earlier check, kept where the database cannot be reached from:
    it must still be one of the rows, or rows were cut off the end or the chain was written anew.
    """
    rows, head, version, seen = 0, GENESIS, 1, expected_head in {None, GENESIS}
    async for row in _rows(pool):
        problem = _problem(row, rows + 1, head, version)
        if problem is not None:
            return JournalCheck(rows, head, rows + 1, problem)
        rows, head, version = rows + 1, row["hash"], row["hash_version"]
        seen = seen or head == expected_head
    if not seen:
        return JournalCheck(rows, head, rows + 1, "the head that was kept is not in the journal")
    return JournalCheck(rows, head)


async def _rows(pool: Pool) -> AsyncIterator[dict[str, Any]]:
    last = 0
    while True:
        async with connected(pool) as connection:
            cursor = connection.cursor(row_factory=dict_row)
            page = await (await cursor.execute(_READ, (last, _PAGE))).fetchall()
        for row in page:
            yield row
        if len(page) < _PAGE:
            return
        last = page[-1]["sequence"]


def _problem(row: dict[str, Any], sequence: int, head: str, version: int) -> str | None:
    if row["sequence"] != sequence:
        return f"row {sequence} is missing"
    if row["hash_version"] < version:
        return f"row {sequence} has an older form than the one before"
    if row["previous_hash"] != head:
        return f"row {sequence} does not follow from the one before"
    if not _holds(row, head):
        return f"row {sequence} was changed"
    return None


def _holds(row: dict[str, Any], head: str) -> bool:
    """Whether the row's own hashes are those of its fields."""
    when = (row["decided_at"] - _EPOCH) // timedelta(microseconds=1)
    if row["hash_version"] == 1:
        content = _digest(*(row[name] for name in _CONTENT))
        expected = _digest(head, row["sequence"], when, row["replacement"], content)
        # What a row of that form cannot vouch for must not be there.
        empty = all(row[name] is None for name in (*_COUNTS, *_CONTENT_2[len(_CONTENT) :]))
        return (row["content_digest"], row["hash"]) == (content, expected) and empty
    content = _digest(*(row[name] for name in _CONTENT_2))
    counts = (row[name] for name in _COUNTS)
    place = (head, row["sequence"], when, row["replacement"], content, *counts)
    expected = _digest(row["hash_version"], *place)
    return (row["content_digest"], row["hash"]) == (content, expected)


def _digest(*fields: object) -> str:
    """SHA-256 over length-prefixed fields, as the database's ``signing.digest`` has it."""
    return hashlib.sha256(b",".join(_field(field) for field in fields)).hexdigest()


def _field(field: object) -> bytes:
    if field is None:
        return b"-"
    text = str(field).lower() if isinstance(field, bool) else str(field)
    return f"{len(text.encode())}:{text}".encode()
