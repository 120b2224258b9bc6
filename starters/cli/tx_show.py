"""`deal tx list` and `deal tx show`."""

from dataclasses import replace
from typing import Any, Final

import typer
from rich.text import Text

from domain.chains import ChainProfile, find_chain
from domain.errors import DealError, InvalidInput
from domain.identifiers import Address, DealId, eip55
from domain.identity import Permission
from domain.transactions import IntentState
from starters.cli import tx_tables
from starters.cli.documents import standing, standing_text
from starters.cli.output import Output, print_json, show
from starters.cli.session import (
    caller,
    load_config_settings,
    load_settings,
    transactions,
)
from starters.cli.show import parse_chain_id
from starters.cli.tables import problem_facts
from starters.deals.calldata import call_text
from starters.deals.transactions import IntentCursor, IntentDetail, IntentFilter, IntentPage
from workers.runtime.profiles import load_profiles

_DIGITS: Final = 42


async def list_intents(chosen: IntentFilter, output: Output) -> None:
    """`deal tx list`: a page of the engine's records."""
    who = await caller(Permission.TX_READ)
    page = await transactions(load_settings()).page(replace(chosen, banks=who.banks))
    if output is Output.JSON:
        print_json(_page_document(page))
        return
    show(tx_tables.intents_table(page.intents))
    note = f"from the records, {len(page.intents)} transactions"
    note += standing_text(intent.updated_at for intent in page.intents)
    if page.next_cursor is not None:
        note += f"; go on with --cursor {page.next_cursor}"
    typer.echo(note)


async def show_intent(name: str, output: Output) -> None:
    """`deal tx show`: everything that is recorded about one."""
    who = await caller(Permission.TX_READ)
    intent = await transactions(load_settings()).find_for(who, name)
    if output is Output.JSON:
        print_json(intent_document(intent))
    else:
        print_intent(intent)


def print_intent(intent: IntentDetail) -> None:
    """Print everything about an intent, as far as there is something."""
    names = _names(intent)
    call = call_text(intent.data, names)
    parts = [
        tx_tables.intent_facts(intent, call, names.get(intent.to.lower())),
        tx_tables.receipt_facts(intent),
        tx_tables.attempts_table(intent.attempts) if intent.attempts else Text("nothing is signed"),
        problem_facts(intent.problem) if intent.problem else None,
        tx_tables.alerts_table(intent.alerts) if intent.alerts else None,
    ]
    show(*(part for part in parts if part is not None))


def intent_document(intent: IntentDetail) -> dict[str, Any]:
    """The intent as JSON, with its calldata in words."""
    names = _names(intent)
    document = intent.model_dump(mode="json")
    document["to_name"] = names.get(intent.to.lower())
    document["call"] = call_text(intent.data, names)
    document["source"] = "records"
    return document


def parse_filter(  # noqa: PLR0913 - the options of the command
    *,
    deal: str | None,
    chain: str | None,
    account: str | None,
    states: list[str],
    limit: int,
    cursor: str | None,
) -> IntentFilter:
    """Check the options; raise `InvalidInput` naming the one that is wrong."""
    return IntentFilter(
        deal_id=DealId(deal) if deal else None,
        chain_id=parse_chain_id(chain) if chain else None,
        account=_account(account) if account else None,
        states=tuple(_state(text) for text in states),
        limit=limit,
        before=IntentCursor.parse(cursor) if cursor else None,
    )


def _account(text: str) -> Address:
    """Take an address in either case; one of mixed case has to carry its checksum."""
    return Address(eip55(text) if len(text) == _DIGITS and text == text.lower() else text)


def _state(text: str) -> IntentState:
    try:
        return IntentState(text.upper())
    except ValueError:
        raise InvalidInput(
            "there is no such state",
            field="state",
            value=text,
            limit=", ".join(IntentState),
            next_action="choose one of the states listed",
        ) from None


def _names(intent: IntentDetail) -> dict[str, str]:
    """Names of addresses in lower case: the chain's contracts, and the account itself."""
    profile = _profile(intent.chain_id)
    contracts = profile.contracts if profile else {}
    return {address.lower(): name for name, address in contracts.items()} | {
        intent.account.lower(): "its own account"
    }


def _profile(chain_id: int) -> ChainProfile | None:
    """The chain's profile; a reader without it sees addresses instead of names."""
    try:
        return find_chain(load_profiles(load_config_settings().config_dir), chain_id)
    except DealError:
        return None


def _page_document(page: IntentPage) -> dict[str, object]:
    return {
        "source": "records",
        **standing(intent.updated_at for intent in page.intents),
        "transactions": [intent.model_dump(mode="json") for intent in page.intents],
        "next_cursor": None if page.next_cursor is None else str(page.next_cursor),
    }
