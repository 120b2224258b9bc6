"""Where the codec's keys are, as the environment says."""

from typing import TypeVar, assert_never

from activities.vault.credentials import ROLE_ID_SETTING, SECRET_ID_SETTING, VaultLogin
from domain.errors import InvalidConfiguration
from workers.runtime.key_ring import FileKeySource, KeyRing, KeySource
from workers.runtime.settings import CodecSettings

T = TypeVar("T")


async def open_key_ring() -> KeyRing | None:
    """Read the keys that encrypt payloads; None where none are to be encrypted.

    Raises `InvalidConfiguration` and `Unavailable`.
    """
    source = key_source(CodecSettings.load())
    if source is None:
        return None
    keys = KeyRing(source)
    await keys.load()
    return keys


def key_source(settings: CodecSettings) -> KeySource | None:
    """Return where the keys are; None for nowhere. Raises `InvalidConfiguration`."""
    match settings.codec_keys:
        case "off":
            _refuse_in_production(settings)
            return None
        case "file":
            return _file(settings)
        case "vault":
            return _vault(settings)
    assert_never(settings.codec_keys)


def needed_source(settings: CodecSettings) -> KeySource:
    """Return where the keys are; raise `InvalidConfiguration` for nowhere."""
    source = key_source(settings)
    if source is None:
        raise InvalidConfiguration(
            "payloads are not encrypted here, so there are no codec keys",
            field="DEAL_CODEC_KEYS",
            value=settings.codec_keys,
            limit="vault, or file",
            next_action="set DEAL_CODEC_KEYS to the place of the keys",
        )
    return source


def _file(settings: CodecSettings) -> FileKeySource:
    return FileKeySource(
        _needed(settings.codec_keys_file, "DEAL_CODEC_KEYS_FILE", "the file with the codec's keys")
    )


def _vault(settings: CodecSettings) -> KeySource:
    from workers.runtime.key_ring_vault import VaultKeySource  # noqa: PLC0415 - where it is used

    login = VaultLogin(
        _needed(settings.vault_addr, "VAULT_ADDR", "where Vault is, which has the codec's keys"),
        _needed(settings.vault_role_id_file, ROLE_ID_SETTING, "a file with the role id"),
        _needed(settings.vault_secret_id_file, SECRET_ID_SETTING, "a file with the secret id"),
        namespace=settings.vault_namespace,
        ca_file=settings.vault_cacert,
    )
    return VaultKeySource(login, settings.codec_vault_path)


def _refuse_in_production(settings: CodecSettings) -> None:
    if settings.environment == "production":
        raise InvalidConfiguration(
            "payloads must be encrypted in production",
            field="DEAL_CODEC_KEYS",
            value=settings.codec_keys,
            limit="vault, or file",
            next_action="name the place of the keys, and make the first with `deal codec rotate`",
        )


def _needed(value: T | None, field: str, limit: str) -> T:
    if value is None:
        raise InvalidConfiguration(
            f"{field} is not set, and payloads are to be encrypted",
            field=field,
            limit=limit,
            next_action=f"set {field}, or DEAL_CODEC_KEYS to another place, or start the local "
            "stack with `deal local up`",
        )
    return value
