"""One watcher of the newest block for all deliveries of a process."""

import asyncio
from typing import Any, Final

import structlog

from activities.rpc.client import Questions, RpcCall
from domain.errors import Unavailable

_log = structlog.get_logger(__name__)
_UNKNOWN: Final = -1
_FIRST_PAUSE_SECONDS: Final = 0.002
"""Doubled up to the interval: where blocks are instant, the next is there before a usual pause."""
_REMEMBERED: Final = 32
"""Blocks whose transactions are kept, and the most that are asked for at once."""


class HeadWatcher:
    """Polls the head while somebody waits, and wakes all who wait when it changes.

    It knows what is in the newest blocks, so that where many wait and blocks come quickly each need
    only look at the chain when there is something of its own.
    """

    def __init__(self, rpc: Questions, interval_seconds: float) -> None:
        """Take the chain's connection and how often to ask."""
        self._rpc = rpc
        self._interval = interval_seconds
        self._head = _UNKNOWN
        self._mined: dict[int, frozenset[str]] = {}
        self._asked = self._answered = 0
        self._changed = asyncio.Event()
        self._waiting = 0
        self._task: asyncio.Task[None] | None = None

    async def after(self, block_number: int) -> int:
        """Wait until the head is another than `block_number`, and return it.

        A head that went back counts, if the node is asked after this was called: the chain has been
        reorganised, so there is something to look at. Node failures are waited through; the
        caller's own time limit ends the wait.
        """
        self._waiting += 1
        asked = self._asked
        # Also where the head is known: it may be what one lagging or lying endpoint once told.
        self._poll_in_background()
        try:
            while not self._is_news(block_number, asked):
                self._poll_in_background()
                await self._changed.wait()
            return self._head
        finally:
            self._waiting -= 1

    def mined(self, after: int, until: int) -> frozenset[str] | None:
        """The hashes of what is in the blocks after one and up to another; None if not known."""
        if after >= until:
            return None
        blocks = [self._mined.get(number) for number in range(after + 1, until + 1)]
        known = [block for block in blocks if block is not None]
        return frozenset().union(*known) if len(known) == len(blocks) else None

    def _is_news(self, block_number: int, asked: int) -> bool:
        if self._head in (_UNKNOWN, block_number):
            return False
        return self._head > block_number or self._answered > asked

    def _wake(self) -> None:
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
        self._asked = number = self._asked + 1
        try:
            head = int(await self._rpc.call("eth_blockNumber"), 16)
            if head != self._head:
                await self._remember(head)
        except (Unavailable, TypeError, ValueError):  # the latter two: an answer that is no number
            _log.debug("the head could not be read")
            return
        # One who waits for the head to go back must hear of every answer.
        self._head, self._answered = head, number
        self._wake()

    async def _remember(self, head: int) -> None:
        """Read what is in the blocks since the last look; after a jump nothing is known."""
        new = range(self._head + 1, head + 1)
        if self._head == _UNKNOWN or not 0 < len(new) <= _REMEMBERED:
            self._mined.clear()
            return
        calls = [RpcCall("eth_getBlockByNumber", (hex(number), False)) for number in new]
        answers = await self._rpc.batch(calls)
        for number, answer in zip(new, answers, strict=True):
            self._mined[number] = _hashes(self._rpc.expect(answer))
        for number in sorted(self._mined)[:-_REMEMBERED]:
            del self._mined[number]


def _hashes(block: Any) -> frozenset[str]:  # noqa: ANN401 - JSON of any shape
    """The hashes of a block's transactions; raises `TypeError` for what is no block."""
    return frozenset(block["transactions"])
