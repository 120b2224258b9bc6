"""The keys of the payload codec: the newest one encrypts, every known one decrypts.

Processes notice a new key without a restart: they look again every minute, and at once when they
meet a payload under a key that they do not know.
"""

import base64
import fcntl
import json
import os
import secrets
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import Any, Final, Protocol

import structlog
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pydantic import SecretBytes

from domain.errors import DealError, InvalidConfiguration

KEY_BYTES: Final = 32
RELOAD_SECONDS: Final = 60.0
_ASK_AGAIN_SECONDS: Final = 1.0
"""For a key that nobody has, however many payloads name it."""
_REMEMBERED_MISSES: Final = 100
_VERSION: Final = 1
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
_FIELD: Final = "DEAL_CODEC_KEYS_FILE"

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class CodecKey:
    """One key, under the id that payloads name it by."""

    key_id: str
    secret: SecretBytes
    created_at: datetime

    @classmethod
    def generate(cls, key_id: str | None = None) -> "CodecKey":
        """Make a new one; its id, by default the day and a number, is no part of the key."""
        now = datetime.now(UTC)
        key_id = key_id or f"{now:%Y%m%d}-{secrets.token_hex(4)}"
        return cls(key_id, SecretBytes(secrets.token_bytes(KEY_BYTES)), now)

    def document(self) -> dict[str, str]:
        """As it is kept: the one place where the key is written out."""
        return {
            "id": self.key_id,
            "key": base64.b64encode(self.secret.get_secret_value()).decode(),
            "created_at": self.created_at.isoformat(),
        }

    @classmethod
    def parse(cls, document: Any) -> "CodecKey":  # noqa: ANN401 - JSON of any shape
        """Read what `document` made; raise `ValueError` for anything else."""
        try:
            secret = base64.b64decode(document["key"], validate=True)
            key_id, created_at = document["id"], datetime.fromisoformat(document["created_at"])
        except (KeyError, TypeError, ValueError):
            # Not chained: the cause's frames hold the key.
            raise ValueError("a codec key that is not whole") from None
        if len(secret) != KEY_BYTES or not isinstance(key_id, str) or not key_id:
            raise ValueError("a codec key that is not whole")
        return cls(key_id, SecretBytes(secret), created_at)


def keys_document(keys: Sequence[CodecKey]) -> dict[str, Any]:
    """Keys as they are kept, oldest first."""
    return {"version": _VERSION, "keys": [key.document() for key in keys]}


def parse_keys(document: Any) -> tuple[CodecKey, ...]:  # noqa: ANN401 - JSON of any shape
    """Read what `keys_document` made; raise `ValueError` for anything else."""
    try:
        if document["version"] == _VERSION:
            return tuple(CodecKey.parse(key) for key in document["keys"])
    except (KeyError, TypeError):
        pass
    raise ValueError("not the keys of a codec")


class KeySource(Protocol):
    """Where the keys are kept."""

    async def read(self) -> tuple[CodecKey, ...]:
        """Return the keys, oldest first; raise `InvalidConfiguration` or `Unavailable`."""
        ...

    async def add(self, key: CodecKey) -> None:
        """Keep a new key beside the old ones, which are never removed; raises as `read`."""
        ...


