"""Transactions: the engine's records of what is sent for deals."""

from datetime import UTC, datetime
from typing import Annotated, Final

from fastapi import APIRouter, Path, Query
from starlette.responses import Response

from activities.transactions.interface import Action, TransactionView
from domain.chains import ChainProfile
from domain.errors import Halted, LimitExceeded, NotAllowed, NotFound
from domain.identifiers import Address, eip55
from domain.identity import Permission
from domain.transactions import IntentState
from starters.api import examples
from starters.api.asking import (
    DEFAULT,
    NAME,
    Asking,
    ChainQuery,
    CommandIdOf,
    CursorQuery,
    LimitQuery,
    Why,
    With,
)
from starters.api.describing import endpoint
from starters.api.documents import NextCursor, Records, answer
from starters.api.entry import Entry
from starters.api.limiting import Rate
from starters.deals.calldata import call_text
from starters.deals.transactions import (
    IntentCursor,
    IntentDetail,
    IntentFilter,
    IntentSummary,
)

router = APIRouter(route_class=Entry, tags=["transactions"])


class TransactionsDocument(Records):
    """A page of transactions, newest first."""

    transactions: list[IntentSummary]
    next_cursor: NextCursor


class TransactionDocument(IntentDetail):
    """Everything recorded about a transaction, with its call in words."""

    to_name: str | None
    call: str | None
    source: str = "records"
    as_of: datetime


IntentPath = Annotated[
    str,
    Path(
        min_length=1,
        max_length=200,
        pattern=r"^[!-~]+$",
        description="Its id, or the hash of any of its attempts; slashes belong to it.",
        examples=["alpha/swap/1/1/0"],
    ),
]


@endpoint(
    router,
    "GET",
    "/transactions",
    Permission.TX_READ,
    Rate.READ,
    answer=TransactionsDocument,
    example=examples.INTENTS,
)
async def list_transactions(  # noqa: PLR0913 - the filters
    *,
    caller: Asking,
    services: With,
    deal_id: Annotated[str | None, Query(pattern=NAME, description="Only this deal's.")] = None,
    chain_id: ChainQuery = None,
    account: Annotated[
        str | None, Query(pattern=r"^0x[0-9a-fA-F]{40}$", description="Only from this account.")
    ] = None,
    state: Annotated[
        list[IntentState] | None, Query(description="Only these; may be repeated.")
    ] = None,
    limit: LimitQuery = DEFAULT,
    cursor: CursorQuery = None,
) -> Response:
    """List transactions from the engine's records, newest first; of the caller's banks only."""
    chosen = IntentFilter(
        deal_id=deal_id,
        banks=caller.banks,
        chain_id=chain_id,
        account=None if account is None else _account(account),
        states=tuple(state or ()),
        limit=limit,
        before=IntentCursor.parse(cursor) if cursor else None,
    )
    page = await services.transactions.page(chosen)
    return answer(
        TransactionsDocument.model_construct(
            source="records",
            as_of=datetime.now(UTC),
            transactions=page.intents,
            next_cursor=None if page.next_cursor is None else str(page.next_cursor),
        )
    )


@endpoint(
    router,
    "GET",
    "/transactions/{intent_id:path}",
    Permission.TX_READ,
    Rate.READ,
    answer=TransactionDocument,
    example=examples.INTENT_DETAIL,
    failures=(NotFound,),
)
async def show_transaction(caller: Asking, services: With, intent_id: IntentPath) -> Response:
    """Show a transaction: nonce, fees, every attempt, its receipt, and its call in words."""
    intent = await services.transactions.find_for(caller, intent_id)
    names = _names(intent, services.profiles.get(intent.chain_id))
    return answer(
        TransactionDocument.model_construct(
            **dict(intent),
            to_name=names.get(intent.to.lower()),
            call=call_text(intent.data, names),
            as_of=datetime.now(UTC),
        )
    )


def _add(action: Action, rate: Rate, words: str) -> None:
    async def act(
        caller: Asking, services: With, command_id: CommandIdOf, intent_id: IntentPath, why: Why
    ) -> Response:
        return answer(
            await services.transaction_desk.act(
                caller, intent_id, action, why.reason, command_id=command_id
            )
        )

    act.__name__ = f"{action}_transaction"
    act.__doc__ = words
    endpoint(
        router,
        "POST",
        f"/transactions/{{intent_id:path}}/{action}",
        Permission.TX_ACT,
        rate,
        answer=TransactionView,
        example=examples.TRANSACTION | {"action": action},
        body_example=examples.REASON,
        failures=(NotFound, NotAllowed, LimitExceeded, Halted),
    )(act)


for _action, _rate, _words in (
    (Action.REBROADCAST, Rate.CHANGE, "Send a transaction's signed bytes again, as they are."),
    (
        Action.BUMP,
        Rate.CHANGE,
        "Outbid a transaction that waits: the same call at the same nonce, for a higher fee.",
    ),
    (
        Action.CANCEL,
        Rate.SAFETY,
        "Try to put a no-op in a transaction's place; whichever is mined first counts.",
    ),
):
    _add(_action, _rate, _words)


def _account(text: str) -> Address:
    """Take an address in either case; one of mixed case has to carry its checksum."""
    return Address(eip55(text) if text == text.lower() else text)


def _names(intent: IntentDetail, profile: ChainProfile | None) -> dict[str, str]:
    """Names of addresses in lower case: the chain's contracts, and the account itself."""
    contracts = profile.contracts if profile else {}
    return {address.lower(): name for name, address in contracts.items()} | {
        intent.account.lower(): _OWN
    }


_OWN: Final = "its own account"
