"""One command for many deals: the list is shown first, and acted on is that list and no other.

A batch is written down, with its list, before the first of its commands is given. Each deal's
command has an id made of the batch's: whoever repeats the batch goes on with it.
"""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final, Protocol

from psycopg.rows import DictRow

from domain.deals import COMMAND_STATES, Command, DealStatus
from domain.errors import Conflict, DealError, InvalidInput, LimitExceeded, NotFound, Problem
from domain.identifiers import DealId, Identifier
from domain.identity import Caller, Permission
from domain.views import DealView
from starters.control.database import ControlDatabase
from starters.control.filters import parse_where
from starters.deals.database import Connections, fetch

MOST_DEALS: Final = 500
"""So many a person can still look at before he says yes."""
_AT_ONCE: Final = 8

_COLUMNS: Final = "deal_id, bank, chain_id, module, status, doing, created_at, updated_at"
_CONDITIONS: Final = {
    "id": "deal_id = ANY(%(id)s)",
    "bank": "bank = ANY(%(bank)s)",
    "module": "module = ANY(%(module)s)",
    "chain": "chain_id = ANY(%(chain)s)",
    "older": "created_at <= %(now)s - %(older)s",
    "quiet": "updated_at <= %(now)s - %(quiet)s",
}
_STATUS: Final = "status = ANY(%(status)s)"
_OF_BANKS: Final = "bank = ANY(%(banks)s)"
_FIND: Final = f"SELECT {_COLUMNS} FROM deals.deals WHERE "  # noqa: S608 - constants
_OLDEST_FIRST: Final = " ORDER BY created_at, deal_id LIMIT %(limit)s"
_KEEP: Final = """
INSERT INTO control.batches (batch_id, command, filter, deals, digest, principal_id, why)
VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT (batch_id) DO NOTHING
"""
_KEPT: Final = """
SELECT batch_id, command, filter AS where, deals, digest, principal_id, why
FROM control.batches WHERE batch_id = %s
"""


class BatchId(Identifier):
    """Names one batch for ever."""

    __slots__ = ()
    field = "batch_id"


@dataclass(frozen=True)
class BatchDeal:
    """A deal of the list, as the records had it when the list was made."""

    deal_id: str
    bank: str
    chain_id: int
    module: str
    status: str
    doing: str
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True)
class BatchList:
    """What somebody says yes to. `digest` stands for exactly this command and list."""

    command: Command
    where: str
    deals: tuple[str, ...]
    digest: str


@dataclass(frozen=True)
class BatchPreview:
    """What a batch would act on, as a person has to see it."""

    command: Command
    where: str
    deals: tuple[BatchDeal, ...]

    @property
    def chosen(self) -> BatchList:
        """The same, to be said yes to."""
        names = tuple(deal.deal_id for deal in self.deals)
        return BatchList(self.command, self.where, names, digest_of(self.command, names))


@dataclass(frozen=True)
class Batch:
    """A batch as it was written down."""

    batch_id: str
    command: Command
    where: str
    deals: tuple[str, ...]
    digest: str
    principal_id: str
    why: str

    def command_id(self, deal_id: str) -> str:
        """The id of one deal's command."""
        return f"{self.batch_id}/{deal_id}"


class Outcome(StrEnum):
    """What became of one deal's command."""

    APPLIED = "applied"
    QUEUED = "queued"
    REFUSED = "refused"


@dataclass(frozen=True)
class BatchResult:
    """One deal of a batch: where it stands now, or why nothing was done."""

    deal_id: str
    outcome: Outcome
    status: DealStatus | None = None
    problem: Problem | None = None
    exit_code: int = 0


class Giver(Protocol):
    """Gives one deal one command: authorises it, records it, hands it over."""

    async def give(
        self, caller: Caller, command: Command, deal_id: DealId, why: str, command_id: str
    ) -> DealView | None:
        """Return the deal after it, None if the command is queued; raise a `DealError`."""


