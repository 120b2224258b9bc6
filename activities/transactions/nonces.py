"""The nonces of accounts: what the chain has used, what was given, and whether that fits."""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from typing import Any, Final

from activities.transactions.store import Pool
from domain.errors import Conflict, OutcomeUnknown, Unavailable
from domain.identifiers import Address, ChainId

_GIVEN: Final = """
SELECT a.address, a.next_nonce, held.pending, held.final FROM transactions.accounts a
JOIN unnest(%s::text[], %s::bigint[]) AS looked (address, mined) USING (address)
CROSS JOIN LATERAL (
    SELECT coalesce(array_agg(i.nonce) FILTER (WHERE i.state <> 'FINALIZED'), '{}') AS pending,
        coalesce(array_agg(i.nonce) FILTER (WHERE i.state = 'FINALIZED'), '{}') AS final
    FROM transactions.intents i
    WHERE i.chain_id = a.chain_id AND i.sender = a.address AND i.nonce >= looked.mined
        AND i.state <> 'ABANDONED' AND NOT (i.state = 'REPLACED' AND i.mined_hash IS NULL)
) held
WHERE a.chain_id = %s
"""


@dataclass(frozen=True, slots=True)
class NonceHealth:
    """One account: the next nonce the chain takes, the next one given, and what is between.

    `gap` are nonces between the two that no intent of ours holds, so that nothing after them can
    ever be mined. `taken_back` are those of transactions that the chain had called final: its node
    is behind, or has forgotten them.
    """

    address: Address
    mined_nonce: int
    next_nonce: int
    pending: int
    gap: tuple[int, ...]
    taken_back: tuple[int, ...]
    foreign: bool
    """Whether the chain has used nonces that were never given."""

    def used_elsewhere(self) -> Conflict:
        """The error of nonces that somebody else has used."""
        return Conflict(
            "somebody else sends from this account",
            field="account",
            value=self.address,
            limit=f"next nonce {self.next_nonce}",
            actual=f"next nonce {self.mined_nonce}",
            next_action="find out who holds the key; new transactions go on after those nonces",
        )

    def missing(self) -> Unavailable:
        """The error of nonces that nothing holds."""
        return Unavailable(
            "nonces are missing: what comes after them cannot be mined",
            field="account",
            value=self.address,
            limit=f"every nonce from {self.mined_nonce} to {self.next_nonce - 1}",
            actual=", ".join(map(str, self.gap)),
            next_action="wait: they are filled with no-ops; what was pending then goes on",
        )

    def behind(self) -> OutcomeUnknown:
        """The error of a chain that does not know what it had called final."""
        return OutcomeUnknown(
            "the chain does not know transactions that it had called final",
            field="account",
            value=self.address,
            limit=f"next nonce {self.taken_back[-1] + 1}",
            actual=f"next nonce {self.mined_nonce}",
            next_action="check the node with `deal chain status`: it is behind, or was restored",
        )

    def document(self) -> dict[str, Any]:
        """The account for programs."""
        return {
            "address": self.address,
            "mined_nonce": self.mined_nonce,
            "next_nonce": self.next_nonce,
            "pending": self.pending,
            "gap": list(self.gap),
        }


class Nonces:
    """Compares the accounts of one chain with what was given."""

    def __init__(self, chain_id: ChainId, pool: Pool) -> None:
        """Take the pool of the engine's own database role."""
        self._chain_id = chain_id
        self._pool = pool
        self._before: dict[Address, NonceHealth] = {}

    async def check(self, nonces: Mapping[Address, int]) -> list[NonceHealth]:
        """The health of every account of which a nonce was looked up.

        What was given and what holds it are read together, after the chain was looked at, so that
        neither can be behind the other. What is wrong is only told when it is seen a second time:
        what is being written or mined at this moment is not.
        """
        order = (list(nonces), list(nonces.values()), self._chain_id)
        async with self._pool.connection() as connection:
            rows = await (await connection.execute(_GIVEN, order)).fetchall()
        seen = [
            health_of(
                Address(row[0]), nonces[Address(row[0])], int(row[1]), set(row[2]), set(row[3])
            )
            for row in sorted(rows)
        ]
        before, self._before = self._before, {health.address: health for health in seen}
        return [_confirmed(health, before.get(health.address)) for health in seen]


def _confirmed(now: NonceHealth, before: NonceHealth | None) -> NonceHealth:
    """The health without what was not there at the look before."""
    if before is None:
        return replace(now, gap=(), taken_back=(), foreign=False)
    return replace(
        now,
        gap=tuple(nonce for nonce in now.gap if nonce in before.gap),
        taken_back=tuple(nonce for nonce in now.taken_back if nonce in before.taken_back),
        foreign=now.foreign and before.foreign,
    )


def health_of(
    address: Address,
    mined: int,
    given: int,
    pending: AbstractSet[int],
    final: AbstractSet[int],
) -> NonceHealth:
    """The health of an account, of whose nonces from `mined` on intents hold these.

    `final` are those that the chain had called final.
    """
    held = pending | final
    gap = tuple(nonce for nonce in range(mined, given) if nonce not in held)
    return NonceHealth(
        address=address,
        mined_nonce=mined,
        next_nonce=given,
        pending=len(pending),
        gap=gap,
        taken_back=tuple(sorted(final)),
        foreign=mined > given,
    )
