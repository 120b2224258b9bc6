"""Acting on one transaction: what is allowed, what comes of it, and whether that was meant."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Final

from activities.transactions.interface import Action
from domain.deals import CLOSED
from domain.errors import DealError, NotAllowed, OutcomeUnknown, TransactionReverted
from domain.transactions import IntentState
from starters.deals.transactions import (
    FINAL_STATES,
    SETTLED_STATES,
    IntentDetail,
    TransactionsReader,
)

_LOOK_SECONDS: Final = 0.5


def check_action(action: Action, intent: IntentDetail) -> None:
    """Raise `NotAllowed` if nothing can be done for the intent any more, as the records have it."""
    if intent.state in FINAL_STATES:
        raise NotAllowed(
            f"{intent.intent_id} is {intent.state}: nothing changes it any more",
            field="state",
            value=action,
            limit=", ".join(state for state in IntentState if state not in FINAL_STATES),
            actual=intent.state,
            next_action="look at it with `deal tx show`",
        )
    if intent.deal_status in CLOSED:
        raise closed_deal(action, intent.deal_id, intent.deal_status)


def closed_deal(action: Action, deal_id: str, status: str | None) -> NotAllowed:
    """Say that the deal has ended, and with it the workflow that would act."""
    return NotAllowed(
        f"deal {deal_id} has ended, and nobody acts for its transactions any more",
        field="deal",
        value=action,
        limit="a deal that runs",
        actual=status,
        next_action="look at it with `deal show`; the chain's watcher goes on sending what is out",
    )


async def follow(reader: TransactionsReader, name: str) -> AsyncGenerator[IntentDetail, None]:
    """Yield the intent now and after every change, until a receipt has decided.

    Raises `NotFound` and `Unavailable`.
    """
    last: IntentDetail | None = None
    while last is None or last.state not in SETTLED_STATES:
        if last is not None:
            await asyncio.sleep(_LOOK_SECONDS)
        intent = await reader.find(name)
        if last is None or _how_it_stands(intent) != _how_it_stands(last):
            yield intent
        last = intent


def _how_it_stands(intent: IntentDetail) -> tuple[object, ...]:
    return (intent.state, intent.mined_hash, len(intent.attempts))


def ensure_fulfilled(action: Action, intent: IntentDetail) -> None:
    """Raise unless what was mined is what was asked for: the no-op for a cancel, else the intent.

    `TransactionReverted` if it was mined without its effect, `DealError` if the other one won.
    """
    cancelling = action is Action.CANCEL
    if intent.state is IntentState.ABANDONED:
        won = cancelling
    elif intent.mined is None:
        raise _used_elsewhere(intent)
    else:
        won = intent.mined.no_op is cancelling
    if not won:
        raise _lost(intent, cancelling=cancelling)
    if not cancelling:
        _ensure_success(intent)


def _ensure_success(intent: IntentDetail) -> None:
    if intent.state is IntentState.REVERTED or intent.succeeded is False:
        raise TransactionReverted(
            f"{intent.intent_id} was mined and reverted",
            field="transaction",
            value=intent.mined_hash,
            actual=intent.problem and intent.problem.message,
            next_action="look at it with `deal tx show`; the deal builds the step anew or unwinds",
        )


def _lost(intent: IntentDetail, *, cancelling: bool) -> DealError:
    if cancelling:
        return DealError(
            f"{intent.intent_id} was mined before it could be cancelled",
            field="transaction",
            value=intent.mined_hash,
            actual=intent.state,
            next_action="nothing more can be cancelled; `deal cancel` unwinds what it did",
        )
    return DealError(
        f"a no-op took the place of {intent.intent_id}",
        field="transaction",
        value=intent.mined_hash,
        actual=intent.state,
        next_action="follow the deal with `deal watch`; it builds the step anew or unwinds",
    )


def _used_elsewhere(intent: IntentDetail) -> OutcomeUnknown:
    return OutcomeUnknown(
        f"nonce {intent.nonce} of {intent.account} was used by something that is not ours",
        field="nonce",
        value=intent.nonce,
        actual=intent.state,
        next_action="find out who holds the account's key",
    )
