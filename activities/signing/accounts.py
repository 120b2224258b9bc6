"""Which account belongs to which deal, one key each, for ever; and the desk's own accounts."""

from dataclasses import dataclass
from typing import Any, Final

import psycopg

from activities.database import Pool, connected
from activities.signing.providers.provider import (
    FEE,
    TREASURY,
    KeyProvider,
    KeyPurpose,
    KeyRef,
    deal_key,
)
from domain.errors import Conflict, InvalidConfiguration, NotFound
from domain.identifiers import Address, ChainId, DealId

_FIND: Final = """
SELECT key_index, generation, provider, address, signing.is_retired(address),
    max_fee_per_gas, chain_id
FROM signing.accounts WHERE deal_id = %s
"""
_FIND_OWN: Final = """
SELECT key_index, generation, provider, address, false, max_fee_per_gas, chain_id
FROM signing.accounts WHERE purpose = %s AND provider = %s
"""
_LOCK: Final = "SELECT pg_advisory_xact_lock('signing.accounts'::regclass::oid::bigint)"
_NEXT: Final = "SELECT count(*) FROM signing.accounts WHERE purpose = 'deal'"
_ADD: Final = """
INSERT INTO signing.accounts
    (deal_id, purpose, generation, key_index, provider, address, max_fee_per_gas, chain_id)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s)
"""

_REMEMBERED: Final = 10_000


@dataclass(frozen=True, slots=True)
class Terms:
    """What was told when the account was opened, and holds from then on.

    `max_fee_per_gas` is what the deal bids at most, in wei per gas, if it has a cap of its own.
    """

    max_fee_per_gas: int | None = None
    chain_id: ChainId | None = None


NO_TERMS: Final = Terms()
"""Of the desk's own accounts."""


@dataclass(frozen=True, slots=True)
class DealKey:
    """A deal's account, which key it has, and whether that is retired."""

    ref: KeyRef
    address: Address
    terms: Terms
    retired: bool = False


class Accounts:
    """Finds and allocates the accounts of deals; what it found once it remembers."""

    def __init__(self, pool: Pool, keys: KeyProvider) -> None:
        """Use this database and this key store."""
        self._pool = pool
        self._keys = keys
        self._known: dict[DealId, DealKey] = {}
        self._own: dict[KeyPurpose, Address] = {}

    async def treasury(self) -> Address:
        """Return the treasury's account. Raises as `open` does."""
        return await self._own_account(TREASURY)

    async def fee(self) -> Address:
        """Return the account that pays for what people have approved. Raises as `open` does."""
        return await self._own_account(FEE)

    async def find(self, deal_id: DealId) -> DealKey | None:
        """Return the deal's key, or None if it was never given one.

        One that was not retired is remembered so: the journal, which is asked last, knows better.
        Raises `InvalidConfiguration` if the key store is not the one the account came from, and
        `Unavailable`.
        """
        known = self._known.get(deal_id)
        if known is not None:
            return known
        async with connected(self._pool) as connection:
            row = await (await connection.execute(_FIND, (deal_id,))).fetchone()
        return None if row is None else await self._recognised(deal_id, row)

    async def open(self, deal_id: DealId, terms: Terms = NO_TERMS) -> DealKey:
        """Return the deal's key, giving it the next index the first time.

        Its terms are written down with it. Raises `Conflict` if it was opened with others, and
        `InvalidConfiguration` and `Unavailable` as `find` does.
        """
        key = await self.find(deal_id) or await self._allocate(deal_id, terms)
        first = key.terms
        if first.max_fee_per_gas != terms.max_fee_per_gas:
            cap = (terms.max_fee_per_gas, first.max_fee_per_gas)
            raise _opened_otherwise(deal_id, "fee cap", "max_fee_per_gas_wei", *cap)
        # An account from before chains were written down has none.
        if first.chain_id not in (None, terms.chain_id):
            chain = (terms.chain_id, first.chain_id)
            raise _opened_otherwise(deal_id, "chain", "chain_id", *chain)
        return key

    def forget(self, deal_id: DealId) -> None:
        """Look the deal's key up again when it is asked for next."""
        self._known.pop(deal_id, None)

    async def _allocate(self, deal_id: DealId, terms: Terms) -> DealKey:
        """Create the next key and keep it, holding the lock under which indexes are counted."""
        async with connected(self._pool) as connection, connection.transaction():
            await connection.execute(_LOCK)
            row = await (await connection.execute(_FIND, (deal_id,))).fetchone()
            if row is None:
                count = await (await connection.execute(_NEXT)).fetchone()
                index = int(count[0]) if count else 0
                ref = deal_key(index, await self._keys.generation())
                row = await self._add(connection, ref, deal_id, terms)
        return await self._recognised(deal_id, row)

    async def _own_account(self, ref: KeyRef) -> Address:
        """The account of the desk itself, recorded the first time."""
        known = self._own.get(ref.purpose)
        if known is not None:
            return known
        async with connected(self._pool) as connection, connection.transaction():
            await connection.execute(_LOCK)
            place = (ref.purpose, self._keys.name)
            row = await (await connection.execute(_FIND_OWN, place)).fetchone()
            if row is None:
                row = await self._add(connection, ref, None)
        self._own[ref.purpose] = (
            await self._checked(f"the {ref.purpose}", ref.purpose, row)
        ).address
        return self._own[ref.purpose]

    async def _add(
        self,
        connection: psycopg.AsyncConnection[Any],
        ref: KeyRef,
        deal_id: DealId | None,
        terms: Terms = NO_TERMS,
    ) -> tuple[Any, ...]:
        address, provider = await self._keys.create(ref), self._keys.name
        key = (ref.purpose, ref.generation, ref.index, provider, address)
        told = (terms.max_fee_per_gas, terms.chain_id)
        await connection.execute(_ADD, (deal_id, *key, *told))
        return (ref.index, ref.generation, provider, address, False, *told)

    async def _recognised(self, deal_id: DealId, row: tuple[Any, ...]) -> DealKey:
        key = await self._checked(f"deal {deal_id}", KeyPurpose.DEAL, row)
        if key.retired:
            return key
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        self._known[deal_id] = key
        return key

    async def _checked(self, owner: str, purpose: KeyPurpose, row: tuple[Any, ...]) -> DealKey:
        """Compare what the records say with what the key store has."""
        index, generation, provider, address, retired, cap, chain_id = row
        ref = KeyRef(purpose, index, generation)
        if provider != self._keys.name:
            raise _foreign(owner, "KEY_PROVIDER", self._keys.name, provider)
        try:
            found = await self._keys.address(ref)
        except NotFound as error:
            raise _foreign(owner, "key", error.problem.message, ref.label) from error
        if found != address:
            raise _foreign(owner, "account", found, address)
        terms = Terms(None if cap is None else int(cap), chain_id)
        return DealKey(ref, found, terms, retired)


def _opened_otherwise(
    deal_id: DealId, what: str, field: str, now: int | None, first: int | None
) -> Conflict:
    return Conflict(
        f"the account of deal {deal_id} was opened with another {what}",
        field=field,
        value="none" if now is None else now,
        limit="none" if first is None else first,
        next_action="find out who asks; what was told first holds as long as there is the deal",
    )


def _foreign(owner: str, field: str, value: object, limit: object) -> InvalidConfiguration:
    return InvalidConfiguration(
        f"the account of {owner} did not come from this key store",
        field=field,
        value=value,
        limit=limit,
        next_action="give the signer the key store that belongs to its database",
    )
