"""Work beside a process's work: it ends with it, and a defect in it ends the process."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from workers.runtime.background import beside


async def test_it_is_done_beside_and_ended() -> None:
    turns = asyncio.Queue[int]()

    async def work() -> None:
        for number in range(1_000_000):
            turns.put_nowait(number)
            await asyncio.sleep(0)

    async with beside(work()):
        assert await turns.get() == 0
        assert await turns.get() == 1
    done = turns.qsize()
    await asyncio.sleep(0.01)
    assert turns.qsize() == done


async def test_a_cancellation_that_is_lost_is_given_again() -> None:
    """As by Python 3.11's `asyncio.wait_for`, when what it waits for is there just then."""
    begun, lost = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        with suppress(asyncio.CancelledError):
            begun.set()
            await asyncio.sleep(600)
        lost.set()
        await asyncio.sleep(600)

    async with asyncio.timeout(30):
        async with beside(work()):
            await begun.wait()
    assert lost.is_set()
