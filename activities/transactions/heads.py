"""One watcher of a chain's newest block for all deliveries of a process."""

import asyncio
from typing import Final

import structlog

from activities.rpc.client import Rpc
from domain.errors import Unavailable

_log = structlog.get_logger(__name__)
_UNKNOWN: Final = -1
_FIRST_PAUSE_SECONDS: Final = 0.002
"""Doubled up to the interval: where blocks are instant, the next is there before a usual pause."""


class HeadWatcher:
    """Polls the head while somebody waits, and wakes all who wait when it changes."""

    def __init__(self, rpc: Rpc, interval_seconds: float) -> None:
        """Take the chain's connection and how often to ask."""
        self._rpc = rpc
        self._interval = interval_seconds
        self._head = _UNKNOWN
        self._changed = asyncio.Event()
        self._waiting = 0
        self._task: asyncio.Task[None] | None = None

    async def after(self, block_number: int) -> int:
        """Wait until the head is another than `block_number`, and return it.

        A head that went back counts: the chain has been reorganised, so there is something to look
        at. Node failures are waited through; the caller's own time limit ends the wait.
        """
        self._waiting += 1
        # Also where the head is known: it may be what one lagging or lying endpoint once told.
        self._poll_in_background()
        try:
            while self._head in (_UNKNOWN, block_number):
                self._poll_in_background()
                await self._changed.wait()
            return self._head
        finally:
            self._waiting -= 1

    def seen(self, block_number: int) -> None:
        """Note a head that was learnt from another answer, if it is newer than the poll's."""
        if block_number > self._head:
            self._change(block_number)

    def _change(self, block_number: int) -> None:
        if block_number == self._head:
            return
        self._head = block_number
        # Whoever waits now wakes up; whoever comes later waits for the next change.
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def _poll_in_background(self) -> None:
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._poll())

    async def _poll(self) -> None:
        """Ask once, and then for as long as somebody waits."""
        await self._ask()
        pause = min(_FIRST_PAUSE_SECONDS, self._interval)
        while self._waiting:
            await asyncio.sleep(pause)
            if self._waiting:
                await self._ask()
            pause = min(2 * pause, self._interval)

    async def _ask(self) -> None:
        try:
            self._change(int(await self._rpc.call("eth_blockNumber"), 16))
        except (Unavailable, TypeError, ValueError):  # the latter two: an answer that is no number
            _log.debug("the head could not be read")
