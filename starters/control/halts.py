"""Setting and releasing halts. It needs Postgres and nothing else: no node, no Temporal, no Redis.

A halt takes one person. To release it takes another one, which the database holds everybody to.
"""

from dataclasses import dataclass
from typing import Any, Final, LiteralString

import psycopg
from psycopg import AsyncConnection

from activities.halts.standing import halt_from
from domain.errors import Conflict, Forbidden, InvalidInput, NotAllowed, NotFound, Unavailable
from domain.halts import Halt, Scope, ScopeKind, TradingState, is_release
from domain.identity import ALL_BANKS, Caller, Permission, PrincipalKind
from starters.control.database import ControlDatabase
from starters.deals.database import Connections, fetch

_COLUMNS: Final[LiteralString] = "scope, state, who, why, since, set_by, version"
_ALL: Final[LiteralString] = "SELECT " + _COLUMNS + " FROM control.halts ORDER BY scope"  # noqa: S608 - constants only
_FIND: Final[LiteralString] = "SELECT " + _COLUMNS + " FROM control.halts WHERE scope = %s"  # noqa: S608 - likewise
_FIRST: Final[LiteralString] = (
    "INSERT INTO control.halts (scope, state, who, why) VALUES (%s, %s, %s, %s)"  # noqa: S608 - likewise
    " ON CONFLICT (scope) DO NOTHING RETURNING " + _COLUMNS
)
_CHANGE: Final[LiteralString] = (
    "UPDATE control.halts SET state = %s, who = %s, why = %s WHERE scope = %s AND version = %s"  # noqa: S608 - likewise
    " RETURNING " + _COLUMNS
)
_DONE: Final[LiteralString] = (
    "SELECT FROM audit.events WHERE subject_kind = 'halt' AND subject = %s AND command_id = %s"
    " AND actor = %s LIMIT 1"
)
_TRIES: Final = 10
"""Each loses to somebody who has just changed the same halt; so many do not come at once."""


@dataclass(frozen=True, slots=True)
class HaltChange:
    """A scope as it stands after somebody asked, and whether that changed anything."""

    halt: Halt
    changed: bool


@dataclass(frozen=True, slots=True)
class _Wish:
    caller: Caller
    scope: Scope
    state: TradingState
    why: str
    release: bool
    command_id: str | None
    version: int | None


class HaltDesk:
    """What callers may do about halts."""

    def __init__(self, database: ControlDatabase, reading: Connections) -> None:
        """Change by the control database, and read by these connections."""
        self._database = database
        self._reading = reading

    async def all(self, caller: Caller) -> list[Halt]:
        """Every scope that was ever halted, as far as the caller's banks go.

        Raises `Forbidden` and `Unavailable`.
        """
        caller.require(Permission.HALTS_READ)
        rows = await fetch(self._reading, _ALL, ())
        halts = [halt_from(tuple(row.values())) for row in rows]
        return [halt for halt in halts if _is_shown(caller, halt.scope)]

    async def find(self, caller: Caller, scope: Scope) -> Halt:
        """One scope. Raises `NotFound` if nobody ever halted it, `Forbidden`, `Unavailable`."""
        caller.require(Permission.HALTS_READ)
        rows = await fetch(self._reading, _FIND, (str(scope),)) if _is_shown(caller, scope) else []
        if not rows:
            raise _never_halted(scope)
        return halt_from(tuple(rows[0].values()))

    async def set(  # noqa: PLR0913 - who, what, why, and under which conditions
        self,
        caller: Caller,
        scope: Scope,
        why: str,
        state: TradingState = TradingState.HALTED,
        *,
        command_id: str | None = None,
        version: int | None = None,
    ) -> HaltChange:
        """Stop what adds risk, from this moment; where it is stopped as far, nothing is changed.

        `version` is what the halt must be at (0: never halted), or `Conflict` is raised. Raises
        `Forbidden`, `InvalidInput` for what would be a release, and `Unavailable`.
        """
        caller.require(Permission.HALTS_SET, _bank_of(scope))
        return await self._change(
            _Wish(caller, scope, state, why, False, command_id, version)  # noqa: FBT003 - by its place
        )

    async def release(  # noqa: PLR0913 - likewise
        self,
        caller: Caller,
        scope: Scope,
        why: str,
        state: TradingState = TradingState.ACTIVE,
        *,
        command_id: str | None = None,
        version: int | None = None,
    ) -> HaltChange:
        """Let trading go on, wholly or only to reduce; where it does, nothing is changed.

        Raises `NotAllowed` for one of those who set it, `NotFound` if nobody did, `Forbidden` (also
        for what is no person), `InvalidInput` for what would halt, `Conflict` and `Unavailable`.
        """
        caller.require(Permission.HALTS_RELEASE, _bank_of(scope))
        if caller.principal.kind is not PrincipalKind.HUMAN:
            raise Forbidden(
                f"{caller.who} is no person, and only a person releases a halt",
                field="principal",
                value=caller.who,
                limit=PrincipalKind.HUMAN,
                actual=caller.principal.kind,
                next_action="ask a person who may release it",
            )
        return await self._change(
            _Wish(caller, scope, state, why, True, command_id, version)  # noqa: FBT003 - by its place
        )

    async def _change(self, wish: _Wish) -> HaltChange:
        for _ in range(_TRIES):
            try:
                change = await self._try(wish)
            except psycopg.IntegrityError as error:
                if error.diag.constraint_name == "released_by_another":
                    raise _own_halt(wish, error.diag.message_primary) from error
                if error.diag.constraint_name != "halt_changes":
                    raise
                change = None
            if change is not None:
                return change
        raise Unavailable(
            "others are changing this halt at the same time",
            field="scope",
            value=wish.scope,
            next_action="look with `deal halt show`, and try again",
        )

    async def _try(self, wish: _Wish) -> HaltChange | None:
        """Change it once, in one transaction; None if somebody else was quicker.

        A command that has done so before does nothing, whatever others have done since.
        """
        action = "halt.release" if wish.release else "halt.set"
        async with self._database.change(
            wish.caller, wish.why, wish.command_id, action=action
        ) as connection:
            before = await _row(connection, _FIND, (str(wish.scope),))
            if before is not None and await _was_done(connection, wish):
                return HaltChange(before, changed=False)
            _ensure_version(wish, before)
            stands = TradingState.ACTIVE if before is None else before.state
            if before is None and wish.release:
                raise _never_halted(wish.scope)
            if before is not None and stands is wish.state:
                return HaltChange(before, changed=False)
            if is_release(stands, wish.state) is not wish.release:
                raise _other_way(wish, stands)
            words = (str(wish.state), wish.caller.who, wish.why.strip())
            if before is None:
                after = await _row(connection, _FIRST, (str(wish.scope), *words))
            else:
                place = (str(wish.scope), before.version)
                after = await _row(connection, _CHANGE, (*words, *place))
            return None if after is None else HaltChange(after, changed=True)


