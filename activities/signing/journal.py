"""The signer's journal: every decision, append-only, each row bound to the one before it.

The database keeps the rules (migrations 0003 and 0009): it computes the chain, refuses a second use
of a nonce, whatever was withheld, and what is more than the rates allow, and skips a decision that
it holds already. One insert is one round trip and one transaction, so what was recorded is durable
when it returns.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Final

import psycopg
from psycopg.types.json import Jsonb

from activities.database import Pool, connected
from activities.halts.standing import refusal_of
from activities.signing.calls import MOST_INTENTS
from activities.signing.document import Rates
from activities.signing.findings import Finding, Rule
from activities.signing.policy import Accepted, is_no_op
from activities.signing.rules import SigningPolicy
from activities.signing.verification import JournalCheck, verify_journal
from domain.amounts import USD_DECIMALS, format_units
from domain.transactions import Intent, PreparedBatch, SignedTransaction

_INSERT: Final = """
INSERT INTO signing.journal (decision, batch, intent_id, chain_id, account, nonce, body_digest,
    no_op, max_fee_per_gas, max_priority_fee_per_gas, transaction_hash, rule, reason,
    policy_version, policy_digest, usd8, rated)
SELECT decision, batch, intent_id, chain_id, account, nonce, body_digest,
    no_op, max_fee_per_gas, max_priority_fee_per_gas, transaction_hash, rule, reason,
    policy_version, policy_digest, usd8, rated
FROM jsonb_to_recordset(%s) AS entry (decision text, batch text, intent_id text, chain_id numeric,
    account text, nonce bigint, body_digest text, no_op boolean, max_fee_per_gas numeric,
    max_priority_fee_per_gas numeric, transaction_hash text, rule text, reason text,
    policy_version integer, policy_digest text, usd8 numeric, rated boolean)
"""
_SIGNED: Final = """
SELECT DISTINCT journal.intent_id
FROM signing.journal AS journal
JOIN unnest(%s::text[], %s::text[]) AS asked (intent_id, body_digest)
    USING (intent_id, body_digest)
