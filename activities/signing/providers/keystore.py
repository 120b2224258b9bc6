"""The encrypted keystore file: seeds under a wrapping key, which is under a passphrase.

The wrapping key is kept in the form of the Ethereum "Web3 Secret Storage Definition" (version 3)
with scrypt, each seed's 32 bytes of entropy beside it by AES-256-GCM (NIST SP 800-38D). A bare
version 3 file, as they were before seeds were rotated, is read as one with a single seed.
"""

import fcntl
import json
import os
import secrets
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from Crypto.Cipher import AES
from eth_keyfile.keyfile import create_keyfile_json, decode_keyfile_json
from pydantic import SecretBytes

from activities.signing.providers.guarded import Guarded
from activities.signing.providers.secret_files import (
    read_private,
    read_secret_line,
    unusable,
)
from activities.signing.providers.seeds import ENTROPY_BYTES
from domain.errors import InvalidConfiguration

_KIND: Final = "deal-orchestrator keystore"
_VERSION: Final = 1
_WRAPPING_BYTES: Final = 32
_NONCE_BYTES: Final = 12
_TAG_BYTES: Final = 16
_KEYSTORE: Final = "keystore_file"
_PASSPHRASE: Final = "keystore_passphrase_file"  # noqa: S105 - the name of a setting


def read_passphrase(path: Path) -> SecretBytes:
    """Read a passphrase file, without the line end.

    Raises `InvalidConfiguration` if it is missing, empty, or open to anybody but its owner.
    """
    return read_secret_line(path, _PASSPHRASE, "passphrase")


class Keystore:
    """A keystore file and the passphrase that opens it.

    Every method but `exists` takes about a second, by design of scrypt, and raises
    `InvalidConfiguration` for a missing, foreign or damaged file, one that is open to others, and a
    wrong passphrase.
    """

    __slots__ = ("_passphrase", "path")

    def __init__(self, path: Path, passphrase: SecretBytes) -> None:
        """Name the file; nothing is read yet."""
        self.path = path
        self._passphrase = Guarded(passphrase)

    def __repr__(self) -> str:
        """The file only."""
        return f"{type(self).__name__}({self.path})"

    def create(self) -> None:
        """Make a first seed and write it: readable by the owner only, whole or not at all.

        Raises `InvalidConfiguration` if the file exists or cannot be written.
        """
        try:
            _write(self.path, self._sealed([_new_entropy()]), replace=False)
        except FileExistsError:
            raise InvalidConfiguration(
                "there is a keystore already",
                field=_KEYSTORE,
                value=self.path,
                limit="a new file",
                next_action="use it, or choose another path; no keystore is made in place of one",
            ) from None
        except OSError as error:
            raise unusable(self.path, _KEYSTORE, error) from None

    def ensure(self) -> None:
        """Create the file unless there is one."""
        if not self.path.exists():
            self.create()

    def read(self) -> tuple[SecretBytes, ...]:
        """Decrypt the entropy of every generation, the first one first."""
        content = _parse(self.path, read_private(self.path, _KEYSTORE))
        if _is_bare(content):
            entropies = [self._decode(content)]
        else:
            wrapping = self._decode(content["wrapping"])
            entropies = [self._unwrap(wrapping, number, seed) for number, seed in _seeds(content)]
        if not entropies or any(len(entropy) != ENTROPY_BYTES for entropy in entropies):
            raise _foreign(self.path)
        return tuple(SecretBytes(entropy) for entropy in entropies)

    def add_seed(self) -> tuple[SecretBytes, ...]:
        """Add a seed to the others, under a new wrapping key, and return them all."""
        return self._rewrite([SecretBytes(_new_entropy())])

    def rewrap(self) -> None:
        """Encrypt the seeds under a new wrapping key, and that with a new salt."""
        self._rewrite([])

    def _rewrite(self, more: Sequence[SecretBytes]) -> tuple[SecretBytes, ...]:
        try:
            with _alone(self.path):
                entropies = (*self.read(), *more)
                sealed = self._sealed([entropy.get_secret_value() for entropy in entropies])
                _write(self.path, sealed, replace=True)
        except OSError as error:
            raise unusable(self.path, _KEYSTORE, error) from None
        return entropies

    def _sealed(self, entropies: Sequence[bytes]) -> bytes:
        # The bound of the format is the curve's order; missing it by chance takes 2^128 attempts.
        wrapping = secrets.token_bytes(_WRAPPING_BYTES)
        with self._passphrase.lent() as passphrase:
            keyfile = create_keyfile_json(wrapping, passphrase.get_secret_value(), kdf="scrypt")
        # The format's address would be that of the wrapping key taken as one of an account.
        del keyfile["address"]
        content = {
            "kind": _KIND,
            "version": _VERSION,
            "wrapping": keyfile,
            "seeds": [_wrap(wrapping, number, each) for number, each in enumerate(entropies, 1)],
        }
        return json.dumps(content, indent=2).encode() + b"\n"

    def _decode(self, keyfile: Any) -> bytes:  # noqa: ANN401 - whatever the file holds
        try:
            with self._passphrase.lent() as passphrase:
                return decode_keyfile_json(keyfile, passphrase.get_secret_value())
        except (ValueError, KeyError, TypeError, AttributeError):
            # Not chained: the cause's frames hold the passphrase and the key derived from it.
            raise _undecryptable(self.path) from None

    def _unwrap(self, wrapping: bytes, number: int, seed: str) -> bytes:
        try:
            raw = bytes.fromhex(seed)
            nonce, sealed = raw[:_NONCE_BYTES], raw[_NONCE_BYTES:]
            cipher = _cipher(wrapping, number, nonce)
            return bytes(cipher.decrypt_and_verify(sealed[:-_TAG_BYTES], sealed[-_TAG_BYTES:]))
        except (ValueError, TypeError):
            raise _undecryptable(self.path) from None


