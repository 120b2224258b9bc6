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
    """A node that only knows its newest block, and what is in each."""

    def __init__(self, front: Front) -> None:
        self.front = front
        self.head: Any = 5
        self.blocks: dict[int, list[str]] = {}
        front.lies["eth_blockNumber"] = lambda _, __: self.answer()
        front.lies["eth_getBlockByNumber"] = lambda parameters, _: self.block(*parameters)

    def block(self, number: str, _: object) -> Any:
        return {"transactions": self.blocks.get(int(number, 16), [])}

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


async def test_a_block_that_has_come_already_is_not_waited_for(heads: HeadWatcher) -> None:
    assert await done(waiting(heads, 4)) == [5]


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
    # Whoever has looked at 9 is told of 5, once: then 6 is waited for, without always looking.
    chain.head = 9
    assert await done(waiting(heads, 5)) == [9]
    chain.head = 5
    assert await done(waiting(heads, 9)) == [5]
    (task,) = waiting(heads, 5)
    await asyncio.sleep(A_WHILE)
    assert not task.done()
    chain.head = 6
    assert await done([task]) == [6]


async def test_a_head_that_is_behind_is_believed_only_if_it_is_asked_for_now(
    chain: Chain, heads: HeadWatcher
) -> None:
    assert await done(waiting(heads, 4)) == [5]
    chain.head = 7
    assert await done(waiting(heads, 6)) == [7]


async def test_it_knows_what_is_in_the_blocks_that_have_come(
    chain: Chain, heads: HeadWatcher
) -> None:
    chain.blocks = {6: ["0xa", "0xb"], 7: ["0xc"], 8: []}
    await done(waiting(heads, 4))
    for head in (6, 8):
        tasks = waiting(heads, head - 1 if head == 6 else 6)
        chain.head = head
        await done(tasks)
    assert heads.mined(5, 6) == {"0xa", "0xb"}
    assert heads.mined(5, 8) == {"0xa", "0xb", "0xc"}
    assert heads.mined(7, 8) == frozenset()


@pytest.mark.parametrize(("before", "head"), [(8, 3), (8, 400)], ids=["back", "far"])
async def test_after_a_jump_it_knows_nothing(
    chain: Chain, heads: HeadWatcher, before: int, head: int
) -> None:
    chain.head = before
    await done(waiting(heads, 5))
    tasks = waiting(heads, before)
    chain.head = head
    assert await done(tasks) == [head]
    assert heads.mined(before, head) is None
    assert heads.mined(head - 1, head) is None


async def test_a_block_that_cannot_be_read_wakes_nobody_until_it_can(
    chain: Chain, heads: HeadWatcher
) -> None:
    await done(waiting(heads, 4))
    tasks = waiting(heads, 5)
    chain.front.lies["eth_getBlockByNumber"] = lambda _, __: None
    chain.head = 6
    await until(lambda: chain.front.count("eth_getBlockByNumber") > 2)
    assert not tasks[0].done()
    chain.front.lies["eth_getBlockByNumber"] = lambda parameters, _: chain.block(*parameters)
    assert await done(tasks) == [6]
