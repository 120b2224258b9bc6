"""The signatures of key stores that sign the same transaction differently each time.

Kept from the first time on, so that the same request gets the same bytes, as it does where
signatures are deterministic (RFC 6979).
"""

from collections.abc import Mapping, Sequence
from typing import Final

from psycopg.types.json import Jsonb

from activities.database import Pool, connected
from activities.signing.transactions import signing_hash
from domain.transactions import Intent, SignedTransaction

_FIND: Final = """
SELECT signing_hash, transaction_hash, raw FROM signing.signatures WHERE signing_hash = ANY(%s)
"""
_ADD: Final = """
INSERT INTO signing.signatures (signing_hash, transaction_hash, raw)
SELECT signing_hash, transaction_hash, raw
FROM jsonb_to_recordset(%s) AS entry (signing_hash text, transaction_hash text, raw text)
ON CONFLICT DO NOTHING
"""


class Signatures:
    """Finds and keeps signatures by what was signed. Every method raises `Unavailable`."""

    def __init__(self, pool: Pool) -> None:
        """Use connections of the role deal_signer."""
        self._pool = pool

    async def find(
        self, intents: Sequence[Intent], *, legacy: bool
    ) -> tuple[SignedTransaction, ...] | None:
        """The transactions as they were signed before; None unless all of them were."""
        hashes = [_name(intent, legacy=legacy) for intent in intents]
        async with connected(self._pool) as connection:
            rows = await (await connection.execute(_FIND, (hashes,))).fetchall()
        found: Mapping[str, tuple[str, str]] = {row[0]: (row[1], row[2]) for row in rows}
        if any(each not in found for each in hashes):
            return None
        return tuple(
            SignedTransaction(
                intent_id=intent.intent_id,
                transaction_hash=found[each][0],
                raw=found[each][1],
                fees=intent.fees,
            )
            for intent, each in zip(intents, hashes, strict=True)
        )

    async def keep(
        self,
        intents: Sequence[Intent],
        transactions: Sequence[SignedTransaction],
        *,
        legacy: bool,
    ) -> tuple[SignedTransaction, ...]:
        """Keep them, unless others are kept for the same intents; return those that are."""
        entries = [
            {
                "signing_hash": _name(intent, legacy=legacy),
                "transaction_hash": signed.transaction_hash,
                "raw": signed.raw,
            }
            for intent, signed in zip(intents, transactions, strict=True)
        ]
        async with connected(self._pool) as connection:
            await connection.execute(_ADD, (Jsonb(entries),))
        kept = await self.find(intents, legacy=legacy)
        assert kept is not None  # noqa: S101 - rows are never taken away
        return kept


def _name(intent: Intent, *, legacy: bool) -> str:
    return f"0x{signing_hash(intent, legacy=legacy).hex()}"
