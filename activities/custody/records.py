"""The signer's records of keys: who has which, and what became of it. Rows are only ever added."""

from dataclasses import dataclass
from typing import Any, Final, LiteralString

from psycopg.rows import dict_row

from activities.custody.interface import KeyView, ListKeys
from activities.database import Pool, connected
from domain.identifiers import Address, DealId

RETIRED: Final = "retired"
REINSTATED: Final = "reinstated"

_VIEWS: Final = """
SELECT known.purpose, known.deal_id, known.address, known.label, known.generation, known.provider,
    known.created_at, known.key_index, latest.happened_at AS retired_at, latest.who AS retired_by,
    latest.why AS retired_why
FROM signing.accounts AS known
LEFT JOIN LATERAL (
    SELECT event.happened_at, event.who, event.why
    FROM signing.key_events AS event
    WHERE event.address = known.address AND signing.is_retired(known.address)
    ORDER BY event.sequence DESC LIMIT 1
) AS latest ON true
"""
_OF_DEAL: Final = f"{_VIEWS} WHERE known.deal_id = %s"
_OWN: Final = f"{_VIEWS} WHERE known.purpose <> 'deal' ORDER BY known.purpose DESC, known.provider"
_PAGE: Final = f"""{_VIEWS}
WHERE known.purpose = 'deal'
    AND (%(before)s::integer IS NULL OR known.key_index < %(before)s)
    AND (%(retired)s::boolean IS NULL OR signing.is_retired(known.address) = %(retired)s)
ORDER BY known.key_index DESC LIMIT %(limit)s
"""
# One that is retired is not retired again, and one that is in use not reinstated.
_ADD: Final = """
INSERT INTO signing.key_events (event_id, kind, address, provider, generation, who, why)
SELECT %(event_id)s, %(kind)s, %(address)s, %(provider)s, %(generation)s, %(who)s, %(why)s
WHERE %(address)s::text IS NULL OR signing.is_retired(%(address)s) <> (%(kind)s = 'retired')
ON CONFLICT (event_id) DO NOTHING
"""
_HAS_EVENT: Final = "SELECT true FROM signing.key_events WHERE event_id = %s"
_HAS_HASH: Final = "SELECT true FROM signing.journal WHERE hash = %s LIMIT 1"


@dataclass(frozen=True, slots=True)
class KeyEvent:
    """Something that became of a key, or of them all: in whose name, and why."""

    event_id: str
    kind: str
    provider: str
    who: str
    why: str
    address: Address | None = None
    generation: int | None = None


class KeyRecords:
    """Reads and adds to the records. Every method raises `Unavailable`."""

    def __init__(self, pool: Pool) -> None:
        """Use connections of the role deal_signer."""
        self._pool = pool

    async def of_deal(self, deal_id: DealId) -> KeyView | None:
        """The deal's key, if it was ever given one."""
        rows = await self._views(_OF_DEAL, (deal_id,))
        return rows[0][1] if rows else None

    async def page(self, order: ListKeys) -> tuple[tuple[KeyView, ...], int | None]:
        """A page of keys, and from where the next one goes on."""
        own = [] if order.before is not None or order.retired else await self._views(_OWN, ())
        asked = {"before": order.before, "retired": order.retired, "limit": order.limit + 1}
        found = await self._views(_PAGE, asked)
        more = found[order.limit - 1][0] if len(found) > order.limit else None
        return tuple(view for _, view in (*own, *found[: order.limit])), more

    async def add(self, event: KeyEvent) -> None:
        """Add an event, unless its request was carried out before or would change nothing."""
        fields = {name: getattr(event, name) for name in KeyEvent.__slots__}
        async with connected(self._pool) as connection:
            await connection.execute(_ADD, fields)

    async def has_event(self, event_id: str) -> bool:
        """Whether the request was carried out before."""
        return await self._any(_HAS_EVENT, event_id)

    async def has_journal_hash(self, digest: str) -> bool:
        """Whether a row of the journal has this hash."""
        return await self._any(_HAS_HASH, digest)

    async def _any(self, statement: LiteralString, value: str) -> bool:
        async with connected(self._pool) as connection:
            return await (await connection.execute(statement, (value,))).fetchone() is not None

    async def _views(self, statement: LiteralString, parameters: Any) -> list[tuple[int, KeyView]]:  # noqa: ANN401 - by position or name
        async with connected(self._pool) as connection:
            cursor = connection.cursor(row_factory=dict_row)
            rows = await (await cursor.execute(statement, parameters)).fetchall()
        return [(row.pop("key_index"), KeyView.model_validate(row)) for row in rows]
