"""Looking at halts in Postgres: they depend on nothing else, so neither does this."""

import asyncio
from typing import Any, Final

import psycopg
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool
from temporalio import activity

from activities.halts.interface import DealScope, HaltActivities
from domain.errors import Halted, NotAllowed
from domain.halts import Halt, Scope, TradingState, halted, refusal, strictest
from domain.identifiers import BankId, ChainId, ModuleId
from domain.transactions import BatchKey

Pool = AsyncConnectionPool[AsyncConnection[Any]]

LOOK_SECONDS: Final = 0.5
"""How often it is looked for waiting deals, for all of them together."""

_COLUMNS: Final = "scope, state, who, why, since, set_by, version"
_ALL: Final = f"SELECT {_COLUMNS} FROM control.halts WHERE state <> 'ACTIVE'"  # noqa: S608 - constants
_OF_DEAL: Final = f"SELECT {_COLUMNS} FROM control.halt_of(%s, %s, %s)"  # noqa: S608 - likewise
_OF_BATCH: Final = f"SELECT {_COLUMNS} FROM transactions.halt_of(%s)"  # noqa: S608 - likewise
_HALTED: Final = "halted"
_NOT_ADMITTED: Final = "not_admitted"


class Halts:
    """The halts, as one role of the database sees them."""

    def __init__(self, pool: Pool) -> None:
        """Use the connections of an open pool; the caller closes it."""
        self._pool = pool

    async def all(self) -> list[Halt]:
        """Every halt that stands."""
        return [halt_from(row) for row in await self._rows(_ALL)]

    async def of_deal(self, bank: BankId, chain_id: ChainId, module: ModuleId) -> Halt | None:
        """The halt that counts for deals of this bank, chain and module, if there is one."""
        return _only(await self._rows(_OF_DEAL, bank, chain_id, module))

    async def of_batch(self, key: BatchKey) -> Halt | None:
        """The halt that stops a stored batch; None if its step adds no risk."""
        return _only(await self._rows(_OF_BATCH, str(key)))

    async def ensure_active(self, bank: BankId, chain_id: ChainId, module: ModuleId) -> None:
        """Raise `Halted` unless deals of this bank, chain and module may add risk."""
        halt = await self.of_deal(bank, chain_id, module)
        if halt is not None:
            raise halted(halt)

    async def _rows(self, query: str, *parameters: object) -> list[tuple[Any, ...]]:
        async with self._pool.connection() as connection:
            cursor = await connection.execute(query.encode(), parameters)
            return await cursor.fetchall()


class Releases(HaltActivities):
    """Looks for deals whether they may go on; for any number that wait, with one look at a time."""

    def __init__(self, halts: Halts) -> None:
        """Look at these."""
        self._halts = halts
        self._looking = asyncio.Lock()
        self._seen: list[Halt] = []
        self._seen_at = float("-inf")

    @activity.defn
    async def ensure_active(self, order: DealScope) -> None:
        """See `HaltActivities.ensure_active`."""
        await self._halts.ensure_active(order.bank, order.chain_id, order.module)

    @activity.defn
    async def await_release(self, order: DealScope) -> TradingState:
        """See `HaltActivities.await_release`."""
        of_deal = (order.bank, order.chain_id, order.module)
        while True:
            halt = strictest(await self._look(), *of_deal)
            if halt is None or halt.state is not TradingState.HALTED:
                # That look was shared, and of a moment ago; what is answered is as it is now.
                halt = await self._halts.of_deal(*of_deal)
            if halt is None:
                return TradingState.ACTIVE
            if halt.state is not TradingState.HALTED and not order.holds:
                return halt.state
            await asyncio.sleep(LOOK_SECONDS)

    async def _look(self) -> list[Halt]:
        """What stands, not older than the time between two looks."""
        async with self._looking:
            now = asyncio.get_running_loop().time()
            if now - self._seen_at >= LOOK_SECONDS:
                self._seen, self._seen_at = await self._halts.all(), now
            return self._seen


def halt_from(row: tuple[Any, ...]) -> Halt:
    """A halt from a row of scope, state, who, why, since, who set it, and version."""
    return Halt(
        scope=Scope.parse(row[0]),
        state=TradingState(row[1]),
        who=row[2],
        why=row[3],
        since=row[4],
        set_by=tuple(row[5]),
        version=row[6],
    )


def refusal_of(error: psycopg.IntegrityError) -> Halted | NotAllowed | None:
    """Why the database lets no risk be added: a halt, or no admission; None if it was neither."""
    told = error.diag
    if told.constraint_name == _NOT_ADMITTED:
        return NotAllowed(
            told.message_primary or "the deal's admission does not stand",
            field="admission",
            value=told.message_detail,
            limit="an admission that stands",
            next_action="the deal unwinds by itself; look at it with `deal show`",
        )
    if told.constraint_name != _HALTED:
        return None
    scope, state = Scope.parse(told.column_name or ""), TradingState(told.message_hint or "")
    return refusal(scope, state, told.message_primary or "")


def _only(rows: list[tuple[Any, ...]]) -> Halt | None:
    return halt_from(rows[0]) if rows else None
