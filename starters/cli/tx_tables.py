"""Transactions as tables."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Final

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from activities.transactions.interface import TransactionView
from domain.transactions import IntentState
from starters.cli import formats
from starters.cli.tables import facts
from starters.deals.transactions import Alert, AttemptView, IntentDetail, IntentSummary

_COLOURS: Final = {
    IntentState.BROADCAST: "cyan",
    IntentState.INCLUDED: "green",
    IntentState.FINALIZED: "green",
    IntentState.REVERTED: "red",
    IntentState.UNKNOWN: "bold red",
    IntentState.REPLACED: "yellow",
    IntentState.ABANDONED: "dim",
}


def state_text(state: IntentState) -> Text:
    """A state in its colour."""
    return Text(state, style=_COLOURS.get(state, ""))


def fees_text(maximum: int | None, priority: int | None) -> str:
    """Both fees in gwei, such as ``3.5 / 1``; nothing where nothing was signed."""
    if maximum is None or priority is None:
        return ""
    return f"{formats.gwei(maximum)} / {formats.gwei(priority)}"


def age_text(seconds: float) -> str:
    """How long ago."""
    return formats.age(timedelta(seconds=seconds))


def intents_table(intents: Iterable[IntentSummary]) -> Table:
    """A list of intents, one line each; fees are the newest attempt's."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("intent", overflow="fold")
    table.add_column("chain", justify="right")
    table.add_column("nonce", justify="right")
    table.add_column("purpose", overflow="fold")
    table.add_column("state")
    table.add_column("attempts", justify="right")
    table.add_column("max / priority fee (gwei)", justify="right", no_wrap=True)
    table.add_column("block", justify="right")
    table.add_column("age", justify="right", no_wrap=True)
    for intent in intents:
        table.add_row(
            intent.intent_id,
            str(intent.chain_id),
            str(intent.nonce),
            intent.purpose,
            state_text(intent.state),
            str(intent.attempt_count),
            fees_text(intent.max_fee_per_gas, intent.max_priority_fee_per_gas),
            "" if intent.block_number is None else str(intent.block_number),
            age_text(intent.age_seconds),
        )
    return table


def intent_facts(intent: IntentDetail, call: str | None, recipient: str | None) -> Table:
    """What it is and how it stands; `call` is its calldata in words, `recipient` a name."""
    table = facts()
    table.add_row("intent", Text(intent.intent_id, style="bold"))
    table.add_row("state", state_text(intent.state))
    table.add_row("purpose", intent.purpose)
    deal = intent.deal_id + (f", {intent.deal_status}" if intent.deal_status else "")
    table.add_row("deal", deal)
    table.add_row("chain, nonce", f"{intent.chain_id}, {intent.nonce}")
    table.add_row("from", intent.account)
    table.add_row("to", intent.to + (f" ({recipient})" if recipient else ""))
    table.add_row("value", formats.ether(intent.value))
    table.add_row("call", Text(call or (intent.data if intent.data != "0x" else "none")))
    table.add_row("gas limit", f"{intent.gas_limit:,}")
    began = formats.moment(intent.created_at)
    table.add_row("numbered", f"{began} UTC, {age_text(intent.age_seconds)} ago")
    table.add_row("changed", f"{formats.moment(intent.updated_at)} UTC")
    return table


def receipt_facts(intent: IntentDetail) -> Table | None:
    """The block it is in, what it used and paid; None while it is in none."""
    if intent.block_hash is None or intent.block_number is None:
        return None
    table = facts()
    table.add_row("block", f"{intent.block_number} {intent.block_hash}")
    table.add_row("mined", Text(_mined_text(intent)))
    if intent.gas_used is not None and intent.effective_gas_price is not None:
        price = formats.gwei(intent.effective_gas_price)
        paid = formats.ether(intent.gas_used * intent.effective_gas_price)
        table.add_row("gas", f"{intent.gas_used:,} at {price} gwei: {paid}")
    return table


def _mined_text(intent: IntentDetail) -> str:
    if intent.mined_hash is None:
        return "by somebody else, who has used its nonce"
    mined = intent.mined
    no_op = " (the no-op)" if mined is not None and mined.no_op else ""
    return f"{intent.mined_hash}{no_op}"


def attempts_table(attempts: Iterable[AttemptView]) -> Table:
    """Everything that was signed at the intent's nonce."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("attempt", overflow="fold")
    table.add_column("is")
    table.add_column("max / priority fee (gwei)", justify="right", no_wrap=True)
    table.add_column("saved (UTC)", no_wrap=True)
    for attempt in attempts:
        table.add_row(
            attempt.transaction_hash,
            "no-op" if attempt.no_op else "intent",
            fees_text(attempt.max_fee_per_gas, attempt.max_priority_fee_per_gas),
            formats.moment(attempt.created_at),
        )
    return table


def action_facts(view: TransactionView) -> Table:
    """What was sent, and how the intent stands then."""
    table = facts()
    table.add_row("intent", Text(view.intent_id, style="bold"))
    table.add_row("nonce", str(view.nonce))
    table.add_row("done", view.action)
    table.add_row("state", state_text(view.state))
    table.add_row("transaction", view.transaction_hash or "none")
    table.add_row("note", Text(view.note))
    return table


def alerts_table(alerts: Iterable[Alert]) -> Table:
    """Open alerts, each with what to do."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("alert", style="red", no_wrap=True)
    for name in ("about", "what", "what to do"):
        table.add_column(name, overflow="fold")
    table.add_column("since (UTC)", no_wrap=True)
    for alert in alerts:
        table.add_row(
            alert.kind,
            alert.subject,
            Text(alert.problem.message),
            Text(alert.problem.next_action),
            formats.moment(alert.raised_at),
        )
    return table
