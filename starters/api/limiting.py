"""How often anybody may ask: counted in Redis for all API processes together.

With Redis away what is safe is counted by each process for itself, and launches are refused.
"""

import time
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import structlog
from limits import RateLimitItem
from limits.aio.storage import MemoryStorage, RedisStorage, Storage
from limits.aio.strategies import SlidingWindowCounterRateLimiter

from domain.errors import DealError
from starters.api.refusals import LimitsUnavailable, RateLimited
from starters.api.settings import ApiSettings

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
        allowance = await self._count(rate, who)
        if not allowance.allowed:
            raise Exhausted(allowance)
        return allowance

    async def check(self, rate: Rate, who: str) -> None:
        """Raise `RateLimited` if nothing is left, without counting."""
        limiter = await self._limiter()
        item = self._items[rate]
        if not await limiter.test(item, rate, who):
            raise Exhausted(await self._allowance(limiter, rate, item, who, allowed=False))

    async def ping(self) -> None:
        """Ask Redis; raises whatever keeps it from answering."""
        if self._redis is None or not await self._redis.check():
            raise _unavailable()

    async def _count(self, rate: Rate, who: str) -> Allowance:
        item = self._items[rate]
        limiter = await self._limiter()
        if limiter is self._own and rate is Rate.LAUNCH:
            raise _unavailable()
        try:
            allowed = await limiter.hit(item, rate, who)
            return await self._allowance(limiter, rate, item, who, allowed=allowed)
        except Exception as error:
            if limiter is self._own:
                raise
            self._lose(error)
            return await self._count(rate, who)

    async def _limiter(self) -> SlidingWindowCounterRateLimiter:
        if self._shared is None or time.monotonic() < self._away_until:
            return self._own
        return self._shared

    def _lose(self, error: Exception) -> None:
        self._away_until = time.monotonic() + _AWAY_SECONDS
        _log.warning("redis is away: launches are refused", actual=type(error).__name__)

    async def _allowance(
        self,
        limiter: SlidingWindowCounterRateLimiter,
        rate: Rate,
        item: RateLimitItem,
        who: str,
        *,
        allowed: bool,
    ) -> Allowance:
        left = await limiter.get_window_stats(item, rate, who)
        reset = max(1, round(left.reset_time - time.time()))
        return Allowance(
            rate, item.amount, item.get_expiry(), max(0, left.remaining), reset, allowed
        )


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
