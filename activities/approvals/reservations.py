"""What banks move without the owners: reserved in Postgres, as the role ``deal_records``."""

from typing import Final

from temporalio import activity

from activities.approvals.interface import ReleaseFunding, ReservationActivities, ReserveFunding
from activities.database import Pool, connected
from domain.approvals import Funding
from domain.errors import Conflict

_RESERVE: Final = """
SELECT bank, value_usd8, together_usd8, limit_usd8, owners_decide
FROM deals.reserve(%s, %s, %s, %s, %s)
"""
# Neither for the owners nor for the policy's velocity.
_RELEASE: Final = """
WITH released AS (
    UPDATE deals.reservations SET released_at = clock_timestamp()
    WHERE deal_id = %(deal)s AND released_at IS NULL
)
SELECT control.release_admission(%(deal)s)
"""

_WITHOUT: Final = "what banks move cannot be counted now"


class Reservations(ReservationActivities):
    """Counts what each bank moves; the database adds up, one deal of a bank after the other."""

    def __init__(self, pool: Pool) -> None:
        """Use the connections of an open pool; the caller closes it."""
        self._pool = pool

    @activity.defn
    async def reserve_funding(self, order: ReserveFunding) -> Funding:
        """See `ReservationActivities.reserve_funding`."""
        parameters = (
            order.deal_id,
            order.bank,
            order.value_usd8,
            order.limit_usd8,
            order.window_seconds,
        )
        async with connected(self._pool, _WITHOUT) as connection:
            row = await (await connection.execute(_RESERVE, parameters)).fetchone()
        assert row is not None  # noqa: S101 - the function always answers
        if row[0] != order.bank:
            raise Conflict(
                f"deal {order.deal_id} is counted for another bank",
                field="bank",
                value=order.bank,
                limit=row[0],
                next_action="use a new deal id",
            )
        return Funding(
            value_usd8=int(row[1]),
            together_usd8=int(row[2]),
            limit_usd8=int(row[3]),
            owners_decide=row[4],
        )

    @activity.defn
    async def release_funding(self, order: ReleaseFunding) -> None:
        """See `ReservationActivities.release_funding`."""
        async with connected(self._pool, _WITHOUT) as connection:
            await connection.execute(_RELEASE, {"deal": order.deal_id})
