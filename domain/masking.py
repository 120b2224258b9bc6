"""Secrets in text: found by what they are or by where they stand, and replaced.

Two ways, because neither is enough. *Known* secrets are values that this process was given (the
password of its database, a provider's key in an endpoint's address): they are found wherever they
turn up. *Shapes* are what nobody has told us of: passwords in addresses, bearer tokens, private
keys by the words before them.

Sixty-four hexadecimal digits alone are no secret: transactions, blocks and digests look the same,
and people need them. They are masked only after a word that says what they are.
"""

import re
from collections.abc import Callable
from re import Match
from typing import Final
from urllib.parse import unquote, urlsplit

MASK: Final = "***"
_SHORTEST_KNOWN: Final = 8
"""Shorter values would be found in ordinary words and amounts."""
_SHORTEST_SEGMENT: Final = 16
"""Of an endpoint's path; providers' keys are longer, and words like ``mainnet`` shorter."""
_WEB: Final = frozenset({"http", "https", "ws", "wss"})
_PLACEHOLDER: Final = "password"
"""What our own examples of an address have in its place."""

_NAMES: Final = (
    r"(?:pass(?:word|wd|phrase)|secret|credential|mnemonic"
    r"|(?:api|access|private|secret|signing)[_-]?key"
    r"|(?:access|api|auth|bearer|client|id|refresh|session|vault)[_-]?token|secret[_-]id)"
)
_NAMED: Final = re.compile(
    rf"(?i)(?<![a-z])({_NAMES}s?(?:\\?[\"'])?\s{{0,3}}[=:]\s{{0,3}})"
    r"(?P<quote>\\?[\"'])?(?P<value>(?(quote)[^\"'\\\n]+|[^\s,;&)\]}\"'\\]+))"
)
_QUERY: Final = re.compile(
    r"(?i)([?&](?:[a-z0-9_.-]*(?:key|token|secret|auth|password|signature|sig))=)([^&#\s\"'<>\\]+)"
)
_USERINFO: Final = re.compile(
    r"(?P<scheme>\b[a-zA-Z][a-zA-Z0-9+.-]{1,30})://(?P<user>[^\s:/@?#\"'<>\\]*)"
    r"(?::(?!\d{1,5}(?:[/?#\s\"'<>\\,;)]|$))(?P<password>[^\s\"'<>\\]*))?@"
)
_WEB_ADDRESS: Final = re.compile(r"\b(?:https?|wss?)://[^\s\"'<>\\]+")
_OPAQUE: Final = re.compile(r"(?<=/)(?!0x)[A-Za-z0-9_-]{16,}(?=[/?#]|$)")
_BEARER: Final = re.compile(r"(?i)\b(bearer\s+)[A-Za-z0-9._~+/=-]{12,}")
_AUTHORIZATION: Final = re.compile(
    r"(?i)\b(authorization(?:\\?[\"'])?\s?[=:]\s?(?:\\?[\"'])?(?:basic|bearer|token)\s+)"
    r"[^\s,;\"'\\]+"
)
_TOKENS: Final = re.compile(
    r"\bhv[sbr]\.[A-Za-z0-9_-]{20,}"
    r"|(?<![\w.])s\.[A-Za-z0-9]{24}\b"
    r"|\beyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*"
    r"|\bdk_[a-z0-9]{12}_[A-Za-z0-9_-]{43}"
    r"|\b[xyzt]prv[1-9A-HJ-NP-Za-km-z]{100,112}"
)
_PEM: Final = re.compile(
    r"-----BEGIN ([A-Z ]{0,20}PRIVATE KEY)-----[A-Za-z0-9+/=\s:,\\-]*?-----END \1-----"
)
_HEX_KEY: Final = re.compile(
    r"(?i)((?:\b|_)(?:(?:private|secret|signing|master|wrapping|encryption)[ _-]?key|priv[_-]?key|"
    r"seed|entropy|passphrase|secret)s?(?:\s(?:is|was|of))?[^0-9a-z\n]{1,12}(?:b?['\"])?(?:0x)?)"
    r"[0-9a-f]{32,128}(?![0-9a-f])"
)

_known: dict[str, None] = {}
"""What this process must not show, the longest first."""


def mask(text: str) -> str:
    """Return the text with every secret in it replaced by ``***``; masking twice changes nothing.

    Transaction hashes, addresses, digests and calldata stay as they are.
    """
    for secret in _known:
        text = text.replace(secret, MASK)
    for pattern, replacement in _SHAPES:
        text = pattern.sub(replacement, text)
    return text


def remember(secret: str) -> None:
    """Mask this value from now on, in everything; values of less than 8 characters are not kept."""
    spellings = {secret, unquote(secret)}
    for spelling in spellings:
        if len(spelling) >= _SHORTEST_KNOWN and spelling != _PLACEHOLDER:
            _known[spelling] = None
    for known in sorted(_known, key=len, reverse=True):
        _known[known] = _known.pop(known)


def remember_address(address: str) -> None:
    """Mask from now on what may be secret of an address: password, keys in path and query."""
    try:
        parts = urlsplit(address)
        password = parts.password
    except ValueError:
        remember(address)
        return
    if password:
        remember(password)
    if parts.scheme in _WEB:
        if parts.username:
            remember(parts.username)
        for segment in parts.path.split("/"):
            if len(segment) >= _SHORTEST_SEGMENT:
                remember(segment)
        for pair in parts.query.split("&"):
            remember(pair.partition("=")[2])


def _masked_after(match: Match[str]) -> str:
    return f"{match[1]}{MASK}"


def _masked_value(match: Match[str]) -> str:
    return f"{match[1]}{match['quote'] or ''}{MASK}"


def _masked_userinfo(match: Match[str]) -> str:
    scheme, user, password = match["scheme"], match["user"], match["password"]
    if password is None:  # a name alone is one, except where tokens are given as names
        return match[0] if scheme.lower() not in _WEB else f"{scheme}://{MASK}@"
    return f"{scheme}://{user}:{password if password == _PLACEHOLDER else MASK}@"


def _masked_path(match: Match[str]) -> str:
    return _OPAQUE.sub(lambda segment: MASK if _is_key(segment[0]) else segment[0], match[0])


def _is_key(segment: str) -> bool:
    """Whether a part of a path looks drawn by lot: hexadecimal, or of all kinds of characters."""
    digits = sum(character.isdigit() for character in segment)
    mixed = any(c.isupper() for c in segment) and any(c.islower() for c in segment)
    return digits > 1 and (mixed or re.fullmatch(r"[0-9a-f]{24,}", segment.lower()) is not None)


_SHAPES: Final[tuple[tuple[re.Pattern[str], Callable[[Match[str]], str]], ...]] = (
    (_PEM, lambda _: MASK),
    (_TOKENS, lambda _: MASK),
    (_AUTHORIZATION, _masked_after),
    (_BEARER, _masked_after),
    (_USERINFO, _masked_userinfo),
    (_WEB_ADDRESS, _masked_path),
    (_QUERY, _masked_after),
    (_HEX_KEY, _masked_after),
    (_NAMED, _masked_value),
)
