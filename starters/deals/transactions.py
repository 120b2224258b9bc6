"""Reading transactions: pages of intents, newest first, and everything about one of them."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Final, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict

from domain.amounts import Units
from domain.errors import NotFound, Problem
from domain.identifiers import DealId
from domain.identity import Caller, Permission
from domain.transactions import IntentState
from starters.deals.database import Connections, fetch
from starters.deals.paging import (
    DEFAULT_LIMIT,
    check_limit,
    cursor_parts,
    cursor_text,
    invalid_cursor,
)

_NONCES: Final = 2**63

_COLUMNS: Final = """
    intent.intent_id, intent.deal_id, intent.chain_id, intent.sender AS account, intent.nonce,
    intent.purpose, intent.state, intent.created_at, intent.updated_at,
    CASE WHEN intent.state IN ('INCLUDED', 'REVERTED', 'REPLACED', 'FINALIZED')
        THEN intent.block_number END AS block_number,
    extract(epoch FROM clock_timestamp() - intent.created_at)::float AS age_seconds
"""

_LIST: Final = f"""
SELECT {_COLUMNS}, coalesce(newest.attempt_count, 0) AS attempt_count,
    newest.max_fee_per_gas_wei AS max_fee_per_gas,
    newest.max_priority_fee_per_gas_wei AS max_priority_fee_per_gas
FROM transactions.intents AS intent
LEFT JOIN LATERAL (
    SELECT count(*) OVER () AS attempt_count, max_fee_per_gas_wei, max_priority_fee_per_gas_wei
    FROM transactions.attempts AS attempt WHERE attempt.intent_id = intent.intent_id
    ORDER BY created_at DESC, max_fee_per_gas_wei DESC LIMIT 1
) AS newest ON true
"""  # noqa: S608 - put together from constants only

_NEWEST_FIRST: Final = """
ORDER BY intent.created_at DESC, intent.nonce DESC, intent.intent_id DESC LIMIT %(limit)s
"""

# Each filter that is given adds its condition; only these texts ever get into the query.
_CONDITIONS: Final = {
    "deal_id": "intent.deal_id = %(deal_id)s",
    "banks": "EXISTS (SELECT FROM deals.deals AS own WHERE own.deal_id = intent.deal_id"
    " AND own.bank = ANY(%(banks)s))",
    "chain_id": "intent.chain_id = %(chain_id)s",
    "account": "intent.sender = %(account)s",
    "states": "intent.state = ANY(%(states)s)",
    "before": "(intent.created_at, intent.nonce, intent.intent_id)"
    " < (%(created_at)s, %(nonce)s, %(intent_id)s)",
}

_FIND: Final = f"""
SELECT {_COLUMNS}, intent.batch_key, intent.to_address AS to, intent.value_wei AS value,
    '0x' || encode(intent.data, 'hex') AS data, intent.gas_limit, intent.body_digest,
    intent.block_hash, intent.mined_hash, intent.gas_used,
    intent.effective_gas_price_wei AS effective_gas_price,
    CASE WHEN intent.block_hash IS NOT NULL THEN intent.succeeded END AS succeeded,
    deal.status AS deal_status, deal.bank AS bank, step.outcome -> 'problem' AS problem, (
        SELECT coalesce(jsonb_agg(jsonb_build_object(
            'transaction_hash', attempt.transaction_hash, 'no_op', attempt.no_op,
            'max_fee_per_gas', attempt.max_fee_per_gas_wei,
            'max_priority_fee_per_gas', attempt.max_priority_fee_per_gas_wei,
            'created_at', attempt.created_at
        ) ORDER BY attempt.created_at, attempt.max_fee_per_gas_wei), '[]')
        FROM transactions.attempts AS attempt WHERE attempt.intent_id = intent.intent_id
    ) AS attempts, (
        SELECT coalesce(jsonb_agg(to_jsonb(alert) ORDER BY alert.raised_at), '[]')
        FROM transactions.alerts AS alert
        WHERE alert.chain_id = intent.chain_id AND alert.cleared_at IS NULL
            AND (alert.subject IN (intent.intent_id, intent.sender) OR alert.subject IN (
                SELECT transaction_hash FROM transactions.attempts AS attempt
                WHERE attempt.intent_id = intent.intent_id
            ))
    ) AS alerts
