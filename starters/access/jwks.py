"""The keys of the identity provider: fetched by HTTPS, kept for a while, fetched anew in good time.

A token under a key that is not known may be the first one after a rotation, so that is asked for at
once, but not more often than `_PAUSE_SECONDS`: anybody can make up key ids. A key that the provider
has taken back counts until the kept ones are too old, and no longer.
"""

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any, Final

import jwt
import requests
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from domain.errors import Unavailable

_PAUSE_SECONDS: Final = 10.0
_FETCH_SECONDS: Final = 5.0
_MOST_BYTES: Final = 512 * 1024
_SMALLEST_RSA_BITS: Final = 2048
ALGORITHMS: Final = ("RS256", "ES256", "EdDSA")
"""Signatures by a public key. Without one, or by a shared secret, anybody could have made it."""

Fetch = Callable[[str], dict[str, Any]]


class KeySet:
    """The provider's keys by their ids."""

    def __init__(
        self,
        url: str,
        cache_seconds: float,
        fetch: Fetch | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Fetch from this address when they are first needed."""
        self._url = url
        self._cache_seconds = cache_seconds
        self._fetch = fetch or fetch_json
        self._clock = clock
        self._keys: dict[str, jwt.PyJWK] = {}
        self._fetched_at: float | None = None
        self._asked_at: float | None = None
        self._turn = asyncio.Lock()

    async def find(self, key_id: str) -> jwt.PyJWK | None:
        """Return a key; None if the provider has none of this id. Raises `Unavailable`."""
        if not self._fresh or key_id not in self._keys:
            async with self._turn:
                if (not self._fresh or key_id not in self._keys) and self._may_ask:
                    await self._refresh()
        if not self._fresh:
            raise self._unavailable("asked a moment ago")
        return self._keys.get(key_id)

    @property
    def _fresh(self) -> bool:
        return (
            self._fetched_at is not None and self._clock() - self._fetched_at < self._cache_seconds
        )

    @property
    def _may_ask(self) -> bool:
        return self._asked_at is None or self._clock() - self._asked_at >= _PAUSE_SECONDS

    async def _refresh(self) -> None:
        self._asked_at = self._clock()
        try:
            document = await asyncio.to_thread(self._fetch, self._url)
            keys = usable_keys(document)
        except (requests.RequestException, ValueError) as error:
            if self._fresh:
                return  # the ones that are kept still count
            raise self._unavailable(str(error)) from error
        self._keys = keys
        self._fetched_at = self._clock()

    def _unavailable(self, actual: str) -> Unavailable:
        return Unavailable(
            "the identity provider's keys cannot be read now",
            field="DEAL_OIDC_JWKS_URL",
            actual=actual,
            next_action="check that the identity provider answers, and try again",
        )


def fetch_json(url: str) -> dict[str, Any]:
    """Read a JSON object; raises `requests.RequestException` or `ValueError`. Follows nobody."""
    with requests.get(
        url,
        timeout=_FETCH_SECONDS,
        allow_redirects=False,
        stream=True,
        headers={"Accept": "application/json"},
    ) as response:
        if response.status_code != requests.codes.ok:
            msg = f"HTTP {response.status_code}"
            raise ValueError(msg)
        body = response.raw.read(_MOST_BYTES + 1, decode_content=True)
    if len(body) > _MOST_BYTES:
        msg = f"more than {_MOST_BYTES} bytes"
        raise ValueError(msg)
    document = json.loads(body)
    if not isinstance(document, dict):
        msg = "no JSON object"
        raise ValueError(msg)  # noqa: TRY004 - what came is wrong, not its type here
    return document


def usable_keys(document: dict[str, Any]) -> dict[str, jwt.PyJWK]:
    """The keys that may sign tokens. Others, there for something else, are left out."""
    listed = document.get("keys")
    if not isinstance(listed, list):
        msg = "no list of keys"
        raise ValueError(msg)  # noqa: TRY004 - as above
    found = {}
    for entry in listed:
        key = _usable(entry)
        if key is not None:
            found[str(key.key_id)] = key
    return found


def _usable(entry: object) -> jwt.PyJWK | None:
    if not isinstance(entry, dict) or entry.get("use", "sig") != "sig" or not entry.get("kid"):
        return None
    try:
        key = jwt.PyJWK.from_dict(entry)
    except jwt.PyJWTError:
        return None
    if key.algorithm_name not in ALGORITHMS:
        return None
    if isinstance(key.key, RSAPublicKey) and key.key.key_size < _SMALLEST_RSA_BITS:
        return None
    return key
