"""API keys: ``dk_<id>_<secret>``, of which only a hash is ever stored.

The secret is 256 bits drawn by lot, so that a plain SHA-256 is enough: a slow hash protects what
people could have thought of, and nobody thinks of this. The id says which key it is, in records
and logs, and opens nothing.
"""

import hmac
import re
import secrets
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, Self

_FORM: Final = re.compile(r"dk_([a-z0-9]{12})_[A-Za-z0-9_-]{43}")
_LETTERS: Final = "abcdefghijklmnopqrstuvwxyz0123456789"
_ID_LENGTH: Final = 12
_SECRET_BYTES: Final = 32


@dataclass(frozen=True)
class ApiKey:
    """A whole key, as its owner has it; `repr` shows its id only."""

    key_id: str
    text: str

    def __repr__(self) -> str:
        """Without the secret."""
        return f"ApiKey({self.key_id})"

    @classmethod
    def generate(cls) -> Self:
        """Draw a new one."""
        key_id = "".join(secrets.choice(_LETTERS) for _ in range(_ID_LENGTH))
        return cls(key_id, f"dk_{key_id}_{secrets.token_urlsafe(_SECRET_BYTES)}")

    @classmethod
    def parse(cls, credential: str) -> Self | None:
        """Read a credential; None if it is no API key."""
        match = _FORM.fullmatch(credential)
        return None if match is None else cls(match[1], credential)

    @property
    def hash(self) -> str:
        """What is stored: SHA-256 over the whole key, hexadecimal."""
        return sha256(self.text.encode()).hexdigest()

    def has_hash(self, stored: str) -> bool:
        """Whether the stored hash is this key's, in the same time wherever they differ."""
        return hmac.compare_digest(self.hash, stored)