class KeyRing:
    """The keys as one process has them."""

    def __init__(self, source: KeySource, clock: Callable[[], float] = monotonic) -> None:
        """Take the source; nothing is read yet."""
        self._source = source
        self._clock = clock
        self._ciphers: dict[str, AESGCM] = {}
        self._newest = ""
        self._read_at = float("-inf")
        self._missed: dict[str, float] = {}

    async def load(self) -> None:
        """Read the keys. Raises `InvalidConfiguration` (also if there are none), `Unavailable`."""
        keys = await self._source.read()
        if not keys:
            raise InvalidConfiguration(
                "the payload codec has no key",
                field="DEAL_CODEC_KEYS",
                limit="at least one key",
                next_action="make the first one with `deal codec rotate`",
            )
        self._ciphers = {key.key_id: AESGCM(key.secret.get_secret_value()) for key in keys}
        self._newest = keys[-1].key_id
        self._read_at = self._clock()

    async def newest(self) -> tuple[str, AESGCM]:
        """Return the key that encrypts, and its id. Raises as `load` if there never was one."""
        if not self._ciphers:
            await self.load()
        elif self._clock() - self._read_at > RELOAD_SECONDS:
            await self._reload()
        return self._newest, self._ciphers[self._newest]

    async def find(self, key_id: str) -> AESGCM:
        """Return the key of a payload; raise `InvalidConfiguration` if it is in no key ring."""
        if key_id not in self._ciphers and self._may_ask_for(key_id):
            await self._reload()
        if key_id not in self._ciphers:
            raise InvalidConfiguration(
                f"a payload was encrypted with codec key {key_id}, which is not in the key ring",
                field="encryption-key-id",
                value=key_id,
                limit=", ".join(self._ciphers) or "no key is known",
                next_action="restore that key (docs/runbooks/secrets.md), or connect to the "
                "Temporal that this key ring belongs to",
            )
        return self._ciphers[key_id]

    def _may_ask_for(self, key_id: str) -> bool:
        now, before = self._clock(), self._missed.get(key_id, float("-inf"))
        if now - before < _ASK_AGAIN_SECONDS:
            return False
        if len(self._missed) >= _REMEMBERED_MISSES:
            self._missed.clear()
        self._missed[key_id] = now
        return True

    async def _reload(self) -> None:
        """Read the keys anew; while that is not possible the known ones stand."""
        try:
            await self.load()
        except DealError as error:
            self._read_at = self._clock()
            _log.warning("codec keys not read", **error.problem.model_dump(exclude_none=True))


class FileKeySource:
    """Keys in a file that only its owner can read."""

    def __init__(self, path: Path) -> None:
        """Name the file; it need not exist before the first key is added."""
        self._path = path

    async def read(self) -> tuple[CodecKey, ...]:
        """Return the keys, oldest first; raise `InvalidConfiguration`."""
        return self._read()

    async def add(self, key: CodecKey) -> None:
        """Add a key: a reader, or a crash, sees the file as it was or with the key."""
        with self._alone():
            keys = (*(self._read() if self._path.exists() else ()), key)
            self._write(keys)

    def _read(self) -> tuple[CodecKey, ...]:
        try:
            with self._path.open("rb") as file:
                mode = os.fstat(file.fileno()).st_mode
                content = b"" if mode & _OTHERS else file.read()
        except OSError as error:
            raise self._unusable(
                f"it cannot be read: {error.strerror}", "a readable file"
            ) from None
        if mode & _OTHERS:
            raise self._unusable(f"mode {stat.S_IMODE(mode):04o}", "mode 0600 or 0400")
        try:
            return parse_keys(json.loads(content))
        except ValueError:
            raise self._unusable("other contents", "keys as this system writes them") from None

    def _write(self, keys: tuple[CodecKey, ...]) -> None:
        content = keys_document(keys)
        draft = self._path.with_name(f".{self._path.name}.{secrets.token_hex(8)}")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        try:
            with os.fdopen(os.open(draft, flags, stat.S_IRUSR | stat.S_IWUSR), "w") as file:
                json.dump(content, file, indent=2)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self._path)
        finally:
            draft.unlink(missing_ok=True)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Be the only one who adds: two rotations at once keep both keys."""
        lock = self._path.with_name(f".{self._path.name}.lock")
        try:
            descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, stat.S_IRUSR | stat.S_IWUSR)
        except OSError as error:
            raise self._unusable(f"no lock: {error.strerror}", "a folder to write to") from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _unusable(self, actual: str, limit: str) -> InvalidConfiguration:
        return InvalidConfiguration(
            "the file of the codec's keys cannot be used",
            field=_FIELD,
            value=self._path,
            limit=limit,
            actual=actual,
            next_action="correct the path or the mode, or restore the file from its backup",
        )