class Batches:
    """Batches for callers: each sees and acts on the deals of his banks."""

    def __init__(self, reading: Connections, control: ControlDatabase) -> None:
        """Read the records by these connections, and keep batches in the control database."""
        self._reading = reading
        self._control = control

    async def preview(self, caller: Caller, command: Command, where: str) -> BatchPreview:
        """The deals that the command can do something for, oldest first, unless `status` is given.

        Raises `Forbidden`, `InvalidInput` (the filter), `NotFound` (no deal), `LimitExceeded` (more
        than can be looked at) and `Unavailable`.
        """
        caller.require(Permission(f"deals.{command}"))
        terms = parse_where(where)
        given = [text for name, text in _CONDITIONS.items() if getattr(terms, name)]
        given += [_STATUS] if caller.banks is None else [_STATUS, _OF_BANKS]
        parameters = {name: _listed(value) for name, value in vars(terms).items()} | {
            "status": list(terms.status or COMMAND_STATES[command]),
            "banks": list(caller.banks or ()),
            "now": datetime.now(UTC),
            "limit": MOST_DEALS + 1,
        }
        rows = await fetch(self._reading, _FIND + " AND ".join(given) + _OLDEST_FIRST, parameters)
        _check_count(where, rows)
        return BatchPreview(command, where, tuple(BatchDeal(**row) for row in rows))

    async def begin(self, caller: Caller, batch_id: BatchId, chosen: BatchList, why: str) -> Batch:
        """Write the batch down; the same one again is the first one.

        Raises `Forbidden`, `InvalidInput` (the list is not the one that was shown, or no reason),
        `Conflict` (the id is another batch's) and `Unavailable`.
        """
        command, deals = chosen.command, chosen.deals
        caller.require(Permission(f"deals.{command}"))
        if not 1 <= len(deals) <= MOST_DEALS or chosen.digest != digest_of(command, deals):
            raise another_list(chosen.digest)
        named = tuple(map(DealId, deals))
        wanted = Batch(
            batch_id, command, chosen.where, named, chosen.digest, caller.who, why.strip()
        )
        action = f"batch.{command}"
        async with self._control.change(caller, why, batch_id, action=action) as connection:
            await connection.execute(_KEEP, _as_row(wanted))
        kept = await self.find(caller, batch_id)
        if kept != wanted:
            raise Conflict(
                f"the batch id {batch_id} was used for another batch",
                field="batch_id",
                value=batch_id,
                limit="one batch an id, for ever",
                next_action="choose a new batch id; the first batch stands",
            )
        return kept

    async def find(self, caller: Caller, batch_id: BatchId) -> Batch:
        """A batch of the caller's own. Raises `NotFound` and `Unavailable`."""
        rows = await fetch(self._reading, _KEPT, (batch_id,))
        if not rows or rows[0]["principal_id"] != caller.who:
            raise NotFound(
                f"there is no batch {batch_id} of {caller.who}",
                field="batch_id",
                value=batch_id,
                next_action="begin one with --where",
            )
        row = rows[0]
        command, deals = Command(row.pop("command")), tuple(row.pop("deals"))
        return Batch(command=command, deals=deals, **row)

    async def act(self, caller: Caller, batch: Batch, giver: Giver) -> AsyncIterator[BatchResult]:
        """Give every deal of the list its command, and yield what became of each as it is known.

        What was given before is not given again; its answer is. One that fails does not hold up the
        others.
        """
        places = asyncio.Semaphore(_AT_ONCE)

        async def one(deal_id: str) -> BatchResult:
            async with places:
                return await _give(caller, batch, DealId(deal_id), giver)

        pending = [asyncio.create_task(one(deal_id)) for deal_id in batch.deals]
        try:
            for result in asyncio.as_completed(pending):
                yield await result
        finally:
            for task in pending:
                task.cancel()


def another_list(digest: str) -> InvalidInput:
    """The digest stands for something else than was shown."""
    return InvalidInput(
        "the list is not the one that was shown",
        field="digest",
        value=digest,
        limit=f"the digest of 1 to {MOST_DEALS} deals, as the preview gave it",
        next_action="look at the preview again",
    )


def digest_of(command: Command, deals: Sequence[str]) -> str:
    """SHA-256 (hexadecimal) over a command and a list of deals, in its order."""
    return hashlib.sha256(json.dumps([command, *deals]).encode()).hexdigest()


def exit_code_of(results: Sequence[BatchResult]) -> int:
    """0 if all was done or is queued; the code that all failures share; else 1."""
    codes = {result.exit_code for result in results if result.outcome is Outcome.REFUSED}
    if not codes:
        return 0
    return codes.pop() if len(codes) == 1 else 1


async def _give(caller: Caller, batch: Batch, deal_id: DealId, giver: Giver) -> BatchResult:
    name = batch.command_id(deal_id)
    try:
        view = await giver.give(caller, batch.command, deal_id, batch.why, name)
    except DealError as error:
        return BatchResult(
            deal_id, Outcome.REFUSED, problem=error.problem, exit_code=error.exit_code
        )
    if view is None:
        return BatchResult(deal_id, Outcome.QUEUED)
    return BatchResult(deal_id, Outcome.APPLIED, status=view.status)


def _as_row(batch: Batch) -> tuple[object, ...]:
    return (
        batch.batch_id,
        batch.command,
        batch.where,
        list(batch.deals),
        batch.digest,
        batch.principal_id,
        batch.why,
    )


def _listed(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


def _check_count(where: str, rows: list[DictRow]) -> None:
    if not rows:
        raise NotFound(
            "no deal is like that now",
            field="where",
            value=where,
            next_action="look at `deal list`; a status can be given to see others too",
        )
    if len(rows) > MOST_DEALS:
        raise LimitExceeded(
            "that are too many deals to look at before saying yes",
            field="where",
            value=where,
            limit=MOST_DEALS,
            actual=f"more than {MOST_DEALS}",
            next_action="narrow it, for instance by chain, module or older",
        )
