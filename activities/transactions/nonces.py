"""The nonces of accounts: what the chain has used, what was given, and whether that fits."""

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, Final

from activities.transactions.store import Pool
from activities.transactions.unsettled import Unsettled
from domain.errors import Conflict, Unavailable
from domain.identifiers import Address, ChainId

_NEXT: Final = """
SELECT address, next_nonce FROM transactions.accounts WHERE chain_id = %s AND address = ANY(%s)
"""


@dataclass(frozen=True, slots=True)
class NonceHealth:
    """One account: the next nonce the chain takes, the next one given, and what is between.

    `gap` are nonces that no intent of ours holds, although one holds a later nonce, which can
    never be mined before them.
    """

    address: Address
    mined_nonce: int
    next_nonce: int
    pending: int
    gap: tuple[int, ...]

    @property
    def foreign(self) -> bool:
        """Whether the chain has used nonces that were never given."""
        return self.mined_nonce > self.next_nonce

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

    async def check(
        self, intents: Iterable[Unsettled], nonces: Mapping[Address, int]
    ) -> list[NonceHealth]:
        """The health of every account of which a nonce was looked up."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(_NEXT, (self._chain_id, list(nonces)))
            given = {Address(row[0]): int(row[1]) for row in await cursor.fetchall()}
        held: dict[Address, set[int]] = {address: set() for address in given}
        for intent in intents:
            held[intent.sender].add(intent.nonce)
        return [
            health_of(address, mined, given[address], held[address])
            for address, mined in sorted(nonces.items())
            if address in given
        ]


def health_of(address: Address, mined: int, given: int, held: AbstractSet[int]) -> NonceHealth:
    """The health of an account whose nonces are `held` by intents that are not final."""
    pending = [nonce for nonce in held if nonce >= mined]
    # Only below what is held: nonces above may have been given since the intents were read.
    gap = tuple(nonce for nonce in range(mined, max(held, default=mined)) if nonce not in held)
    return NonceHealth(
        address=address,
        mined_nonce=mined,
        next_nonce=given,
        pending=len(pending),
        gap=gap,
    )
