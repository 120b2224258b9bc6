"""What the engine has written down about a deal, held against the chain."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psycopg
from psycopg.rows import class_row

from domain.views import DealView
from starters.local import postgres
from tests.support.node import Node

_INTENTS: Final = """
SELECT intent_id, batch_key, sender, nonce, state, purpose, mined_hash, block_hash,
    (SELECT array_agg(transaction_hash ORDER BY created_at) FROM transactions.attempts AS attempt
        WHERE attempt.intent_id = intent.intent_id) AS attempts
FROM transactions.intents AS intent WHERE deal_id = %s ORDER BY sender, nonce
"""
_FINAL_WITHIN: Final = 60.0
_LOOK_SECONDS: Final = 0.05


@dataclass(frozen=True)
class IntentRow:
    """One intent as the database has it, with the hashes of its attempts."""

    intent_id: str
    batch_key: str
    sender: str
    nonce: int
    state: str
    purpose: str
    mined_hash: str | None
    block_hash: str | None
    attempts: list[str] | None


@dataclass(frozen=True)
class Books:
    """The database of a stack."""

    folder: Path

    def rows(self, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Read as the owner."""
        with psycopg.connect(postgres.url(self.folder, postgres.OWNER)) as connection:
            return connection.execute(statement.encode(), parameters).fetchall()

    def intents(self, deal_id: str) -> list[IntentRow]:
        """The deal's intents, in the order of their accounts and nonces."""
        with (
            psycopg.connect(postgres.url(self.folder, postgres.OWNER)) as connection,
            connection.cursor(row_factory=class_row(IntentRow)) as cursor,
        ):
            return cursor.execute(_INTENTS, (deal_id,)).fetchall()

    def of_step(self, deal_id: str, step: str) -> list[IntentRow]:
        """The intents of a step's batches."""
        return [i for i in self.intents(deal_id) if i.batch_key.split("/")[1] == step]

    def next_nonce(self, account: str, chain_id: int) -> int | None:
        """The nonce that the account's next intent will have; None if it never had one."""
        query = "SELECT next_nonce FROM transactions.accounts WHERE (address, chain_id) = (%s, %s)"
        rows = self.rows(query, account, chain_id)
        return int(rows[0][0]) if rows else None

    def journal(self, deal_id: str) -> list[tuple[Any, ...]]:
        """What the signer has decided for the deal: decision, intent, nonce."""
        return self.rows(
            "SELECT decision, intent_id, nonce FROM signing.journal"
            " WHERE batch LIKE %s ORDER BY sequence",
            f"{deal_id}/%",
        )

    def _final(self, deal_id: str) -> list[IntentRow]:
        """Every intent that was not given up, once all are final."""
        deadline = time.monotonic() + _FINAL_WITHIN
        while True:
            used = [intent for intent in self.intents(deal_id) if intent.state != "ABANDONED"]
            states = {intent.intent_id: intent.state for intent in used}
            if set(states.values()) <= {"FINALIZED"}:
                return used
            assert time.monotonic() < deadline, f"not final: {states}"
            time.sleep(_LOOK_SECONDS)

    def check_exactly_once(self, view: DealView, node: Node) -> None:
        """Hold the books of a deal that has ended against the chain.

        Every intent that was signed was mined once, final, under one of its attempts' hashes; the
        account's nonces have no gap, and nothing else was ever sent from it. The watcher calls them
        final within about a block, which may be after the deal has ended.
        """
        used = self._final(view.request.deal_id)
        for intent in used:
            mined = [h for h in intent.attempts or () if node.receipt(h) is not None]
            assert mined == [intent.mined_hash], f"{intent.intent_id} was mined as {mined}"
        own = [intent.nonce for intent in used if intent.sender == view.account]
        assert own == list(range(len(own)))
        assert view.account is not None
        assert node.nonce(view.account) == node.nonce(view.account, "pending") == len(own)
        steps = {str(step.outcome.key) for step in view.steps}
        assert Counter(step.outcome.key for step in view.steps).most_common(1)[0][1] == 1
        assert {intent.batch_key for intent in used} == steps
        told = {i.transaction_hash for step in view.steps for i in step.outcome.inclusions}
        assert told == {intent.mined_hash for intent in used}
