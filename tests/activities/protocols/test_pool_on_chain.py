"""The pool as we reckon with it, against the real quoter on the real pool."""

import random
from collections.abc import AsyncIterator
from typing import Final

import pytest

from activities.protocols import uniswap
from activities.protocols.multicall import Read
from activities.protocols.reader import ChainReader
from activities.protocols.ticks import PoolReading, sqrt_price_at
from activities.rpc.client import Rpc
from domain.chains import ChainProfile, ModuleProfile
from domain.pool import PoolSnapshot
from tests.activities.chain import DOLLAR, OWNER, Node
from tests.activities.desk import MODULE, profile_for

POOL_FEE: Final = 100
BUY, SELL = ("usdt", "usdtz"), ("usdtz", "usdt")
DIRECTIONS = pytest.mark.parametrize("direction", [BUY, SELL], ids=["buying", "selling"])
# Ticks of positions that overlap: the price stands at -151, in the middle of them.
POSITIONS: Final = ((-160, -140), (-156, -100), (-200, -155), (-150, 60), (-900, -300), (-1, 300))


@pytest.fixture
async def reader(node: Node) -> AsyncIterator[ChainReader]:
    profile = profile_for(node.url)
    rpc = Rpc(profile)
    yield ChainReader(profile, rpc)
    await rpc.close()


def module(profile: ChainProfile, direction: tuple[str, str]) -> ModuleProfile:
    """The module as if its par token were the one that is given away."""
    give, get = direction
    return profile.module(MODULE).model_copy(update={"par_token": give, "discount_token": get})


async def pool_of(node: Node, reader: ChainReader, direction: tuple[str, str]) -> PoolSnapshot:
    price, tick, *_ = node.read("usdt_usdtz_pool", "slot0")
    state = PoolReading(price, tick, node.read("usdt_usdtz_pool", "liquidity"), 1)
    return await reader._pool(module(reader.profile, direction), state)


async def quotes(
    reader: ChainReader, direction: tuple[str, str], sizes: list[int]
) -> list[tuple[int, int]]:
    """The real quoter's output and price afterwards for each size."""
    give, get = (reader.profile.contract(name) for name in direction)
    quoter = reader.profile.contract("uniswap_quoter")
    function = uniswap.QUOTE_EXACT_INPUT_SINGLE
    reads = [Read(quoter, function, ((give, get, size, POOL_FEE, 0),)) for size in sizes]
    answers = [
        answer
        for start in range(0, len(reads), 20)
        for answer in await reader.read(reads[start : start + 20])
    ]
    return [(int(answer[0]), int(answer[1])) for answer in answers]


def sizes_up_to(depth: int, number: int, seed: int) -> list[int]:
    """Sizes of every order of magnitude, and some where something happens."""
    chance = random.Random(seed)  # noqa: S311 - the same sizes every time
    spread = [int(10 ** chance.uniform(0, len(str(depth)) - 0.3)) for _ in range(number)]
    return [size for size in [1, 2, 100, 9_999, 10_001, *spread] if size <= depth]


async def assert_quotes_equal(
    node: Node, reader: ChainReader, direction: tuple[str, str], *, seed: int, number: int = 40
) -> PoolSnapshot:
    pool = await pool_of(node, reader, direction)
    # To the end of a segment exactly, and one unit to either side of it.
    edges = [pool.input_to(segment.sqrt_price_end) for segment in pool.segments[:-1]]
    near = [edge + offset for edge in edges for offset in (-1, 0, 1) if edge + offset > 0]
    sizes = sizes_up_to(pool.depth(), number, seed) + near
    for size, (out, price) in zip(sizes, await quotes(reader, direction, sizes), strict=True):
        used, ours, after = pool.swap(size)
        assert (used, ours, after.sqrt_price) == (size, out, price), size
    return pool


def mint(node: Node, low: int, high: int, amount: int) -> None:
    tokens = sorted((node.manifest["usdt"], node.manifest["usdtz"]), key=lambda a: int(a, 16))
    order = (*tokens, POOL_FEE, low, high, amount, amount, 0, 0, OWNER, 2**64)
    node.send("uniswap_position_manager", "mint", order)


