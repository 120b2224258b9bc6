"""Where each deal's money comes from and goes to: decided once, and never believed again."""

from dataclasses import dataclass
from typing import Final

from activities.database import Pool, connected
from domain.errors import Conflict
from domain.identifiers import Address, DealId

_FIND: Final = "SELECT treasury, safe FROM signing.treasuries WHERE deal_id = %s"
_DECIDE: Final = """
INSERT INTO signing.treasuries (deal_id, treasury, safe) VALUES (%s, %s, %s)
ON CONFLICT (deal_id) DO NOTHING
"""
_REMEMBERED: Final = 10_000


@dataclass(frozen=True, slots=True)
class Treasury:
    """The account that a deal is paid from and back to, and whether that is a Safe."""

    address: Address
    safe: bool


class Treasuries:
    """The signer's own records of it, in which rows are only added."""

    def __init__(self, pool: Pool) -> None:
        """Use this database."""
        self._pool = pool
        self._known: dict[DealId, Treasury] = {}

    async def find(self, deal_id: DealId) -> Treasury | None:
        """The deal's treasury, if it is decided. Raises `Unavailable`."""
        if deal_id in self._known:
            return self._known[deal_id]
        async with connected(self._pool) as connection:
            row = await (await connection.execute(_FIND, (deal_id,))).fetchone()
        if row is None:
            return None
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        self._known[deal_id] = Treasury(Address(row[0]), row[1])
        return self._known[deal_id]

    async def decide(self, deal_id: DealId, treasury: Treasury) -> Treasury:
        """The deal's treasury: this one, unless it was decided before. Raises `Unavailable`."""
        if deal_id not in self._known:
            async with connected(self._pool) as connection:
                await connection.execute(_DECIDE, (deal_id, treasury.address, treasury.safe))
        return await self.find(deal_id) or treasury

    async def bind(self, deal_id: DealId, safe: Address) -> Treasury:
        """Make a Safe the deal's treasury.

        Raises `Conflict` if it has another one, as it does once anything was signed for it, and
        `Unavailable`.
        """
        decided = await self.decide(deal_id, Treasury(safe, safe=True))
        if decided != Treasury(safe, safe=True):
            raise Conflict(
                f"the treasury of deal {deal_id} is decided already",
                field="treasury",
                value=safe,
                limit=decided.address,
                next_action="use a new deal id",
            )
        return decided
