"""Uniswap v3: the router, the quoter and the pool's own state.

Source: interfaces of v3-core 1.0.1 and v3-periphery 1.4.4.
"""

from typing import Final

from activities.protocols.abi import Function

EXACT_INPUT_SINGLE: Final = Function(
    "exactInputSingle((address,address,uint24,address,uint256,uint256,uint256,uint160))",
    ("uint256",),
)
"""Token in, token out, fee, recipient, deadline, amount in, minimum out, price limit."""

EXACT_OUTPUT_SINGLE: Final = Function(
    "exactOutputSingle((address,address,uint24,address,uint256,uint256,uint256,uint160))",
    ("uint256",),
)
"""Token in, token out, fee, recipient, deadline, amount out, maximum in, price limit."""

NO_PRICE_LIMIT: Final = 0

QUOTE_EXACT_INPUT_SINGLE: Final = Function(
    "quoteExactInputSingle((address,address,uint256,uint24,uint160))",
    ("uint256", "uint160", "uint32", "uint256"),
)
"""Amount out, square-root price after, ticks crossed, gas."""


def quoted(values: tuple[int, ...]) -> int:
    """The amount out of a quote that was read as optional; 0 where the pool cannot pay at all."""
    return int(values[0]) if values else 0


SLOT0: Final = Function(
    "slot0()", ("uint160", "int24", "uint16", "uint16", "uint16", "uint8", "bool")
)
LIQUIDITY: Final = Function("liquidity()", ("uint128",))
TICK_SPACING: Final = Function("tickSpacing()", ("int24",))
TICK_BITMAP: Final = Function("tickBitmap(int16)", ("uint256",))
TICKS: Final = Function(
    "ticks(int24)",
    ("uint128", "int128", "uint256", "uint256", "int56", "uint160", "uint32", "bool"),
)
