"""Which account belongs to which deal: one key each, for ever."""

from dataclasses import dataclass
from typing import Final

from activities.signing.database import Pool, connected
from activities.signing.providers.provider import TREASURY, KeyPath, KeyProvider, deal_path
from domain.errors import InvalidConfiguration
from domain.identifiers import Address, DealId

_FIND: Final = "SELECT key_index, address FROM signing.accounts WHERE deal_id = %s"
_LOCK: Final = "SELECT pg_advisory_xact_lock('signing.accounts'::regclass::oid::bigint)"
_NEXT: Final = "SELECT count(*) FROM signing.accounts"
_ADD: Final = "INSERT INTO signing.accounts (deal_id, key_index, address) VALUES (%s, %s, %s)"

_REMEMBERED: Final = 10_000


@dataclass(frozen=True, slots=True)
class DealKey:
    """A deal's account and where its key is."""

    path: KeyPath
    address: Address


class Accounts:
    """Finds and allocates the accounts of deals; what it found once it remembers."""

    def __init__(self, pool: Pool, keys: KeyProvider) -> None:
        """Use this database and this key store."""
        self._pool = pool
        self._keys = keys
        self._known: dict[DealId, DealKey] = {}
        self._treasury: Address | None = None

    async def treasury(self) -> Address:
        """Return the treasury's account; raises `Unavailable`."""
        if self._treasury is None:
            self._treasury = await self._keys.address(TREASURY)
        return self._treasury

    async def find(self, deal_id: DealId) -> DealKey | None:
        """Return the deal's key, or None if it was never given one.

        Raises `InvalidConfiguration` if the key store is not the one the account came from, and
        `Unavailable`.
        """
        known = self._known.get(deal_id)
        if known is not None:
            return known
        async with connected(self._pool) as connection:
            row = await (await connection.execute(_FIND, (deal_id,))).fetchone()
        return None if row is None else await self._recognise(deal_id, row[0], row[1])

    async def open(self, deal_id: DealId) -> DealKey:
        """Return the deal's key, giving it the next index the first time.

        Raises `InvalidConfiguration` and `Unavailable` as `find` does.
        """
        return await self.find(deal_id) or await self._allocate(deal_id)

    async def _allocate(self, deal_id: DealId) -> DealKey:
        """Derive the next key and keep it, holding the lock under which indexes are counted."""
        async with connected(self._pool) as connection, connection.transaction():
            await connection.execute(_LOCK)
            row = await (await connection.execute(_FIND, (deal_id,))).fetchone()
            if row is None:
                count = await (await connection.execute(_NEXT)).fetchone()
                index = int(count[0]) if count else 0
                address = await self._keys.address(deal_path(index))
                await connection.execute(_ADD, (deal_id, index, address))
                row = (index, address)
        return await self._recognise(deal_id, row[0], row[1])

    async def _recognise(self, deal_id: DealId, index: int, address: str) -> DealKey:
        path = deal_path(index)
        derived = await self._keys.address(path)
        if derived != address:
            raise InvalidConfiguration(
                f"the account of deal {deal_id} did not come from this key store",
                field="keystore_file",
                value=derived,
                limit=address,
                next_action="give the signer the key store that belongs to its database",
            )
        key = DealKey(path, derived)
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        self._known[deal_id] = key
        return key