FROM transactions.intents AS intent
LEFT JOIN deals.deals AS deal ON deal.deal_id = intent.deal_id
LEFT JOIN deals.deal_steps AS step ON step.deal_id = intent.deal_id
    AND concat_ws('/', step.deal_id, step.step, step.round, step.attempt)
        = regexp_replace(intent.batch_key, '/fill$', '')
WHERE intent.intent_id = %(name)s OR intent.intent_id = (
    SELECT intent_id FROM transactions.attempts WHERE transaction_hash = lower(%(name)s)
)
"""  # noqa: S608 - likewise

_WHOLE: Final = BeforeValidator(lambda value: None if value is None else int(value))
"""Postgres gives amounts as decimals, which are whole."""
Wei = Annotated[Units, _WHOLE]
WeiOrNone = Annotated[Units | None, _WHOLE]

SETTLED_STATES: Final = frozenset(
    {
        IntentState.INCLUDED,
        IntentState.REVERTED,
        IntentState.REPLACED,
        IntentState.FINALIZED,
        IntentState.ABANDONED,
    }
)
"""The intent's nonce is used in a block, or was given back."""

FINAL_STATES: Final = frozenset({IntentState.FINALIZED, IntentState.ABANDONED})
"""No command changes anything about these."""


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True)


class _Intent(_Model):
    """What both lists and details tell. `age_seconds` counts from when the intent was numbered."""

    intent_id: str
    deal_id: DealId
    chain_id: int
    account: str
    nonce: int
    purpose: str
    state: IntentState
    block_number: int | None
    created_at: datetime
    updated_at: datetime
    age_seconds: float


class IntentSummary(_Intent):
    """A line of a list; fees are the newest attempt's, in wei per gas."""

    attempt_count: int
    max_fee_per_gas: WeiOrNone
    max_priority_fee_per_gas: WeiOrNone


class AttemptView(_Model):
    """Signed bytes for an intent, or for a no-op in its place; saved before they were sent."""

    transaction_hash: str
    no_op: bool
    max_fee_per_gas: Wei
    max_priority_fee_per_gas: Wei
    created_at: datetime


class Alert(_Model):
    """What a person should know of, and since when."""

    kind: str
    subject: str
    problem: Problem
    raised_at: datetime
    seen_at: datetime


class IntentDetail(_Intent):
    """Everything that is recorded about an intent; amounts in wei.

    `succeeded` is what the receipt of the attempt in a block says, None while none is in one;
    `problem` the one its step ended with.
    """

    batch_key: str
    to: str
    value: Wei
    data: str
    gas_limit: int
    body_digest: str
    block_hash: str | None
    mined_hash: str | None
    gas_used: int | None
    effective_gas_price: WeiOrNone
    succeeded: bool | None
    deal_status: str | None
    bank: str | None
    """Whose deal it is for; None for what is no deal's."""
    problem: Problem | None
    attempts: tuple[AttemptView, ...]
    alerts: tuple[Alert, ...]

    @property
    def mined(self) -> AttemptView | None:
        """The attempt that is in a block, if one of ours is."""
        if self.state not in SETTLED_STATES:
            return None
        found = (each for each in self.attempts if each.transaction_hash == self.mined_hash)
        return next(found, None)