def _new_entropy() -> bytes:
    return secrets.token_bytes(ENTROPY_BYTES)


def _wrap(wrapping: bytes, number: int, entropy: bytes) -> str:
    nonce = secrets.token_bytes(_NONCE_BYTES)
    sealed, tag = _cipher(wrapping, number, nonce).encrypt_and_digest(entropy)
    return bytes(nonce + sealed + tag).hex()


def _cipher(wrapping: bytes, number: int, nonce: bytes) -> Any:  # noqa: ANN401 - untyped library
    """Bound to the seed's number, so that seeds cannot be exchanged for one another."""
    cipher = AES.new(wrapping, AES.MODE_GCM, nonce=nonce, mac_len=_TAG_BYTES)
    cipher.update(f"{_KIND}, seed {number}".encode())
    return cipher


def _parse(path: Path, raw: bytes) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(raw)
        if _is_bare(content) or (content["kind"], content["version"]) == (_KIND, _VERSION):
            return content
    except (ValueError, KeyError, TypeError, AttributeError):
        pass
    raise _foreign(path)


def _is_bare(content: dict[str, Any]) -> bool:
    return (content["version"], content.get("crypto", {}).get("kdf")) == (3, "scrypt")


def _seeds(content: dict[str, Any]) -> list[tuple[int, str]]:
    seeds = content.get("seeds")
    return list(enumerate(seeds, 1)) if isinstance(seeds, list) else []


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Keep other processes from rewriting the file meanwhile."""
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _write(path: Path, content: bytes, *, replace: bool) -> None:
    """Write under another name, then put it there: the path is whole, whatever happens."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, stat.S_IRUSR | stat.S_IWUSR)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if replace:
            draft.replace(path)
        else:
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


def _undecryptable(path: Path) -> InvalidConfiguration:
    return InvalidConfiguration(
        "the keystore cannot be decrypted",
        field=_PASSPHRASE,
        value=path,
        limit="the passphrase it was created with, and an undamaged file",
        next_action="give the right passphrase, or restore the keystore from its backup",
    )


def _foreign(path: Path) -> InvalidConfiguration:
    return InvalidConfiguration(
        f"{path.name} is not a keystore of this system",
        field=_KEYSTORE,
        value=path,
        limit="a keystore with seeds of 32 bytes, or a version 3 keystore with scrypt",
        next_action="give the right file, or restore the keystore from its backup",
    )
