"""The codec's keys in Vault: one secret of a KV engine (version 2), all keys in it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from activities.vault.credentials import VaultLogin
from activities.vault.kv import NEVER_WRITTEN, KvPath, Secret, read_secret, write_secret
from activities.vault.session import VaultSession
from domain.errors import Conflict, InvalidConfiguration, NotFound
from workers.runtime.key_ring import CodecKey, keys_document, parse_keys

_FIELD: Final = "DEAL_CODEC_VAULT_PATH"
_ATTEMPTS: Final = 5


class VaultKeySource:
    """Logs in for each reading, which is once a minute, and keeps no token in between."""

    def __init__(self, login: VaultLogin, path: str) -> None:
        """Take who logs in, and the secret's ``mount/path``. Raises `InvalidConfiguration`."""
        self._login = login
        self._path = KvPath.parse(path, setting=_FIELD)

    async def read(self) -> tuple[CodecKey, ...]:
        """Return the keys, oldest first. Raises `InvalidConfiguration` and `Unavailable`."""
        async with self._session() as session:
            secret = await self._kept(session)
            return () if secret is None else self._parse(secret)

    async def add(self, key: CodecKey) -> None:
        """Write the key beside the others, by check-and-set. Raises as `read`, and `Conflict`."""
        async with self._session() as session:
            for attempt in range(1, _ATTEMPTS + 1):
                secret = await self._kept(session)
                version = NEVER_WRITTEN if secret is None else secret.version
                keys = () if secret is None else self._parse(secret)
                try:
                    await write_secret(
                        session, self._path, keys_document((*keys, key)), over=version
                    )
                except Conflict:  # somebody else has rotated: both keys are to stay
                    if attempt == _ATTEMPTS:
                        raise
                else:
                    return

    async def _kept(self, session: VaultSession) -> Secret | None:
        try:
            return await read_secret(session, self._path)
        except NotFound:
            return None

    def _parse(self, secret: Secret) -> tuple[CodecKey, ...]:
        try:
            return parse_keys(secret.data)
        except ValueError:
            raise InvalidConfiguration(
                "what Vault has there are no keys of a codec",
                field=_FIELD,
                value=self._path,
                limit="keys as this system writes them",
                next_action="correct the path, or go back to an earlier version of the secret",
            ) from None

    @asynccontextmanager
    async def _session(self) -> AsyncIterator[VaultSession]:
        session = VaultSession(self._login)
        try:
            yield session
        finally:
            await session.close()
