"""Tokens of the identity provider: whom they name, if all of it holds."""

from dataclasses import dataclass
from typing import Any, Final

import jwt

from starters.access.jwks import ALGORITHMS, KeySet
from starters.access.refusal import Refused

_LONGEST: Final = 16 * 1024
_NEEDED: Final = ("iss", "aud", "exp", "iat", "sub")


@dataclass(frozen=True)
class Token:
    """What a token says that counts; roles and banks are not among it."""

    subject: str
    token_id: str


class TokenVerifier:
    """Checks tokens of one issuer for one audience."""

    def __init__(self, issuer: str, audience: str, keys: KeySet, leeway_seconds: float) -> None:
        """Take whose tokens count, whom they must be for, and by how much clocks may differ."""
        self._issuer = issuer
        self._audience = audience
        self._keys = keys
        self._leeway = leeway_seconds

    async def verify(self, text: str) -> Token:
        """Return whom the token names. Raises `Refused`, and `Unavailable` without the keys."""
        if len(text) > _LONGEST:
            raise Refused("longer than any token")
        key = await self._key(text)
        try:
            claims = jwt.decode(
                text,
                key,
                algorithms=[key.algorithm_name],
                issuer=self._issuer,
                audience=self._audience,
                leeway=self._leeway,
                options={"require": list(_NEEDED), "strict_aud": False},
            )
        except jwt.PyJWTError as error:
            raise Refused(f"{type(error).__name__}: {error}") from error
        return _token(claims)

    async def _key(self, text: str) -> jwt.PyJWK:
        try:
            header = jwt.get_unverified_header(text)
        except jwt.PyJWTError as error:
            raise Refused(f"{type(error).__name__}: {error}") from error
        algorithm, key_id = header.get("alg"), header.get("kid")
        if algorithm not in ALGORITHMS:
            raise Refused(f"algorithm {algorithm}")
        if "crit" in header:
            raise Refused("an extension that must be understood, and is not")
        if not isinstance(key_id, str):
            raise Refused("no key id")
        key = await self._keys.find(key_id)
        if key is None:
            raise Refused(f"key {key_id} is not the identity provider's")
        if key.algorithm_name != algorithm:
            raise Refused(f"key {key_id} is for {key.algorithm_name}, not {algorithm}")
        return key


def _token(claims: dict[str, Any]) -> Token:
    subject = claims["sub"]
    if not isinstance(subject, str) or not subject:
        raise Refused("no subject")
    return Token(subject, str(claims.get("jti") or claims["iat"]))
