"""`deal tx rebroadcast`, `bump` and `cancel`: have it done, and follow what comes of it."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing, nullcontext
from dataclasses import dataclass
from typing import Any, Final
from uuid import uuid4

import typer

from activities.transactions.interface import Action, TransactionView
from domain.errors import WaitTimedOut
from domain.identity import Permission
from starters.cli.asking import require_terminal
from starters.cli.control import check_reason
from starters.cli.output import Output, console, print_json, show
from starters.cli.session import caller, load_settings, transactions
from starters.cli.temporal import open_desk
from starters.cli.tx_show import intent_document, print_intent
from starters.cli.tx_tables import action_facts
from starters.control.transactions import TransactionDesk
from starters.deals.acting import check_action, ensure_fulfilled, follow
from starters.deals.transactions import IntentDetail, TransactionsReader

_WHAT: Final = "a transaction"


@dataclass(frozen=True)
class Order:
    """What was typed; `timeout` is in seconds."""

    action: Action
    intent: str
    reason: str
    command_id: str | None
    sure: bool
    wait: bool
    timeout: float | None


async def act(order: Order, output: Output) -> None:
    """Ask whether it is meant, have it done, print how it stands, and follow it if asked to."""
    check_reason(order.reason)
    if not order.sure:
        require_terminal(order.action, _WHAT)
    settings = load_settings()
    who = await caller(Permission.TX_ACT)
    reader = transactions(settings)
    desk = TransactionDesk(open_desk(settings), reader)
    intent = await reader.find_for(who, order.intent, Permission.TX_ACT)
    check_action(order.action, intent)
    if not order.sure and not _confirmed(order.action, intent):
        typer.echo("nothing was changed", err=True)
        raise typer.Exit(1)
    view = await desk.act(
        who,
        intent.intent_id,
        order.action,
        order.reason,
        command_id=order.command_id or str(uuid4()),
    )
    _print_view(view, output, line=order.wait)
    if order.wait:
        ensure_fulfilled(order.action, await _follow(reader, intent, order, output))


def _confirmed(action: Action, intent: IntentDetail) -> bool:
    """Ask on standard error, so that the answer to the command stays apart."""
    about = f"{intent.intent_id} ({intent.purpose}) at nonce {intent.nonce}"
    tried = f"{len(intent.attempts)} attempts" if len(intent.attempts) != 1 else "1 attempt"
    typer.echo(f"{about} is {intent.state}, {tried}", err=True)
    return typer.confirm(f"{action} it?", err=True)


def _print_view(view: TransactionView, output: Output, *, line: bool) -> None:
    if output is Output.JSON:
        print_json(view.model_dump(mode="json"), line=line)
    else:
        show(action_facts(view))


async def _follow(
    reader: TransactionsReader, intent: IntentDetail, order: Order, output: Output
) -> IntentDetail:
    """Tell every change until a receipt has decided; raise `WaitTimedOut` if none does in time."""
    last = intent
    try:
        async with asyncio.timeout(order.timeout):
            async with aclosing(follow(reader, intent.intent_id)) as changes:
                last = await _tell_each(changes, output, last)
    except TimeoutError:
        raise WaitTimedOut(
            f"{intent.intent_id} is in no block yet",
            field="timeout",
            limit=f"{order.timeout:g} s",
            actual=last.state,
            next_action="look at it with `deal tx show`; the engine goes on with it",
        ) from None
    if output is Output.TABLE:
        print_intent(last)
    return last


async def _tell_each(
    changes: AsyncIterator[IntentDetail], output: Output, last: IntentDetail
) -> IntentDetail:
    drawn = output is Output.TABLE and sys.stdout.isatty()
    waiting: Any = console().status("looking") if drawn else nullcontext()
    with waiting as status:
        async for intent in changes:
            last = intent
            if output is Output.JSON:
                print_json(intent_document(intent), line=True)
            elif drawn:
                status.update(_line(intent))
            else:
                typer.echo(_line(intent))
    return last


def _line(intent: IntentDetail) -> str:
    block = "in no block" if intent.mined is None else f"in block {intent.block_number}"
    return f"{intent.intent_id}  {intent.state:<9}  {len(intent.attempts)} attempts  {block}"
