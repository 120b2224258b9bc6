"""The audit trail: shown, exported, verified; each for callers who may, and their banks alone."""

import json
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from psycopg.rows import DictRow

from domain.errors import InvalidInput, NotFound
from domain.identifiers import DealId
from domain.identity import ALL_BANKS, Caller, Permission
from starters.control.database import ControlDatabase, cause_of
from starters.deals.database import Connections, fetch
from starters.deals.paging import DEFAULT_LIMIT, check_limit

GENESIS: Final = "0" * 64
"""What the first row has for the hash of the one before it."""

FIELDS: Final = (
    "at",
    "actor",
    "actor_kind",
    "via",
    "address",
    "action",
    "subject_kind",
    "subject",
    "deal",
    "previous_of_deal",
    "bank",
    "why",
    "request_id",
    "command_id",
    "request_digest",
    "policy_version",
    "workflow_id",
    "run_id",
    "event",
    "transaction_hashes",
    "change",
    "written_by",
)
"""What a row says, in the order in which its digest has it."""
_PLACE: Final = ("content_digest", "previous_hash", "hash")
_PAGE: Final = 1_000

_LIST: Final = f"SELECT sequence, {', '.join((*FIELDS, *_PLACE))} FROM audit.events"  # noqa: S608 - constants
_NEWEST_FIRST: Final = " ORDER BY sequence DESC LIMIT %(limit)s"
_CONDITIONS: Final = {
    "deal": "deal = %(deal)s",
    "actor": "actor = %(actor)s",
    "bank": "bank = %(bank)s",
    "subject_kind": "subject_kind = %(subject_kind)s",
    "since": "at >= %(since)s",
    "until": "at < %(until)s",
    "before": "sequence < %(before)s",
}
_OF_BANKS: Final = "bank = ANY(%(banks)s)"
_VERIFY: Final = "SELECT good, head, broken, problem FROM audit.verify(%s)"
_HEAD: Final = "SELECT sequence, hash FROM audit.events ORDER BY sequence DESC LIMIT 1"
_FIRST_OF_DEAL: Final = """
SELECT sequence, previous_hash, bank FROM audit.events WHERE deal = %s ORDER BY sequence LIMIT 1
"""
_OF_HASH: Final = "SELECT sequence FROM audit.events WHERE hash = %s"
_AFTER: Final = "SELECT previous_hash FROM audit.events WHERE sequence = %s"
# The text of `change` is exported as the database has it, because the digest is over that.
_OWN: Final = ", ".join(
    f"own.{name}::text" if name == "change" else f"own.{name}" for name in FIELDS
)
_EXPORT: Final = f"""
SELECT link.sequence AS place, link.content_digest AS content, link.hash AS link, own.sequence,
    {_OWN}, own.content_digest, own.previous_hash, own.hash
FROM audit.events AS link
LEFT JOIN audit.events AS own
    ON own.sequence = link.sequence AND (%(deal)s::text IS NULL OR own.deal = %(deal)s)
WHERE link.sequence > %(after)s AND link.sequence <= %(last)s
ORDER BY link.sequence LIMIT %(limit)s
"""  # noqa: S608 - constants
_EXPORTED: Final = """
SELECT audit.record(%(cause)s::jsonb, 'audit.exported', 'audit', %(subject)s, deal => %(deal)s)
"""


@dataclass(frozen=True)
class AuditFilter:
    """Which rows to list; what is not given does not restrict. `before` is a row's sequence."""

    deal: str | None = None
    actor: str | None = None
    bank: str | None = None
    subject_kind: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    limit: int = DEFAULT_LIMIT
    before: int | None = None

    def __post_init__(self) -> None:
        """Refuse a page that is empty or too large."""
        check_limit(self.limit, "rows")


@dataclass(frozen=True)
class AuditPage:
    """Rows, newest first, and before which one the next page goes on, if there is one."""

    rows: list[DictRow] = field(default_factory=list)
    next_before: int | None = None


@dataclass(frozen=True)
class TrailCheck:
    """What recomputing the trail found.

    `good` rows, the last of which has the hash `head`: kept elsewhere, it shows later that no row
    was cut off. `broken` is the first row that is not as it was written; `problem` says how.
    """

    good: int
    head: str
    broken: int | None = None
    problem: str | None = None


