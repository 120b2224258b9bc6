"""How often anybody may ask: counted in Redis for all API processes together.

With Redis away what is safe is counted by each process for itself, and launches are refused.
"""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeVar

import structlog
from limits import RateLimitItem
from limits.aio.storage import MemoryStorage, RedisStorage, Storage
from limits.aio.strategies import SlidingWindowCounterRateLimiter

from domain.errors import DealError
from starters.api.refusals import LimitsUnavailable, RateLimited
from starters.api.settings import ApiSettings

T = TypeVar("T")

_log = structlog.get_logger(__name__)
_REDIS_SECONDS: Final = 0.5
_AWAY_SECONDS: Final = 1.0
"""How long Redis is not asked again after it did not answer."""


class Rate(StrEnum):
    """What is counted together. The names are those of the settings ``DEAL_API_RATE_...``."""

    ADDRESS = "address"
    """Everything from one address, before anybody is known."""
    UNAUTHENTICATED = "unauthenticated"
    """Requests of one address whose credential was refused."""
    READ = "read"
    SAFETY = "safety"
    """What makes things safer: pause, cancel, unwind, halt."""
    CHANGE = "change"
    LAUNCH = "launch"
    """What leads to new risk: start, dry run, resume, retry, approve, release."""


@dataclass(frozen=True)
class Allowance:
    """What is left of one limit; `reset` in seconds."""

    rate: Rate
    quota: int
    window: int
    remaining: int
    reset: int
    allowed: bool

    def headers(self) -> dict[str, str]:
        """The fields of draft-ietf-httpapi-ratelimit-headers."""
        return {
            "RateLimit-Policy": f'"{self.rate}";q={self.quota};w={self.window}',
            "RateLimit": f'"{self.rate}";r={self.remaining};t={self.reset}',
        }


class RateLimits:
    """Counts requests; a sliding window each for who asks and what kind it is."""

    def __init__(self, settings: ApiSettings) -> None:
        """Count in Redis if its address is given."""
        self._items = {rate: settings.rate(rate) for rate in Rate}
        self._own = SlidingWindowCounterRateLimiter(MemoryStorage())
        self._redis = _redis(settings)
        self._shared = None
        if self._redis is not None:
            self._shared = SlidingWindowCounterRateLimiter(self._redis)
        self._away_until = 0.0

    async def spend(self, rate: Rate, who: str) -> Allowance:
        """Count one request. Raises `RateLimited`, and `LimitsUnavailable` for a launch."""
        item = self._items[rate]

        async def spent(limiter: SlidingWindowCounterRateLimiter) -> Allowance:
            allowed = await limiter.hit(item, rate, who)
            return await _allowance(limiter, rate, item, who, allowed=allowed)

        allowance = await self._asked(rate, spent)
        if not allowance.allowed:
            raise Exhausted(allowance)
        return allowance

    async def count(self, rate: Rate, who: str) -> None:
        """Count one request likewise, without asking what is left while something is."""
        item = self._items[rate]

        async def refused(limiter: SlidingWindowCounterRateLimiter) -> Allowance | None:
            if await limiter.hit(item, rate, who):
                return None
            return await _allowance(limiter, rate, item, who, allowed=False)

        allowance = await self._asked(rate, refused)
        if allowance is not None:
            raise Exhausted(allowance)

    async def check(self, rate: Rate, who: str) -> None:
        """Raise `RateLimited` if nothing is left, without counting."""
        item = self._items[rate]

        async def refused(limiter: SlidingWindowCounterRateLimiter) -> Allowance | None:
            if await limiter.test(item, rate, who):
                return None
            return await _allowance(limiter, rate, item, who, allowed=False)

        allowance = await self._asked(rate, refused)
        if allowance is not None:
            raise Exhausted(allowance)

    async def ping(self) -> None:
        """Ask Redis; raises whatever keeps it from answering."""
        if self._redis is None or not await self._redis.check():
            raise _unavailable()

    async def _asked(
        self, rate: Rate, ask: Callable[[SlidingWindowCounterRateLimiter], Awaitable[T]]
    ) -> T:
        """Ask the counts in Redis; while it is away, this process's own, but for launches."""
        if self._shared is not None and time.monotonic() >= self._away_until:
            try:
                return await ask(self._shared)
            except Exception as error:  # noqa: BLE001 - whatever it is, Redis does not count now
                self._lose(error)
        if rate is Rate.LAUNCH:
            raise _unavailable()
        return await ask(self._own)

    def _lose(self, error: Exception) -> None:
        self._away_until = time.monotonic() + _AWAY_SECONDS
        _log.warning("redis is away: launches are refused", actual=type(error).__name__)


class Exhausted(RateLimited):
    """Too many requests; carries what the answer's headers tell."""

    def __init__(self, allowance: Allowance) -> None:
        """Say when to come again."""
        super().__init__(
            "too many requests",
            field="rate",
            value=allowance.rate,
            limit=f"{allowance.quota} in {allowance.window} s",
            headroom=0,
            next_action=f"try again in {allowance.reset} s",
        )
        self.allowance = allowance


async def _allowance(
    limiter: SlidingWindowCounterRateLimiter,
    rate: Rate,
    item: RateLimitItem,
    who: str,
    *,
    allowed: bool,
) -> Allowance:
    left = await limiter.get_window_stats(item, rate, who)
    reset = max(1, round(left.reset_time - time.time()))
    return Allowance(rate, item.amount, item.get_expiry(), max(0, left.remaining), reset, allowed)


def _redis(settings: ApiSettings) -> Storage | None:
    if settings.redis_url is None:
        return None
    return RedisStorage(
        f"async+{settings.redis_url.get_secret_value()}",
        implementation="redispy",
        key_prefix="deal-api",
        socket_timeout=_REDIS_SECONDS,
        socket_connect_timeout=_REDIS_SECONDS,
    )


def _unavailable() -> DealError:
    return LimitsUnavailable(
        "nothing new is launched while requests cannot be counted",
        field="DEAL_REDIS_URL",
        limit="Redis answers",
        next_action="try again once Redis is back; reading, pausing, cancelling and halting work",
    )
