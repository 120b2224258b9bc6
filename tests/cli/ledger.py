"""The engine's books as its own role writes them, for commands that read them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from domain.errors import Problem
from tests.support.postgres import Database

ACCOUNT = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
TREASURY = "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC"
GWEI = 10**9
PROBLEM = Problem(code="failed", message="it is stuck", next_action="look at it")
_PATHS = {
    "PREPARED": (),
    "BROADCAST": ("SIGNED", "BROADCAST"),
    "UNKNOWN": ("SIGNED", "BROADCAST", "UNKNOWN"),
    "INCLUDED": ("SIGNED", "BROADCAST", "INCLUDED"),
    "REVERTED": ("SIGNED", "BROADCAST", "REVERTED"),
    "REPLACED": ("SIGNED", "BROADCAST", "REPLACED"),
    "FINALIZED": ("SIGNED", "BROADCAST", "INCLUDED", "FINALIZED"),
    "ABANDONED": ("ABANDONED",),
}


def hash_of(*parts: object) -> str:
    """A hash that nothing else has."""
    return "0x" + hashlib.sha256(repr(parts).encode()).hexdigest()


@dataclass(frozen=True)
class Ledger:
    """One database."""

    database: Database

    def intent(  # noqa: PLR0913 - the columns that tests care about
        self,
        intent_id: str,
        nonce: int,
        *,
        state: str = "BROADCAST",
        account: str = ACCOUNT,
        chain_id: int = 138,
        fees: tuple[int, ...] = (2,),
        **fields: Any,
    ) -> list[str]:
        """Number an intent, sign it at each of these fees (gwei), and move it to its state.

        Returns its attempts' hashes; the last is the one that is mined, if one is.
        """
        deal_id, _, _ = intent_id.partition("/")
        batch_key, _, _ = intent_id.rpartition("/")
        row = {
            "intent_id": intent_id,
            "batch_key": batch_key,
            "deal_id": deal_id,
            "chain_id": chain_id,
            "sender": account,
            "nonce": nonce,
            "to_address": TREASURY,
            "value_wei": 10**18,
            "data": b"",
            "gas_limit": 100_000,
            "purpose": "do it",
            "body_digest": "d",
        } | fields
        names = ", ".join(row)
        values = ", ".join(f"%({name})s" for name in row)
        self.execute(
            "INSERT INTO transactions.accounts (chain_id, address, next_nonce) VALUES (%s, %s, %s)"
            " ON CONFLICT DO NOTHING",
            chain_id,
            account,
            0,
        )
        self.execute(
            "INSERT INTO transactions.batches (batch_key, deal_id, chain_id, prepared, digest)"
            " VALUES (%s, %s, %s, '{}', '') ON CONFLICT DO NOTHING",
            row["batch_key"],
            deal_id,
            chain_id,
        )
        self.execute(f"INSERT INTO transactions.intents ({names}) VALUES ({values})", row)  # noqa: S608 - our own names
        hashes = [self.attempt(intent_id, fee) for fee in fees if "SIGNED" in _PATHS[state]]
        self.move(intent_id, *_PATHS[state], mined=hashes[-1] if hashes else None)
        return hashes

    def attempt(self, intent_id: str, gwei: int, *, no_op: bool = False) -> str:
        """Save what was signed for an intent at this maximum fee."""
        transaction_hash = hash_of(intent_id, gwei, no_op)
        self.execute(
            "INSERT INTO transactions.attempts (transaction_hash, intent_id, raw, no_op,"
            " max_fee_per_gas_wei, max_priority_fee_per_gas_wei) VALUES (%s, %s, '', %s, %s, %s)",
            transaction_hash,
            intent_id,
            no_op,
            gwei * GWEI + 1,
            GWEI,
        )
        return transaction_hash

    def move(self, intent_id: str, *states: str, mined: str | None = None) -> None:
        """Move an intent through these states; in a block, it is in number 9."""
        for state in states:
            block = (9, hash_of("block"), mined, 50_000, 3 * GWEI, state != "REVERTED")
            if mined is None or state not in {"INCLUDED", "REVERTED", "REPLACED", "FINALIZED"}:
                block = (None,) * 6
            self.execute(
                "UPDATE transactions.intents SET state = %s, block_number = %s, block_hash = %s,"
                " mined_hash = %s, gas_used = %s, effective_gas_price_wei = %s, succeeded = %s"
                " WHERE intent_id = %s",
                state,
                *block,
                intent_id,
            )

    def alert(
        self, kind: str, subject: str, chain_id: int = 138, problem: Problem = PROBLEM
    ) -> None:
        """Raise an alert."""
        self.execute(
            "INSERT INTO transactions.alerts (chain_id, kind, subject, problem)"
            " VALUES (%s, %s, %s, %s)",
            chain_id,
            kind,
            subject,
            Jsonb(problem.model_dump()),
        )

    def execute(self, statement: str, *parameters: Any) -> None:
        """Run a statement as the engine; one mapping, or parameters in order."""
        given = parameters[0] if parameters and isinstance(parameters[0], dict) else parameters
        with psycopg.connect(self.database.role("deal_engine"), autocommit=True) as connection:
            connection.execute(statement.encode(), given)