class AuditTrail:
    """The trail for callers: each sees the rows of his banks. Methods raise `Unavailable`."""

    def __init__(self, reading: Connections, control: ControlDatabase | None = None) -> None:
        """Read by these connections; an export is noted by the control database."""
        self._reading = reading
        self._control = control

    async def page(self, caller: Caller, chosen: AuditFilter) -> AuditPage:
        """A page of rows, newest first. Raises `Forbidden`."""
        caller.require(Permission.AUDIT_READ)
        given = [text for name, text in _CONDITIONS.items() if getattr(chosen, name)]
        if caller.banks is not None:
            given.append(_OF_BANKS)
        where = f" WHERE {' AND '.join(given)}" if given else ""
        parameters = vars(chosen) | {"banks": list(caller.banks or ()), "limit": chosen.limit + 1}
        rows = await fetch(self._reading, _LIST + where + _NEWEST_FIRST, parameters)
        more = rows[chosen.limit - 1]["sequence"] if len(rows) > chosen.limit else None
        return AuditPage(rows[: chosen.limit], more)

    async def verify(self, caller: Caller, kept_head: str | None = None) -> TrailCheck:
        """Have the database recompute the whole trail. Raises `Forbidden`."""
        caller.require(Permission.AUDIT_READ)
        (row,) = await fetch(self._reading, _VERIFY, (kept_head,))
        return TrailCheck(**row)

    async def export(
        self, caller: Caller, why: str, deal: DealId | None = None, kept_head: str | None = None
    ) -> AsyncGenerator[str, None]:
        """Yield the whole trail, or what verifies a deal's rows, as JSON lines without their ends.

        Of a deal, from its first row, or from the head that was kept if that is earlier, to the
        newest row there is: between its own rows only the hashes of others. That it was exported is
        in the trail before the first line is.

        Raises `Forbidden`, `NotFound` (no such deal, or of another bank) and `InvalidInput` (no
        reason, or the head is not in the trail).
        """
        caller.require(Permission.AUDIT_EXPORT)
        after = await self._place_before(caller, deal, kept_head)
        await self._note_export(caller, why, deal)
        (head,) = await fetch(self._reading, _HEAD, ())
        (row,) = await fetch(self._reading, _AFTER, (after + 1,))
        yield _line(
            {
                "audit_export": 1,
                "deal": deal,
                "first": after + 1,
                "previous_hash": row["previous_hash"],
                "last": head["sequence"],
                "head": head["hash"],
                "exported_at": datetime.now(UTC).isoformat(),
                "exported_by": caller.who,
            }
        )
        while after < head["sequence"]:
            asked = {"deal": deal, "after": after, "last": head["sequence"], "limit": _PAGE}
            rows = await fetch(self._reading, _EXPORT, asked)
            for row in rows:
                yield _line(_exported(row))
            after = rows[-1]["place"]

    async def _place_before(
        self, caller: Caller, deal: DealId | None, kept_head: str | None
    ) -> int:
        """The sequence of the row before the first that is exported."""
        first = 1
        if deal is None:
            caller.require(Permission.AUDIT_EXPORT, ALL_BANKS)
        else:
            rows = await fetch(self._reading, _FIRST_OF_DEAL, (deal,))
            if not rows or not caller.principal.has_bank(rows[0]["bank"] or ""):
                raise NotFound(
                    f"there is no deal {deal} in the audit trail",
                    field="deal",
                    value=deal,
                    next_action="look for it with `deal list`",
                )
            first = rows[0]["sequence"]
        if kept_head is not None and kept_head != GENESIS:
            kept = await fetch(self._reading, _OF_HASH, (kept_head,))
            if not kept:
                raise InvalidInput(
                    "the head that was kept is not in the trail",
                    field="head",
                    value=kept_head,
                    limit="the hash of a row",
                    next_action="run `deal audit verify`: rows may have been cut off",
                )
            first = min(first, kept[0]["sequence"])
        return first - 1

    async def _note_export(self, caller: Caller, why: str, deal: DealId | None) -> None:
        if self._control is None:
            raise InvalidInput(
                "an export is noted in the trail, and the control database is not named",
                field="DEAL_CONTROL_DATABASE_URL",
                next_action="set DEAL_CONTROL_DATABASE_URL",
            )
        cause = json.dumps(cause_of(caller, why))
        async with self._control.change(caller, why) as connection:
            noted = {"cause": cause, "subject": deal or "the whole trail", "deal": deal}
            await connection.execute(_EXPORTED, noted)


def _exported(row: DictRow) -> dict[str, Any]:
    if row["sequence"] is None:
        return {
            "sequence": row["place"],
            "content_digest": row["content"],
            "hash": row["link"],
        }
    return {name: row[name] for name in ("sequence", *FIELDS, *_PLACE)}


def _line(document: dict[str, Any]) -> str:
    return json.dumps(document, default=datetime.isoformat, ensure_ascii=False)
