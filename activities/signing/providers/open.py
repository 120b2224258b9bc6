"""Opening the key store that the settings choose; no other one is even loaded."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import assert_never

from activities.signing.providers.provider import KeyProvider
from activities.signing.providers.settings import Environment, KeyProviderName, KeySettings

_Open = Callable[[KeySettings, Environment], Awaitable[KeyProvider]]


@asynccontextmanager
async def open_keys(settings: KeySettings, environment: Environment) -> AsyncIterator[KeyProvider]:
    """Lend the key store of ``KEY_PROVIDER``.

    Raises `InvalidConfiguration` for a setting that is missing or wrong, and `Unavailable`.
    """
    keys = await _opener(settings.key_provider)(settings, environment)
    try:
        yield keys
    finally:
        await keys.close()


def _opener(name: KeyProviderName) -> _Open:
    match name:
        case "local":
            from activities.signing.providers.local import open_local  # noqa: PLC0415 - see above

            return open_local
        case "vault":
            from activities.signing.providers.vault import open_vault  # noqa: PLC0415 - see above

            return open_vault
        case "pkcs11":
            from activities.signing.providers.pkcs11 import open_pkcs11  # noqa: PLC0415 - see above

            return open_pkcs11
    assert_never(name)
