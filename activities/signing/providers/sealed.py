"""The seeds as Vault keeps them: all generations in one secret, each encrypted by transit.

The secret holds ``{"1": "vault:v1:…", "2": …}``, generation to ciphertext. It is written by
check-and-set, so of two that change it at once one begins again with what the other has written.
"""

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from pydantic import SecretBytes

from activities.signing.providers.guarded import overwrite
from activities.signing.providers.provider import FIRST_GENERATION
from activities.vault.kv import NEVER_WRITTEN, KvPath, read_secret, write_secret
from activities.vault.session import VaultSession
from activities.vault.transit import TransitKey, version_of
from domain.errors import Conflict, InvalidConfiguration, NotFound

SEED_BYTES: Final = 64
"""The most that BIP-32 takes, and what BIP-39 makes."""
_ATTEMPTS: Final = 5
"""At a change that others overtake."""


@dataclass(frozen=True, slots=True)
class Sealed:
    """One state of the secret: each generation's ciphertext, and the version it was read as."""

    generations: Mapping[int, str]
    version: int

    @property
    def newest(self) -> int:
        """The newest generation; 0 if there is none yet."""
        return max(self.generations, default=FIRST_GENERATION - 1)

    @property
    def oldest_key(self) -> int:
        """The oldest version of the transit key that any generation needs."""
        return min(version_of(ciphertext) for ciphertext in self.generations.values())


class SealedSeeds:
    """Opens a seed for as long as it is used, adds generations, and changes the wrapping.

    Every method raises as `VaultSession.run` does.
    """

    def __init__(self, session: VaultSession, key: TransitKey, path: KvPath) -> None:
        """Use the secret at `path`, encrypted by `key`."""
        self._session = session
        self._key = key
        self._path = path

    async def newest(self) -> int:
        """The newest generation. Raises `NotFound` before the first."""
        return (await self._read()).newest

    @asynccontextmanager
    async def opened(self, generation: int) -> AsyncIterator[SecretBytes]:
        """Lend a seed, asked of Vault each time; it is overwritten when it comes back.

        Raises `NotFound` for a generation that is not there, and `InvalidConfiguration` if it
        cannot be decrypted.
        """
        seed = await self._decrypted(generation)
        try:
            if len(seed) != SEED_BYTES:
                raise _foreign(self._path)
            yield seed
        finally:
            overwrite(seed)

    async def add(self) -> int:
        """Make a new seed, and return its generation; the first one where there is none yet."""
        for _ in range(_ATTEMPTS):
            sealed = await self._read_or_begin()
            generation = sealed.newest + 1
            seed = SecretBytes(os.urandom(SEED_BYTES))
            try:
                ciphertext = await self._key.encrypt(seed, self._context(generation))
            finally:
                overwrite(seed)
            if await self._wrote(sealed, {**sealed.generations, generation: ciphertext}):
                return generation
        raise self._overtaken()

    async def rewrap(self) -> None:
        """Add a version to the transit key, encrypt all under it, and retire the versions before.

        What was copied from Vault's storage before can then be decrypted by nobody.
        """
        await self._key.rotate()
        for _ in range(_ATTEMPTS):
            sealed = await self._read()
            rewrapped = await self._rewrapped(sealed)
            if rewrapped is not None and await self._wrote(sealed, rewrapped):
                await self._retire_before(Sealed(rewrapped, sealed.version).oldest_key)
                return
        raise self._overtaken()

    async def _decrypted(self, generation: int) -> SecretBytes:
        """A seed, read again if its wrapping was changed and the old one retired meanwhile."""
        for _ in range(_ATTEMPTS):
            sealed = await self._read()
            if generation not in sealed.generations:
                raise _no_such_generation(self._path, generation, sealed.newest)
            ciphertext = sealed.generations[generation]
            try:
                return await self._key.decrypt(ciphertext, self._context(generation))
            except InvalidConfiguration:
                if not await self._is_overtaken(sealed):
                    raise
        raise self._overtaken()

    async def _rewrapped(self, sealed: Sealed) -> dict[int, str] | None:
        """All under the newest version; None if others have retired what it was read as."""
        try:
            return {
                generation: await self._key.rewrap(ciphertext, self._context(generation))
                for generation, ciphertext in sealed.generations.items()
            }
        except InvalidConfiguration:
            if not await self._is_overtaken(sealed):
                raise
            return None

    async def _is_overtaken(self, sealed: Sealed) -> bool:
        return (await self._read()).version != sealed.version

    async def _retire_before(self, oldest: int) -> None:
        """Retire the versions that nothing kept needs; what was added meanwhile is of a later one.

        Of two that retire at once the slower may have allowed again what the other has retired.
        Whoever retires looks again afterwards, so the last one of them leaves it as it should be.
        """
        retired = 0
        while oldest > retired:
            await self._key.retire_before(oldest)
            retired, oldest = oldest, (await self._read()).oldest_key

    def _context(self, generation: int) -> str:
        """What the ciphertext is bound to: it decrypts as this generation at this path only."""
        return f"deal-orchestrator seed {self._path} {generation}"

    async def _read(self) -> Sealed:
        secret = await read_secret(self._session, self._path)
        try:
            generations = {int(key): str(value) for key, value in secret.data.items()}
            sealed = Sealed(generations, secret.version)
            sound = sorted(generations) == list(range(FIRST_GENERATION, sealed.newest + 1))
            if generations and sound and sealed.oldest_key:
                return sealed
        except ValueError:
            pass
        raise _foreign(self._path)

    async def _read_or_begin(self) -> Sealed:
        """What is there, or nothing; if something was deleted, writing over nothing fails."""
        try:
            return await self._read()
        except NotFound:
            return Sealed({}, NEVER_WRITTEN)

    async def _wrote(self, before: Sealed, generations: Mapping[int, str]) -> bool:
        data = {str(generation): text for generation, text in generations.items()}
        try:
            await write_secret(self._session, self._path, data, over=before.version)
        except Conflict:
            return False
        return True

    def _overtaken(self) -> Conflict:
        return Conflict(
            f"the seeds at {self._path} could not be changed",
            field="DEAL_VAULT_SEED_PATH",
            value=self._path,
            limit=f"{_ATTEMPTS} attempts against others that change them, none of them deleted",
            next_action="see whether they were deleted in Vault and undelete them, else try again",
        )


def _no_such_generation(path: KvPath, generation: int, newest: int) -> NotFound:
    return NotFound(
        f"there is no seed of generation {generation} at {path} in Vault",
        field="generation",
        value=generation,
        limit=f"{FIRST_GENERATION} to {newest}",
        next_action="give the signer the seeds that belong to its database",
    )


def _foreign(path: KvPath) -> InvalidConfiguration:
    return InvalidConfiguration(
        f"what is at {path} in Vault are not the seeds of this system",
        field="DEAL_VAULT_SEED_PATH",
        value=path,
        limit=f"generations from {FIRST_GENERATION} on, each a seed of {SEED_BYTES} bytes "
        "encrypted by transit",
        next_action="correct DEAL_VAULT_SEED_PATH, or restore the last good version with "
        "`vault kv rollback`; see docs/runbooks/keys.md, section Vault",
    )