WHERE journal.decision = 'signed'
"""

_LONGEST_TEXT: Final = 500
_LIMITS: Final = {
    Rule.NONCE_TAKEN: "one intent and one body for each nonce of an account",
    Rule.NONCE_FILLED: "nothing new at a nonce that a no-op has filled",
    Rule.INTENT_MOVED: "one nonce for each intent, for ever",
    Rule.WITHHELD: "nothing that was withheld",
    Rule.KEY_RETIRED: "nothing for a deal that has ended",
    Rule.CHAIN_LATCHED: "nothing new while the chain is latched",
    Rule.POLICY_SUPERSEDED: "nothing new by a policy that is not in force",
    Rule.JOURNAL: "what the journal's constraints allow",
}
_RATES: Final[dict[Rule, Callable[[Rates], str]]] = {
    Rule.RATE_DEAL_SIGNATURES: lambda rates: f"{rates.deal_signatures} in the deal's life",
    Rule.RATE_DEAL_USD: lambda rates: f"{_usd(rates.deal_usd)} in the deal's life",
    Rule.RATE_HOUR_SIGNATURES: lambda rates: f"{rates.hour_signatures} in an hour, of all deals",
    Rule.RATE_HOUR_USD: lambda rates: f"{_usd(rates.hour_usd)} in an hour, of all deals",
}
_SLOW_DOWN: Final = (
    "find out what signs so much; what lessens the risk is signed all the same, and when the hour "
    "is over, or a risk manager has raised the rate, everything is"
)


class Journal:
    """Records decisions; the database decides whether they may stand."""

    def __init__(self, pool: Pool, policy: SigningPolicy) -> None:
        """Use connections of the role deal_signer; decisions are taken by this policy."""
        self._pool = pool
        self.policy = policy

    async def record_signed(
        self, batch: PreparedBatch, transactions: Sequence[SignedTransaction], accepted: Accepted
    ) -> Finding | None:
        """Record the signatures of a whole batch, or none and return why.

        No signature may leave the signer before this has returned None. Raises `Halted`, which is
        no refusal of the policy's, and `Unavailable`.
        """
        entries = [
            self._entry("signed", batch, intent)
            | {"transaction_hash": signed.transaction_hash, "usd8": str(usd8), "rated": rated}
            for intent, signed, usd8, rated in zip(
                batch.intents, transactions, accepted.usd8, accepted.rated, strict=True
            )
        ]
        try:
            await self._insert(entries)
        except psycopg.IntegrityError as error:
            halted = refusal_of(error)
            if halted is not None:
                raise halted from error
            return self._finding(batch, error)
        return None

    async def record_refused(self, batch: PreparedBatch, finding: Finding) -> None:
        """Record a refusal: of the intent at fault, or of them all (as many as a batch may have).

        When a deal has had as many within the hour as the policy keeps, it adds nothing. Raises
        `Unavailable`.
        """
        of_them = batch.intents[:MOST_INTENTS]
        refused = (finding.intent,) if finding.intent else of_them
        reason = f"{finding.reason}: {finding.value}, allowed: {finding.limit}"
        await self._insert(
            self._entry("refused", batch, intent)
            | {"rule": finding.rule, "reason": printable(reason)}
            for intent in refused
        )

    async def withhold(self, batch: PreparedBatch) -> tuple[str, ...]:
        """Promise never to sign these intents; return those for which it is too late.

        Whoever signs at the same time comes either before, and is returned, or after, and is
        refused: the promise is committed before this looks. What was signed stays signable, because
        it may be out and need a higher fee. Raises `Unavailable`.
        """
        await self._insert(self._entry("withheld", batch, intent) for intent in batch.intents)
        return await self.signed_before(batch)

    async def signed_before(self, batch: PreparedBatch) -> tuple[str, ...]:
        """The intents that were signed with the bodies they have here. Raises `Unavailable`."""
        ids = [intent.intent_id for intent in batch.intents]
        bodies = [intent.body_digest() for intent in batch.intents]
        async with connected(self._pool) as connection:
            rows = await (await connection.execute(_SIGNED, (ids, bodies))).fetchall()
        signed = {row[0] for row in rows}
        return tuple(intent_id for intent_id in ids if intent_id in signed)

    async def verify(self, expected_head: str | None = None) -> JournalCheck:
        """Recompute the whole chain, see `verify_journal`. Raises `Unavailable`."""
        return await verify_journal(self._pool, expected_head)

    async def _insert(self, entries: Iterable[dict[str, object]]) -> None:
        async with connected(self._pool) as connection:
            await connection.execute(_INSERT, (Jsonb(list(entries)),))

    def _entry(self, decision: str, batch: PreparedBatch, intent: Intent) -> dict[str, object]:
        """A row as JSON; numbers as text, because they are larger than JSON readers take."""
        return {
            "decision": decision,
            "batch": str(batch.key),
            "intent_id": printable(intent.intent_id),
            "chain_id": str(intent.chain_id),
            "account": intent.sender,
            "nonce": str(intent.nonce),
            "body_digest": intent.body_digest(),
            "no_op": is_no_op(intent),
            "max_fee_per_gas": str(intent.fees.max_fee_per_gas),
            "max_priority_fee_per_gas": str(intent.fees.max_priority_fee_per_gas),
            "policy_version": self.policy.version,
            "policy_digest": self.policy.digest,
            "usd8": "0",
            "rated": False,
        }

    def _finding(self, batch: PreparedBatch, error: psycopg.IntegrityError) -> Finding:
        """Read the rule and the intent out of the database's refusal."""
        name = error.diag.constraint_name
        rule = Rule(name) if name in _LIMITS or name in _RATES else Rule.JOURNAL
        detail = error.diag.message_detail
        at_fault = next((intent for intent in batch.intents if intent.intent_id == detail), None)
        if rule in _RATES:
            reason, limit = "it is more than the signing policy's rates allow", _RATES[rule]
            return Finding(
                rule,
                reason,
                value=error.diag.message_primary,
                limit=limit(self.policy.rates),
                next_action=_SLOW_DOWN,
                intent=at_fault,
            )
        return Finding(
            rule,
            "the journal does not allow this signature",
            value=at_fault.nonce if at_fault else None,
            limit=_LIMITS[rule],
            actual=error.diag.message_primary,
            next_action="look at the deal's transactions; a new one needs a new intent and nonce",
            intent=at_fault,
        )


def printable(text: str) -> str:
    """Text that any database takes: what was refused may be anything."""
    return "".join(char if char.isprintable() else "?" for char in text[:_LONGEST_TEXT])


def _usd(usd8: int) -> str:
    return f"{format_units(usd8, USD_DECIMALS)} USD"
