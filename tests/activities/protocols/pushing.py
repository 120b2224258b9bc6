"""Moving the pool's price as anybody can."""

from fractions import Fraction
from math import isqrt
from typing import Final

from tests.activities.chain import DOLLAR, OWNER, Node

MILLION: Final = 10**6 * DOLLAR


def push(node: Node, price: Fraction) -> None:
    """Somebody else's swap, right before ours: to so many USDT for one USDTz."""
    rises = price > Fraction(spot(node))
    give, get = ("usdt", "usdtz") if rises else ("usdtz", "usdt")
    node.send(give, "issue" if rises else "mint", *(() if rises else (OWNER,)), 100 * MILLION)
    node.send(give, "approve", node.manifest["uniswap_router"], 0)
    node.send(give, "approve", node.manifest["uniswap_router"], 100 * MILLION)
    limit = isqrt(price.numerator * 2**192 // price.denominator)  # USDTz is the pool's first token
    pair = (node.manifest[give], node.manifest[get])
    node.send(
        "uniswap_router",
        "exactInputSingle",
        (*pair, 100, OWNER, 2**64, 100 * MILLION, 0, limit),
    )


def spot(node: Node) -> float:
    """USDT for one USDTz."""
    return float((node.read("usdt_usdtz_pool", "slot0")[0] / 2**96) ** 2)
