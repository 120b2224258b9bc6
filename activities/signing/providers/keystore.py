"""The encrypted keystore file: 32 bytes of entropy under a passphrase, as Web3 Secret Storage v3.

Source of the format: the Ethereum "Web3 Secret Storage Definition", with scrypt as key derivation.
"""

import json
import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from eth_keyfile.keyfile import create_keyfile_json, decode_keyfile_json
from pydantic import SecretBytes

from domain.errors import InvalidConfiguration

_ENTROPY_BYTES: Final = 32
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
_KEYSTORE: Final = "keystore_file"
_PASSPHRASE: Final = "keystore_passphrase_file"  # noqa: S105 - the name of a setting


def read_passphrase(path: Path) -> SecretBytes:
    """Read a passphrase file, without the line end.

    Raises `InvalidConfiguration` if it is missing, empty, or open to anybody but its owner.
    """
    passphrase = _read_private(path, _PASSPHRASE).rstrip(b"\r\n")
    if not passphrase:
        raise InvalidConfiguration(
            "the passphrase file is empty",
            field=_PASSPHRASE,
            value=path,
            limit="one line of text",
            next_action="write the passphrase into it",
        )
    return SecretBytes(passphrase)


def create_keystore(path: Path, passphrase: SecretBytes) -> None:
    """Make new entropy and write it encrypted: readable by the owner only, whole or not at all.

    Raises `InvalidConfiguration` if the file exists or cannot be written.
    """
    # The bound of the format is the curve's order; missing it by chance takes 2^128 attempts.
    content = create_keyfile_json(
        secrets.token_bytes(_ENTROPY_BYTES), passphrase.get_secret_value(), kdf="scrypt"
    )
    # The format's address would be that of the entropy taken as a key, which nobody uses.
    del content["address"]
    try:
        _write_new(path, json.dumps(content, indent=2).encode() + b"\n")
    except FileExistsError:
        raise InvalidConfiguration(
            "there is a keystore already",
            field=_KEYSTORE,
            value=path,
            limit="a new file",
            next_action="use it, or choose another path; a keystore is never overwritten",
        ) from None
    except OSError as error:
        raise _unusable(path, _KEYSTORE, error) from None


def ensure_keystore(path: Path, passphrase: SecretBytes) -> None:
    """Create the keystore unless there is one. Raises `InvalidConfiguration`."""
    if not path.exists():
        create_keystore(path, passphrase)


def read_keystore(path: Path, passphrase: SecretBytes) -> SecretBytes:
    """Decrypt the entropy; takes about a second, by design of scrypt.

    Raises `InvalidConfiguration` for a missing, foreign or damaged file, one that is open to
    others, and a wrong passphrase.
    """
    content = _parse(path, _read_private(path, _KEYSTORE))
    try:
        entropy = decode_keyfile_json(content, passphrase.get_secret_value())
    except (ValueError, KeyError, TypeError, AttributeError):
        # Not chained: the cause's frames hold the passphrase and the key derived from it.
        raise InvalidConfiguration(
            "the keystore cannot be decrypted",
            field=_PASSPHRASE,
            value=path,
            limit="the passphrase it was created with, and an undamaged file",
            next_action="give the right passphrase file, or restore the keystore from its backup",
        ) from None
    if len(entropy) != _ENTROPY_BYTES:
        raise _foreign(path)
    return SecretBytes(entropy)


def _parse(path: Path, raw: bytes) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(raw)
        if (content["version"], content["crypto"]["kdf"]) == (3, "scrypt"):
            return content
    except (ValueError, KeyError, TypeError):
        pass
    raise _foreign(path)


def _read_private(path: Path, field: str) -> bytes:
    """Read a file that only its owner can, checked on the very file that is read."""
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            content = b"" if mode & _OTHERS else file.read()
    except OSError as error:
        raise _unusable(path, field, error) from None
    if mode & _OTHERS:
        raise InvalidConfiguration(
            f"{path.name} is open to others than its owner",
            field=field,
            value=path,
            limit="mode 0600 or 0400",
            actual=f"mode {stat.S_IMODE(mode):04o}",
            next_action=f"chmod 600 {path}, and think about who may have read it",
        )
    return content


def _write_new(path: Path, content: bytes) -> None:
    """Write under another name, then link: the path is whole or absent, and never replaced."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, stat.S_IRUSR | stat.S_IWUSR)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, path)
    finally:
        with suppress(FileNotFoundError):
            draft.unlink()
    _sync_directory(path.parent)


def _sync_directory(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unusable(path: Path, field: str, error: OSError) -> InvalidConfiguration:
    return InvalidConfiguration(
        f"{path.name} cannot be used: {error.strerror}",
        field=field,
        value=path,
        limit="a file in a folder that this process may use",
        next_action="correct the path, or create the keystore with `python -m workers.signer init`",
    )


def _foreign(path: Path) -> InvalidConfiguration:
    return InvalidConfiguration(
        f"{path.name} is not a keystore of this system",
        field=_KEYSTORE,
        value=path,
        limit="a version 3 keystore with scrypt, 32 bytes inside",
        next_action="give the right file, or restore the keystore from its backup",
    )