@dataclass(frozen=True)
class IntentCursor:
    """Where the next page begins: after this intent."""

    created_at: datetime
    nonce: int
    intent_id: str

    def __str__(self) -> str:
        """One opaque word."""
        return cursor_text(self.created_at, self.nonce, self.intent_id)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read it back; raise `InvalidInput` if it is not one of ours."""
        created_at, (nonce, intent_id) = cursor_parts(text, int, str)
        if not 0 <= nonce < _NONCES or not intent_id.isprintable():
            raise invalid_cursor(text)
        return cls(created_at, nonce, intent_id)


@dataclass(frozen=True)
class IntentFilter:
    """Which intents to list; what is not given does not restrict.

    `banks` are those whose deals may be seen at all; None for every bank's, and for no bank's.
    """

    deal_id: str | None = None
    banks: tuple[str, ...] | None = None
    chain_id: int | None = None
    account: str | None = None
    states: tuple[IntentState, ...] = ()
    limit: int = DEFAULT_LIMIT
    before: IntentCursor | None = None

    def __post_init__(self) -> None:
        """Refuse a page that is empty or too large."""
        check_limit(self.limit, "transactions")


@dataclass(frozen=True)
class IntentPage:
    """Intents, and where the next page begins, if there is one."""

    intents: list[IntentSummary] = field(default_factory=list)
    next_cursor: IntentCursor | None = None


class TransactionsReader:
    """The engine's records, as the role ``deal_reader``. Every method raises `Unavailable`."""

    def __init__(self, connections: Connections) -> None:
        """Take a connection for each read."""
        self._connections = connections

    async def page(self, chosen: IntentFilter) -> IntentPage:
        """Return one page, newest first."""
        given = [text for name, text in _CONDITIONS.items() if _restricts(chosen, name)]
        where = f" WHERE {' AND '.join(given)}" if given else ""
        # One more than asked for tells whether there is a next page.
        rows = await fetch(self._connections, _LIST + where + _NEWEST_FIRST, _parameters(chosen))
        intents = [IntentSummary.model_validate(row) for row in rows[: chosen.limit]]
        return IntentPage(intents, _after(intents[-1]) if len(rows) > chosen.limit else None)

    async def find(self, name: str) -> IntentDetail:
        """Return the intent of this id, or the one of which an attempt has this hash.

        Raises `NotFound`.
        """
        rows = await fetch(self._connections, _FIND, {"name": name})
        if not rows:
            raise _unknown(name)
        return IntentDetail.model_validate(rows[0])

    async def find_for(
        self, caller: Caller, name: str, permission: Permission = Permission.TX_READ
    ) -> IntentDetail:
        """Return it if the caller may see it.

        Raises `Forbidden`, and `NotFound` for one of another bank's deal as for one that is not
        there; one that is no deal's is only for whoever has all banks.
        """
        caller.require(permission)
        intent = await self.find(name)
        if not caller.principal.all_banks and not caller.principal.has_bank(intent.bank or ""):
            raise _unknown(name)
        return intent


def _unknown(name: str) -> NotFound:
    """There is no such transaction."""
    return NotFound(
        f"there is no transaction {name}",
        field="intent",
        value=name,
        limit="an intent id, or the hash of one of its attempts",
        next_action="compare it with `deal tx list`",
    )


def _restricts(chosen: IntentFilter, name: str) -> bool:
    value = getattr(chosen, name)
    return value is not None if name == "banks" else bool(value)


def _parameters(chosen: IntentFilter) -> dict[str, object]:
    return {
        "deal_id": chosen.deal_id,
        "banks": None if chosen.banks is None else list(chosen.banks),
        "chain_id": chosen.chain_id,
        "account": chosen.account,
        "states": [str(state) for state in chosen.states],
        "created_at": chosen.before and chosen.before.created_at,
        "nonce": chosen.before and chosen.before.nonce,
        "intent_id": chosen.before and chosen.before.intent_id,
        "limit": chosen.limit + 1,
    }


def _after(intent: IntentSummary) -> IntentCursor:
    return IntentCursor(intent.created_at, intent.nonce, intent.intent_id)