async def _row(
    connection: AsyncConnection[Any], query: LiteralString, parameters: tuple[object, ...]
) -> Halt | None:
    row = await (await connection.execute(query, parameters)).fetchone()
    return None if row is None else halt_from(row)


async def _was_done(connection: AsyncConnection[Any], wish: _Wish) -> bool:
    """Whether the audit trail has a change of this scope by this command."""
    if wish.command_id is None:
        return False
    asked = (str(wish.scope), wish.command_id, wish.caller.who)
    return await (await connection.execute(_DONE, asked)).fetchone() is not None


def _bank_of(scope: Scope) -> str:
    """The bank whose halt it is; a wider one concerns every bank."""
    return scope.value if scope.kind is ScopeKind.BANK else ALL_BANKS


def _is_shown(caller: Caller, scope: Scope) -> bool:
    """Whether it concerns the caller: another bank's halt does not."""
    return scope.kind is not ScopeKind.BANK or caller.principal.has_bank(scope.value)


def _ensure_version(wish: _Wish, before: Halt | None) -> None:
    version = 0 if before is None else before.version
    if wish.version is not None and wish.version != version:
        raise Conflict(
            f"{wish.scope} was changed since it was looked at",
            field="version",
            value=wish.version,
            limit=version,
            actual=None if before is None else before.told(),
            next_action="look at it again, and decide anew",
        )


def _own_halt(wish: _Wish, told: str | None) -> NotAllowed:
    return NotAllowed(
        told or f"{wish.caller.who} does not release {wish.scope}",
        field="scope",
        value=wish.scope,
        limit="another person than those who halted it",
        actual=wish.caller.who,
        next_action="ask somebody else to release it: `deal halt show` names who set it",
    )


def _other_way(wish: _Wish, stands: TradingState) -> InvalidInput:
    release = "would halt more, and is no release" if wish.release else "would be a release"
    return InvalidInput(
        f"{wish.scope} is {stands}: {wish.state} {release}",
        field="state",
        value=wish.state,
        limit=f"stricter than {stands}" if not wish.release else f"less strict than {stands}",
        next_action="use `deal halt set`" if wish.release else "use `deal halt release`",
    )


def _never_halted(scope: Scope) -> NotFound:
    return NotFound(
        f"{scope} is not halted, and never was",
        field="scope",
        value=scope,
        next_action="list the halts with `deal halt show`",
    )
