"""Reading the records: one deal, or pages of a list, newest first, as the role ``deal_reader``."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Self

from psycopg.rows import DictRow

from domain.errors import InvalidInput
from domain.identifiers import DealId
from domain.views import DealView
from starters.deals.database import Connections, fetch
from starters.deals.paging import (
    DEFAULT_LIMIT,
    check_limit,
    cursor_parts,
    cursor_text,
    invalid_cursor,
)

_COLUMNS: Final = """
    request, status, version, doing, account, treasury, sizing, approval, frozen, adoption,
    problem, created_at, updated_at, policy_version, desk_approval,
    settlement_ether_wei AS ether_wei, settlement_par AS par, settlement_profit_usd8 AS profit_usd8
"""

_FIND: Final = f"""
SELECT {_COLUMNS}, (
    SELECT coalesce(jsonb_agg(
        jsonb_build_object(
            'outcome', outcome, 'started_at', started_at, 'finished_at', finished_at
        ) ORDER BY version
    ), '[]'::jsonb)
    FROM deals.deal_steps AS step WHERE step.deal_id = deal.deal_id
) AS steps, predicted AS prediction, realised
FROM deals.deals AS deal LEFT JOIN control.predictions USING (deal_id) WHERE deal_id = %s
"""  # noqa: S608 - put together from constants only

_LIST: Final = f"SELECT {_COLUMNS} FROM deals.deals"  # noqa: S608 - a constant
_OF_BANKS: Final = "SELECT deal_id FROM deals.deals WHERE deal_id = ANY(%s) AND bank = ANY(%s)"
_NEWEST_FIRST: Final = " ORDER BY created_at DESC, deal_id DESC LIMIT %(limit)s"

# Each filter that is given adds its condition; only these texts ever get into the query.
_CONDITIONS: Final = {
    # Alone, as an equality, so that the index gives the order as well.
    "only_status": "status = %(only_status)s",
    "several_statuses": "status = ANY(%(several_statuses)s)",
    "bank": "bank = %(bank)s",
    "only_bank": "bank = %(only_bank)s",
    "several_banks": "bank = ANY(%(several_banks)s)",
    "chain_id": "chain_id = %(chain_id)s",
    "since": "created_at >= %(since)s",
    "before": "(created_at, deal_id) < (%(created_at)s, %(deal_id)s)",
}


@dataclass(frozen=True)
class Cursor:
    """Where the next page begins: after this deal."""

    created_at: datetime
    deal_id: DealId

    def __str__(self) -> str:
        """One opaque word."""
        return cursor_text(self.created_at, self.deal_id)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read it back; raise `InvalidInput` if it is not one of ours."""
        created_at, (deal_id,) = cursor_parts(text, str)
        try:
            return cls(created_at, DealId(deal_id))
        except InvalidInput:
            raise invalid_cursor(text) from None


@dataclass(frozen=True)
class DealFilter:
    """Which deals to list; what is not given does not restrict. Times are when a deal began.

    `bank` is asked for, `banks` are those whose deals may be seen at all; None for every bank's.
    """

    statuses: tuple[str, ...] = ()
    bank: str | None = None
    banks: tuple[str, ...] | None = None
    chain_id: int | None = None
    since: datetime | None = None
    limit: int = DEFAULT_LIMIT
    before: Cursor | None = None

    def __post_init__(self) -> None:
        """Refuse a page that is empty or too large."""
        check_limit(self.limit, "deals")

    @property
    def only_status(self) -> str | None:
        """The status, if one was asked for."""
        return self.statuses[0] if len(self.statuses) == 1 else None

    @property
    def several_statuses(self) -> list[str]:
        """The statuses, if more than one was asked for."""
        return list(self.statuses) if len(self.statuses) > 1 else []

    @property
    def only_bank(self) -> str | None:
        """The bank that may be seen, if there is one only: the index gives the order as well."""
        return self.banks[0] if self.banks is not None and len(self.banks) == 1 else None

    @property
    def several_banks(self) -> list[str] | None:
        """The banks that may be seen, if more than one, or none at all; None for every bank."""
        return None if self.banks is None or len(self.banks) == 1 else list(self.banks)


@dataclass(frozen=True)
class DealPage:
    """Deals without their steps, and where the next page begins, if there is one."""

    deals: list[DealView] = field(default_factory=list)
    next_cursor: Cursor | None = None


class RecordsReader:
    """The records as they were last written: they may be behind the deals' workflows."""

    def __init__(self, connections: Connections) -> None:
        """Take a connection for each read."""
        self._connections = connections

    async def find(self, deal_id: DealId) -> DealView | None:
        """Return one deal with its steps; None if it was never recorded. Raises `Unavailable`."""
        rows = await fetch(self._connections, _FIND, (deal_id,))
        return _view(rows[0]) if rows else None

    async def of_banks(self, deals: Sequence[str], banks: Sequence[str]) -> frozenset[str]:
        """Which of these deals are of these banks. Raises `Unavailable`."""
        rows = await fetch(self._connections, _OF_BANKS, (list(deals), list(banks)))
        return frozenset(row["deal_id"] for row in rows)

    async def page(self, chosen: DealFilter) -> DealPage:
        """Return one page, newest first. Raises `Unavailable`."""
        given = [text for name, text in _CONDITIONS.items() if _restricts(chosen, name)]
        where = f" WHERE {' AND '.join(given)}" if given else ""
        # One more than asked for tells whether there is a next page.
        rows = await fetch(self._connections, _LIST + where + _NEWEST_FIRST, _parameters(chosen))
        deals = [_view(row) for row in rows[: chosen.limit]]
        return DealPage(deals, _after(deals[-1]) if len(rows) > chosen.limit else None)


def _restricts(chosen: DealFilter, name: str) -> bool:
    value = getattr(chosen, name)
    return value is not None if name == "several_banks" else bool(value)


def _parameters(chosen: DealFilter) -> dict[str, object]:
    return {
        "only_status": chosen.only_status,
        "several_statuses": chosen.several_statuses,
        "bank": chosen.bank,
        "only_bank": chosen.only_bank,
        "several_banks": chosen.several_banks,
        "chain_id": chosen.chain_id,
        "since": chosen.since,
        "created_at": chosen.before and chosen.before.created_at,
        "deal_id": chosen.before and chosen.before.deal_id,
        "limit": chosen.limit + 1,
    }


def _after(deal: DealView) -> Cursor:
    return Cursor(deal.created_at, deal.request.deal_id)


def _view(row: DictRow) -> DealView:
    """Build the view again; amounts come as decimals and are whole."""
    amounts = {name: row.pop(name) for name in ("ether_wei", "par", "profit_usd8")}
    settled = amounts["ether_wei"] is not None
    row["settlement"] = {name: int(value) for name, value in amounts.items()} if settled else None
    return DealView.model_validate(row)
