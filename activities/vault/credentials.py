"""How this process shows Vault who it is: the two parts of an AppRole, each in a private file."""

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from pydantic import SecretStr

from domain.errors import InvalidConfiguration

_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
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
        return _read(self.role_id_file, ROLE_ID_SETTING)

    def secret_id(self) -> SecretStr:
        """Read the secret id. Raises `InvalidConfiguration`."""
        return _read(self.secret_id_file, SECRET_ID_SETTING)


def _read(path: Path, setting: str) -> SecretStr:
    """Read one line from a file that only its owner can, checked on the very file that is read."""
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            content = b"" if mode & _OTHERS else file.read()
    except OSError as error:
        raise _unusable(path, setting, error.strerror or "it cannot be read") from None
    if mode & _OTHERS:
        raise _unusable(
            path, setting, f"it is open to others, mode {stat.S_IMODE(mode):04o}; chmod 600 it"
        )
    line = content.strip()
    if not line or not line.isascii():
        raise _unusable(path, setting, "it is empty or not text")
    return SecretStr(line.decode())


def _unusable(path: Path, setting: str, why: str) -> InvalidConfiguration:
    return InvalidConfiguration(
        f"{path.name} cannot be used to log in to Vault: {why}",
        field=setting,
        value=path,
        limit="a file of mode 0600 with one line",
        next_action="write it anew as docs/runbooks/keys.md says, section Vault",
    )
