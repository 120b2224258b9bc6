"""Following deals: one look at the records for all who follow, and an event a change."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager, suppress
from typing import Final

import structlog

from domain.deals import SETTLED, DealStatus
from domain.errors import InvalidInput, Unavailable
from domain.identifiers import DealId
from domain.identity import PrincipalId
from domain.views import DealView
from starters.api.refusals import RateLimited
from starters.deals.database import Connections, fetch
from starters.deals.failures import not_found
from starters.deals.reading import RecordsReader
from workers.runtime.background import ended

LOOK_SECONDS: Final = 0.25
_LONGEST_WAIT: Final = 10.0
_VERSIONS: Final = "SELECT deal_id, version, status FROM deals.deals WHERE deal_id = ANY(%s)"
_log = structlog.get_logger(__name__)


class Followers:
    """All who follow deals at this process; while there is none, nobody looks."""

    def __init__(self, connections: Connections, most: int) -> None:
        """Let each caller follow so many at once."""
        self._connections = connections
        self._records = RecordsReader(connections)
        self._most = most
        self._changed: dict[DealId, list[asyncio.Event]] = defaultdict(list)
        self._version: dict[DealId, int] = {}
        self._held: Counter[PrincipalId] = Counter()
        self._looking: asyncio.Task[None] | None = None

    def check(self, who: PrincipalId) -> None:
        """Raise `RateLimited` if the caller has all his streams open."""
        if self._held[who] >= self._most:
            raise RateLimited(
                "too many streams are open",
                field="streams",
                limit=self._most,
                headroom=0,
                next_action="close one of them",
            )

    @contextmanager
    def place(self, who: PrincipalId) -> Iterator[None]:
        """Hold one of the caller's streams. Raises `RateLimited`."""
        self.check(who)
        self._held[who] += 1
        try:
            yield
        finally:
            self._held[who] -= 1

    async def follow(self, deal_id: DealId, after: int = 0) -> AsyncGenerator[DealView, None]:
        """Yield the deal as it is now, unless it is no newer than `after`, and at every change.

        Ends once only a person could change it. What is recorded faster than it is looked at is
        seen once, in its newest version. Raises `NotFound`, and `Unavailable` at the beginning;
        later on it waits for the records to be back.
        """
        changed = asyncio.Event()
        self._changed[deal_id].append(changed)
        try:
            view = await self._view(deal_id)
            while True:
                if view.version > after:
                    yield view
                    after = view.version
                if view.status in SETTLED:
                    return
                view = await self._next(deal_id, after, changed)
        finally:
            self._leave(deal_id, changed)

    async def close(self) -> None:
        """Look no more."""
        if self._looking is not None:
            await ended(self._looking)
            if not self._looking.cancelled():
                self._looking.result()  # raises what it has failed with

    async def _view(self, deal_id: DealId) -> DealView:
        view = await self._records.find(deal_id)
        if view is None:
            raise not_found(deal_id)
        return view

    async def _next(self, deal_id: DealId, after: int, changed: asyncio.Event) -> DealView:
        """Wait for a newer version; look itself now and then, in case a word was missed."""
        while True:
            self._have_looked()
            if self._version.get(deal_id, 0) <= after:
                with suppress(TimeoutError):
                    async with asyncio.timeout(_LONGEST_WAIT):
                        await changed.wait()
            changed.clear()
            with suppress(Unavailable):
                view = await self._view(deal_id)
                if view.version > after:
                    return view
                self._version[deal_id] = view.version

    def _have_looked(self) -> None:
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())

    async def _look(self) -> None:
        """Ask for the versions of all that are followed, in one query, until nobody follows."""
        while self._changed:
            try:
                rows = await fetch(self._connections, _VERSIONS, (list(self._changed),))
            except Unavailable as error:
                _log.warning("deals cannot be followed now", actual=error.problem.actual)
                rows = []
            for row in rows:
                self._tell(DealId(row["deal_id"]), row["version"])
            await asyncio.sleep(LOOK_SECONDS)

    def _tell(self, deal_id: DealId, version: int) -> None:
        if self._version.get(deal_id) != version:
            self._version[deal_id] = version
            for changed in self._changed.get(deal_id, ()):
                changed.set()

    def _leave(self, deal_id: DealId, changed: asyncio.Event) -> None:
        waiting = self._changed[deal_id]
        waiting.remove(changed)
        if not waiting:
            del self._changed[deal_id]
            self._version.pop(deal_id, None)


def last_version(text: str | None) -> int:
    """Read ``Last-Event-ID``; raise `InvalidInput` if it is none of ours."""
    if text is None:
        return 0
    if text.isascii() and text.isdecimal() and len(text) <= len(str(2**31)):
        return int(text)
    raise InvalidInput(
        "Last-Event-ID is none of ours",
        field="Last-Event-ID",
        value=text[:100],
        limit="the id of an event of this deal",
        next_action="leave it out to begin anew",
    )


def kind_of(status: DealStatus) -> str:
    """The event's name: ``end`` if nothing more comes."""
    return "end" if status in SETTLED else "change"
