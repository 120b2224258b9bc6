"""Errors that are about the node, not about what it was asked.

A revert, a nonce that is too low, or a method that a node does not know says nothing about its
health. What is listed here does, and another endpoint may well have the answer.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import Any, Final

from aiohttp import ClientConnectionError, ClientResponseError

from activities.rpc.calls import RpcError

DEFAULT_PAUSE_SECONDS: Final = 1.0
_LONGEST_PAUSE_SECONDS: Final = 60.0
_LIMIT_CODES: Final = frozenset({-32005, 429, -32029})
_LIMIT_WORDS: Final = ("rate limit", "too many requests", "compute units per second")
_BESU_LIMITS: Final = "exceeds"
"""besu uses -32005 for calls that are too large: "... exceeds block gas limit"."""
_NODE_WORDS: Final = (
    "internal error",
    "internal server error",
    "header not found",
    "missing trie node",
    "node is syncing",
    "not yet in sync",
    "initial sync is still in progress",
    "world state unavailable",
    "service unavailable",
    "bad gateway",
    "no available upstream",
    "no backends available",
    "request timed out",
    "upstream timeout",
)


class ErrorKind(StrEnum):
    """How an endpoint failed, for the metrics."""

    TIMEOUT = "timeout"
    CONNECTION = "connection"
    HTTP = "http"
    MALFORMED = "malformed"
    RATE_LIMIT = "rate_limit"
    NODE = "node"
    CHAIN_ID = "chain_id"


class RateLimited(ValueError):
    """The endpoint wants to be left alone for so many seconds."""

    def __init__(self, seconds: float = DEFAULT_PAUSE_SECONDS) -> None:
        """Take how long, which is kept within reason."""
        self.seconds = min(max(seconds, 0.0), _LONGEST_PAUSE_SECONDS)
        super().__init__(f"rate limited for {self.seconds:g} s")


class NodeTrouble(ValueError):
    """The node answers calls with errors that are its own."""


def kind_of(error: BaseException) -> ErrorKind:
    """The class of a failure."""
    if isinstance(error, RateLimited):
        return ErrorKind.RATE_LIMIT
    if isinstance(error, NodeTrouble):
        return ErrorKind.NODE
    if isinstance(error, TimeoutError):
        return ErrorKind.TIMEOUT
    if isinstance(error, ClientResponseError):
        return ErrorKind.HTTP
    if isinstance(error, ClientConnectionError | OSError):
        return ErrorKind.CONNECTION
    return ErrorKind.MALFORMED


def trouble_in(answers: Sequence[Any]) -> RateLimited | NodeTrouble | None:
    """What the error answers of one request say about the node itself."""
    errors = [answer for answer in answers if isinstance(answer, RpcError)]
    for error in errors:
        if _is_rate_limit(error):
            return RateLimited(_backoff_of(error))
    for error in errors:
        message = error.message.lower()
        if error.data is None and any(words in message for words in _NODE_WORDS):
            return NodeTrouble(f"{error.code} {error.message}"[:100])
    return None


def pause_from(header: str | None) -> float:
    """Seconds of a ``Retry-After`` header; the default if it has none, or a date."""
    try:
        return float(header or DEFAULT_PAUSE_SECONDS)
    except ValueError:
        return DEFAULT_PAUSE_SECONDS


def _is_rate_limit(error: RpcError) -> bool:
    message = error.message.lower()
    if any(words in message for words in _LIMIT_WORDS):
        return True
    return error.code in _LIMIT_CODES and _BESU_LIMITS not in message


def _backoff_of(error: RpcError) -> float:
    """The pause that some providers put into the error's data."""
    try:
        return float(error.data["rate"]["backoff_seconds"])
    except (KeyError, TypeError, ValueError):
        return DEFAULT_PAUSE_SECONDS
