"""What a load looks like from outside: at the node, and in what the chain worker noted."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.node import Node

_LOOK_SECONDS: Final = 0.05


@dataclass
class Watched:
    """Looks at the node while something is sent to it."""

    most_in_flight: int = 0
    """Transactions that waited in the node, at most."""
    blocks: dict[int, float] = field(default_factory=dict)
    """When each block was first seen, in Unix seconds."""

    async def when(self, block: int) -> float:
        """When that block, or one after it, was first seen."""
        while True:
            seen = [at for number, at in self.blocks.items() if number >= block]
            if seen:
                return min(seen)
            await asyncio.sleep(_LOOK_SECONDS)


@asynccontextmanager
async def watching(node: Node) -> AsyncIterator[Watched]:
    """Look at the node every 50 ms for as long as this lasts."""
    found = Watched()

    async def look() -> None:
        while True:
            status = await asyncio.to_thread(node.ask, "txpool_status")
            waiting = int(status["pending"], 16) + int(status["queued"], 16)
            found.most_in_flight = max(found.most_in_flight, waiting)
            head = await asyncio.to_thread(node.head)
            found.blocks.setdefault(head, time.time())
            await asyncio.sleep(_LOOK_SECONDS)

    looking = asyncio.create_task(look())
    try:
        yield found
    finally:
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)


class Sendings:
    """Reads what `tests.performance.load_worker` notes, as it grows."""

    def __init__(self, file: Path) -> None:
        """Take the file, which need not be there yet."""
        self._file = file
        self._read = 0
        self.first: dict[str, float] = {}
        """When each intent was first out, in Unix seconds."""

    def look(self) -> None:
        """Read what has come since."""
        if not self._file.exists():
            return
        with self._file.open("rb") as file:
            file.seek(self._read)
            whole = file.read().rpartition(b"\n")
        self._read += len(whole[0]) + len(whole[1])
        for line in whole[0].decode().splitlines():
            at, _, intent_id = line.partition(" ")
            self.first.setdefault(intent_id, float(at))