def fill(node: Node) -> None:
    for token in BUY:
        node.send(token, "approve", node.manifest["uniswap_position_manager"], 10**15)
    for number, (low, high) in enumerate(POSITIONS):
        mint(node, low, high, (number + 1) * 1_234_567 * DOLLAR)


def swap(node: Node, direction: tuple[str, str], amount: int, sqrt_price_limit: int = 0) -> None:
    give, get = (node.manifest[name] for name in direction)
    router = node.manifest["uniswap_router"]
    node.send("usdt", "issue", amount)
    node.send("usdtz", "mint", OWNER, amount)
    node.send(direction[0], "approve", router, 0)
    node.send(direction[0], "approve", router, amount)
    order = (give, get, POOL_FEE, OWNER, 2**64, amount, 0, sqrt_price_limit)
    node.send("uniswap_router", "exactInputSingle", order)


@DIRECTIONS
async def test_quotes_of_the_deployed_pool_agree_with_the_quoter_to_the_unit(
    node: Node, reader: ChainReader, direction: tuple[str, str]
) -> None:
    pool = await assert_quotes_equal(node, reader, direction, seed=1)
    assert len(pool.segments) > 1  # or no tick would have been crossed
    assert pool.depth() > 10_000_000 * DOLLAR


@DIRECTIONS
async def test_quotes_across_many_ticks_agree_with_the_quoter_to_the_unit(
    node: Node, reader: ChainReader, direction: tuple[str, str]
) -> None:
    fill(node)
    pool = await assert_quotes_equal(node, reader, direction, seed=2, number=60)
    assert len(pool.segments) >= 5


@DIRECTIONS
async def test_quotes_still_agree_after_swaps_have_moved_the_pool_about(
    node: Node, reader: ChainReader, direction: tuple[str, str]
) -> None:
    fill(node)
    chance = random.Random(3)  # noqa: S311 - as above
    for _ in range(3):
        swap(node, chance.choice([BUY, SELL]), chance.randrange(1, 20_000_000) * DOLLAR)
        await assert_quotes_equal(node, reader, direction, seed=4, number=8)


@DIRECTIONS
@pytest.mark.parametrize("tick", [-408, 100])
async def test_a_pool_that_stands_exactly_at_a_tick_is_read_like_any_other(
    node: Node, reader: ChainReader, direction: tuple[str, str], tick: int
) -> None:
    assert node.read("usdt_usdtz_pool", "ticks", tick)[0] > 0
    to_it = SELL if tick < -151 else BUY
    swap(node, to_it, 100_000_000 * DOLLAR, sqrt_price_at(tick))
    price, now, *_ = node.read("usdt_usdtz_pool", "slot0")
    # Fallen to a tick, the pool is below it already, though its price is the tick's own.
    assert (price, now) == (sqrt_price_at(tick), tick - 1 if to_it is SELL else tick)
    await assert_quotes_equal(node, reader, direction, seed=5, number=10)


async def test_the_market_reads_the_pool_in_the_direction_that_buys_the_discount(
    node: Node, reader: ChainReader
) -> None:
    fill(node)
    market = await reader.market(MODULE, reader.profile.contract("weth"))
    assert market.pool == await pool_of(node, reader, BUY)
    assert market.pool.quote(7_000 * DOLLAR) > 7_000 * DOLLAR


async def test_a_pool_that_has_run_dry_takes_nothing(node: Node, reader: ChainReader) -> None:
    swap(node, BUY, 1_000_000_000 * DOLLAR, sqrt_price_at(3_000))
    market = await reader.market(MODULE, reader.profile.contract("weth"))
    assert market.pool.segments == ()
    assert market.pool.depth() == 0


async def test_no_more_is_taken_than_the_segments_hold(node: Node, reader: ChainReader) -> None:
    pool = await pool_of(node, reader, BUY)
    used, out, after = pool.swap(pool.depth() * 2)
    assert used == pool.depth()
    ((quoted, price),) = await quotes(reader, BUY, [used])
    assert (out, after.sqrt_price) == (quoted, price)
    assert after.quote(DOLLAR) == 0
