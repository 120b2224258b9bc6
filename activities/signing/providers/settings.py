"""Which key store there is and how it is reached; secrets are named by the files they are in."""

from pathlib import Path
from typing import Literal, TypeVar

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings

from domain.errors import InvalidConfiguration

Environment = Literal["development", "production"]
KeyProviderName = Literal["local", "vault", "pkcs11"]
T = TypeVar("T")


class KeySettings(BaseSettings):
    """What the key providers are opened with; each reads its own part."""

    key_provider: KeyProviderName = Field(default="vault", validation_alias="KEY_PROVIDER")

    keystore_file: Path | None = None
    keystore_passphrase_file: Path | None = None
    keystore_passphrase: SecretStr | None = None
    """Instead of the file; one of the two."""

    vault_addr: str | None = Field(default=None, validation_alias="VAULT_ADDR")
    vault_namespace: str | None = Field(default=None, validation_alias="VAULT_NAMESPACE")
    vault_cacert: Path | None = Field(default=None, validation_alias="VAULT_CACERT")
    vault_role_id_file: Path | None = None
    vault_secret_id_file: Path | None = None
    vault_transit_key: str | None = None
    vault_seed_path: str | None = None

    pkcs11_module: Path | None = None
    pkcs11_token: str | None = None
    pkcs11_pin_file: Path | None = None


def needed(value: T | None, name: str, provider: KeyProviderName) -> T:
    """Return a setting that the provider cannot do without.

    Raises `InvalidConfiguration` naming the variable if it is not set.
    """
    if value is None:
        raise InvalidConfiguration(
            f"the key provider {provider} needs {name}, which is not set",
            field=name,
            limit=f"set where KEY_PROVIDER is {provider}",
            next_action=f"set {name} for the signer, or choose another KEY_PROVIDER",
        )
    return value
