"""An owner's own key file (Web3 Secret Storage), opened for one signature."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from eth_typing import Hash32

from domain.errors import InvalidInput
from domain.identifiers import Address
from domain.safe import OwnerSignature

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount


class KeyFile:
    """A key that signs hashes which were computed here, and shows itself to nobody."""

    def __init__(self, account: "LocalAccount") -> None:
        """Take the opened key."""
        self._account = account
        self.owner = Address(account.address)

    def __repr__(self) -> str:
        """Name the owner, never the key."""
        return f"KeyFile({self.owner})"

    def sign(self, digest: str) -> OwnerSignature:
        """Sign a hash, 0x-hexadecimal."""
        signed = self._account.unsafe_sign_hash(Hash32(bytes.fromhex(digest[2:])))
        return OwnerSignature(owner=self.owner, signature="0x" + bytes(signed.signature).hex())


def open_key_file(file: Path, passphrase_file: Path | None) -> KeyFile:
    """Open the file; the passphrase is asked for on the terminal if there is no file of it.

    Raises `InvalidInput` if the file is none, or the passphrase is wrong.
    """
    from eth_account import Account  # noqa: PLC0415 - half a second, after everything was shown

    keystore = _read(file)
    passphrase = _passphrase(passphrase_file, file)
    try:
        key = Account.decrypt(keystore, passphrase)
        return KeyFile(Account.from_key(key))
    except (ValueError, KeyError, TypeError, NotImplementedError):
        # Not chained: what such an error says may be of the key.
        raise InvalidInput(
            "the key file cannot be opened",
            field="key_file",
            value=file,
            limit="a keystore (Web3 Secret Storage) and its own passphrase",
            next_action="check the passphrase, and that it is the right file",
        ) from None


def _read(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        found, reason = None, str(error)
    else:
        reason = f"a {type(found).__name__}"
    if not isinstance(found, dict):
        raise InvalidInput(
            "the key file cannot be read",
            field="key_file",
            value=file,
            limit="a keystore (Web3 Secret Storage) as JSON",
            actual=reason,
            next_action="give your own key file",
        )
    return found


def _passphrase(file: Path | None, key_file: Path) -> str:
    if file is not None:
        try:
            return file.read_text(encoding="utf-8").strip("\r\n")
        except (OSError, ValueError) as error:
            raise InvalidInput(
                "the passphrase file cannot be read",
                field="passphrase_file",
                value=file,
                actual=type(error).__name__,
                next_action="give the file that holds the passphrase, or leave it out",
            ) from None
    if not sys.stdin.isatty():
        raise InvalidInput(
            "there is no terminal to ask for the passphrase",
            field="passphrase_file",
            limit="--passphrase-file where no terminal is",
            next_action="add --passphrase-file",
        )
    return str(typer.prompt(f"Passphrase of {key_file}", hide_input=True, err=True))
