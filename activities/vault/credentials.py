"""How this process shows Vault who it is: the two parts of an AppRole, each in a private file."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from pydantic import SecretStr

from activities.signing.providers.secret_files import read_secret_line
from domain.errors import InvalidConfiguration
from domain.masking import remember

_LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})

ROLE_ID_SETTING: Final = "DEAL_VAULT_ROLE_ID_FILE"
SECRET_ID_SETTING: Final = "DEAL_VAULT_SECRET_ID_FILE"  # noqa: S105 - the name of a setting


@dataclass(frozen=True, slots=True)
class VaultLogin:
    """Where Vault is and who logs in there.

    The files are read at each login, so that a new secret id needs no restart. `mount` is the path
    of the AppRole method, `ca_file` a PEM bundle in place of the system's.
    """

    address: str
    role_id_file: Path
    secret_id_file: Path
    namespace: str | None = None
    ca_file: Path | None = None
    mount: str = "approle"

    def __post_init__(self) -> None:
        """Raise `InvalidConfiguration` for an address that would send keys in the clear."""
        parts = urlsplit(self.address)
        secure = parts.scheme == "https"
        if not parts.hostname or not (
            secure or (parts.scheme == "http" and parts.hostname in _LOOPBACK)
        ):
            raise InvalidConfiguration(
                "Vault can only be reached by https",
                field="VAULT_ADDR",
                value=self.address,
                limit="https://host:port, or http on loopback",
                next_action="give Vault a certificate and set VAULT_ADDR to its https address",
            )
        if self.ca_file is not None and not self.ca_file.is_file():
            raise InvalidConfiguration(
                "the certificates to check Vault by are missing",
                field="VAULT_CACERT",
                value=self.ca_file,
                limit="a file of certificates in PEM",
                next_action="correct VAULT_CACERT, or unset it to use those of the system",
            )

    def role_id(self) -> SecretStr:
        """Read the role id. Raises `InvalidConfiguration`."""
        return _read(self.role_id_file, ROLE_ID_SETTING, "role id")

    def secret_id(self) -> SecretStr:
        """Read the secret id. Raises `InvalidConfiguration`."""
        return _read(self.secret_id_file, SECRET_ID_SETTING, "secret id")


def _read(path: Path, setting: str, kind: str) -> SecretStr:
    secret = read_secret_line(path, setting, kind).get_secret_value().strip()
    if not secret.isascii():
        raise InvalidConfiguration(
            f"the {kind} file does not hold one",
            field=setting,
            value=path,
            limit="one line of text, as Vault gave it",
            next_action="write it anew as docs/runbooks/keys.md says, section Vault",
        )
    remember(secret.decode())
    return SecretStr(secret.decode())
