"""One watcher of a chain's newest block for all deliveries of a process."""

import asyncio

from activities.rpc.client import Rpc
from domain.errors import Unavailable


class HeadWatcher:
    """Polls the head while somebody waits, and wakes all who wait when it grows."""

    def __init__(self, rpc: Rpc, interval_seconds: float) -> None:
        """Take the chain's connection and how often to ask."""
        self._rpc = rpc
        self._interval = interval_seconds
        self._head = -1
        self._grown = asyncio.Condition()
        self._waiting = 0
        self._task: asyncio.Task[None] | None = None

    async def after(self, block_number: int) -> int:
        """Wait until the head is above `block_number` and return it.

        Node failures are waited through; the caller's own time limit ends the wait.
        """
        self._waiting += 1
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._poll())
        try:
            async with self._grown:
                await self._grown.wait_for(lambda: self._head > block_number)
                return self._head
        finally:
            self._waiting -= 1

    def seen(self, block_number: int) -> None:
        """Note a head that was learnt from another answer."""
        self._head = max(self._head, block_number)

    async def _poll(self) -> None:
        while self._waiting:
            try:
                head = int(await self._rpc.call("eth_blockNumber"), 16)
            except Unavailable:
                head = self._head
            if head > self._head:
                async with self._grown:
                    self._head = head
                    self._grown.notify_all()
            await asyncio.sleep(self._interval)
