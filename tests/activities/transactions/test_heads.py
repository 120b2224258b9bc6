"""One watcher of the newest block for all who wait for it."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from activities.rpc.client import Rpc
from activities.transactions.heads import HeadWatcher
from tests.activities.desk import profile_for
from tests.activities.rpc.front import Front, front_of
from tests.activities.transactions.delivering import until

INTERVAL = 0.01
SOON = 2.0
A_WHILE = 0.1


class Chain:
    """A node that only knows its newest block."""

    def __init__(self, front: Front) -> None:
        self.front = front
        self.head: Any = 5
        front.lies["eth_blockNumber"] = lambda _, __: self.answer()

    def answer(self) -> Any:
        return hex(self.head) if isinstance(self.head, int) else self.head

    @property
    def asked(self) -> int:
        return self.front.count("eth_blockNumber") + self.front.checks


@pytest.fixture
async def chain() -> AsyncIterator[Chain]:
    async with front_of() as front:
        yield Chain(front)


@pytest.fixture
async def heads(chain: Chain) -> AsyncIterator[HeadWatcher]:
    rpc = Rpc(profile_for(chain.front.url))
    yield HeadWatcher(rpc, INTERVAL)
    await asyncio.sleep(3 * INTERVAL)
    await rpc.close()


def waiting(heads: HeadWatcher, block: int, number: int = 1) -> list[asyncio.Task[int]]:
    return [asyncio.create_task(heads.after(block)) for _ in range(number)]


async def done(tasks: list[asyncio.Task[int]]) -> list[int]:
    async with asyncio.timeout(SOON):
        return await asyncio.gather(*tasks)


async def test_the_next_block_wakes_everybody_who_waits_for_it(
    chain: Chain, heads: HeadWatcher
) -> None:
    tasks = waiting(heads, 5, 50)
    await until(lambda: chain.asked > 2)
    assert not any(task.done() for task in tasks)
    chain.head = 6
    assert await done(tasks) == [6] * 50


async def test_everybody_who_waits_shares_one_poll(chain: Chain, heads: HeadWatcher) -> None:
    tasks = waiting(heads, 5, 50)
    await asyncio.sleep(A_WHILE)
    assert 1 <= chain.asked <= 2 * A_WHILE / INTERVAL
    chain.head = 6
    await done(tasks)


async def test_a_block_that_has_come_already_is_not_waited_for(
    chain: Chain, heads: HeadWatcher
) -> None:
    assert await done(waiting(heads, 4)) == [5]
    heads.seen(7)
    chain.head = 7
    assert await done(waiting(heads, 5)) == [7]


async def test_a_block_that_another_answer_showed_wakes_those_who_wait(
    chain: Chain, heads: HeadWatcher
) -> None:
    tasks = waiting(heads, 5, 3)
    await until(lambda: chain.asked > 0)
    chain.front.down = True  # so that only the other answer can tell
    heads.seen(6)
    assert await done(tasks) == [6] * 3


async def test_an_older_answer_wakes_nobody(chain: Chain, heads: HeadWatcher) -> None:
    tasks = waiting(heads, 5)
    await until(lambda: chain.asked > 1)
    heads.seen(4)
    heads.seen(5)
    await asyncio.sleep(A_WHILE)
    assert not tasks[0].done()
    chain.head = 6
    assert await done(tasks) == [6]


async def test_a_head_that_went_back_is_something_to_look_at(
    chain: Chain, heads: HeadWatcher
) -> None:
    tasks = waiting(heads, 5)
    await until(lambda: chain.asked > 1)
    chain.head = 3
    assert await done(tasks) == [3]


@pytest.mark.parametrize(
    "failure",
    ["down", {"code": -32000, "message": "syncing"}, None, "no number", {}, []],
    ids=["down", "error", "null", "text", "object", "list"],
)
async def test_a_node_that_is_away_or_confused_for_a_while_is_waited_through(
    chain: Chain, heads: HeadWatcher, failure: Any
) -> None:
    tasks = waiting(heads, 5, 10)
    await until(lambda: chain.asked > 0)
    if failure == "down":
        chain.front.down = True
    elif isinstance(failure, dict) and failure:
        chain.front.errors["eth_blockNumber"] = failure
    else:
        chain.head = failure
    asked = chain.asked
    await until(lambda: chain.asked > asked + 3)
    assert not any(task.done() for task in tasks)
    chain.front.down, chain.front.errors, chain.head = False, {}, 6
    assert await done(tasks) == [6] * 10


async def test_the_poll_stops_when_nobody_waits(chain: Chain, heads: HeadWatcher) -> None:
    chain.head = 6
    await done(waiting(heads, 5))
    await asyncio.sleep(3 * INTERVAL)
    asked = chain.asked
    await asyncio.sleep(A_WHILE)
    assert chain.asked == asked
    assert heads._task is not None
    assert heads._task.done()


async def test_the_poll_stops_when_those_who_waited_have_given_up(
    chain: Chain, heads: HeadWatcher
) -> None:
    tasks = waiting(heads, 5, 3)
    await until(lambda: chain.asked > 1)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.sleep(3 * INTERVAL)
    asked = chain.asked
    await asyncio.sleep(A_WHILE)
    assert chain.asked == asked
    assert heads._task is not None
    assert heads._task.done()


async def test_whoever_comes_after_the_poll_has_stopped_starts_it_again(
    chain: Chain, heads: HeadWatcher
) -> None:
    for block in range(5, 10):
        tasks = waiting(heads, block)
        await until(lambda: chain.asked > 0)
        chain.head = block + 1
        assert await done(tasks) == [block + 1]
        await asyncio.sleep(3 * INTERVAL)


async def test_no_wake_up_is_lost_among_many_who_come_and_go(
    chain: Chain, heads: HeadWatcher
) -> None:
    async def follow(steps: int) -> int:
        block = 5
        for _ in range(steps):
            block = await heads.after(block)
        return block

    async def produce() -> None:
        while True:
            await asyncio.sleep(INTERVAL / 3)
            chain.head += 1

    producing = asyncio.create_task(produce())
    followers = [asyncio.create_task(follow(steps)) for steps in range(1, 21)]
    try:
        assert all(block > 5 for block in await done(followers))
    finally:
        producing.cancel()


async def test_a_head_that_one_lagging_or_lying_answer_told_is_forgotten(
    chain: Chain, heads: HeadWatcher
) -> None:
    # One endpoint said 9; the one that answers now is at 5. Whoever has looked at 5 must be made to
    # wait for 6 in the end, or it would look again and again without a pause.
    heads.seen(9)
    looks = 0
    async with asyncio.timeout(SOON):
        while True:
            looks += 1
            heads.seen(5)
            waiter = asyncio.ensure_future(heads.after(5))
            await asyncio.sleep(INTERVAL)
            if not waiter.done():
                break
    assert looks < 10
    chain.head = 6
    assert await done([waiter]) == [6]
