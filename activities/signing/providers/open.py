"""Opening the key store that the settings choose."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Final

from activities.signing.providers.local import open_local
from activities.signing.providers.pkcs11 import open_pkcs11
from activities.signing.providers.provider import KeyProvider
from activities.signing.providers.settings import Environment, KeyProviderName, KeySettings
from activities.signing.providers.vault import open_vault

_Open = Callable[[KeySettings, Environment], Awaitable[KeyProvider]]

_PROVIDERS: Final[Mapping[KeyProviderName, _Open]] = {
    "local": open_local,
    "vault": open_vault,
    "pkcs11": open_pkcs11,
}


@asynccontextmanager
async def open_keys(settings: KeySettings, environment: Environment) -> AsyncIterator[KeyProvider]:
    """Lend the key store of ``KEY_PROVIDER``.

    Raises `InvalidConfiguration` for a setting that is missing or wrong, and `Unavailable`.
    """
    keys = await _PROVIDERS[settings.key_provider](settings, environment)
    try:
        yield keys
    finally:
        await keys.close()
