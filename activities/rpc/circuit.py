"""A circuit breaker for one endpoint: `docs/decisions/0009-rpc-pool.md` says why pybreaker.

Requests run outside it and are told to it when they are over: it only counts. So it may be asked
of an endpoint that is used in spite of an open circuit, because it is the last one there is.
"""

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Final, Literal, NoReturn, cast

from pybreaker import (
    STATE_CLOSED,
    STATE_OPEN,
    CircuitBreaker,
    CircuitBreakerError,
    CircuitMemoryStorage,
)

CircuitState = Literal["closed", "half-open", "open"]

_FAILURES: Final = 3
"""That many in a row open it."""
_PAUSE_SECONDS: Final = 5.0
"""Until one request may try again."""


class Circuit:
    """Closed while requests succeed, open after several failures in a row, then tried again."""

    def __init__(self) -> None:
        """Begin closed."""
        self._storage = CircuitMemoryStorage(STATE_CLOSED)
        self._pause = timedelta(seconds=_PAUSE_SECONDS)
        self._breaker = CircuitBreaker(
            fail_max=_FAILURES, reset_timeout=_PAUSE_SECONDS, state_storage=self._storage
        )

    @property
    def state(self) -> CircuitState:
        """What it is now; an open one whose pause is over is half-open."""
        state = cast("CircuitState", self._breaker.current_state)
        if state != STATE_OPEN:
            return state
        opened = self._storage.opened_at
        return "half-open" if opened and datetime.now(UTC) >= opened + self._pause else state

    @property
    def allows(self) -> bool:
        """Whether a request may go this way."""
        return self.state != STATE_OPEN

    def succeeded(self) -> None:
        """Note a request that was answered: also an open circuit closes, for it was tried."""
        if self._breaker.current_state != STATE_CLOSED:
            self._breaker.close()
        elif self._breaker.fail_counter:
            self._breaker.call(_nothing)

    def failed(self, error: BaseException) -> None:
        """Note a request that was not."""

        def fail() -> NoReturn:
            raise error

        with suppress(CircuitBreakerError, type(error)):
            self._breaker.call(fail)


def _nothing() -> None:
    """A call that succeeds."""
