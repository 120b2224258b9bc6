"""The owners of the local chains' Safe: each with a keystore file and a passphrase of his own.

Their keys are those of a mnemonic that everybody knows: they are worth nothing anywhere else.
"""

from __future__ import annotations

import json
import os
import secrets
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

COUNT: Final = 3

_MNEMONIC: Final = "test test test test test test test test test test test junk"
_FIRST: Final = 7
_WORK: Final = 2**14
"""Of scrypt: a little, because the keys are public anyway."""


def key_file(stack: Path, number: int) -> Path:
    """Return where the keystore of an owner is, counted from 1 (Web3 Secret Storage)."""
    return stack / "owners" / f"owner-{number}.json"


def passphrase_file(stack: Path, number: int) -> Path:
    """Return where the passphrase of that keystore is."""
    return stack / "owners" / f"owner-{number}.passphrase"


def ensure_owners(stack: Path) -> None:
    """Write the files of every owner who has none."""
    for number in range(1, COUNT + 1):
        files = key_file(stack, number), passphrase_file(stack, number)
        if not all(file.exists() for file in files):
            _write_owner(stack, number)


def _write_owner(stack: Path, number: int) -> None:
    # Imported here because it takes a second, which a stack that has its owners can do without.
    from eth_account import Account  # noqa: PLC0415

    key_file(stack, number).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    Account.enable_unaudited_hdwallet_features()
    path = f"m/44'/60'/0'/0/{_FIRST + number - 1}"
    account = Account.from_mnemonic(_MNEMONIC, account_path=path)
    passphrase = secrets.token_urlsafe(32)
    sealed = Account.encrypt(account.key, passphrase, kdf="scrypt", iterations=_WORK)
    _write(passphrase_file(stack, number), passphrase)
    _write(key_file(stack, number), json.dumps(sealed, indent=2))


def _write(file: Path, text: str) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    with os.fdopen(os.open(file, flags, 0o600), "w") as opened:
        opened.write(text)
