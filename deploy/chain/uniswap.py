"""Uniswap v3: factory, router, quoter, positions, and the USDT/USDTz pool below par."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from math import isqrt
from typing import TYPE_CHECKING

from deploy.chain.artifacts import UNISWAP_CORE, UNISWAP_PERIPHERY, Artifact, packaged
from deploy.chain.deployer import DEPLOYER

if TYPE_CHECKING:
    from eth_typing import ChecksumAddress
    from web3.contract import Contract

    from deploy.chain.deployer import Deployer

POOL_FEE = 100  # hundredths of a basis point: 0.01 %
TICK_SPACING = 1
PRICE = Fraction(985, 1000)  # USDT per USDTz
NO_DEADLINE = 2**64


@dataclass(frozen=True)
class Range:
    """A position: liquidity between two prices (USDT per USDTz), at most `amount` of each token.

    `amount` is in units of 1e-6 token.
    """

    low: Fraction
    high: Fraction
    amount: int


# Nearly all the liquidity stands close to the price, about as much on either side, so that a deal
# hardly moves it; a thin tail keeps the pool answering when a test pushes the price far away.
CORE = Range(Fraction(96, 100), Fraction(101, 100), 50_000_000 * 10**6)
TAIL = Range(Fraction(80, 100), Fraction(120, 100), 2_000_000 * 10**6)


def sqrt_price_x96(price: Fraction) -> int:
    """Return the square root of a price (token1 per token0) as Uniswap keeps it: times 2^96."""
    return isqrt(price.numerator * 2**192 // price.denominator)


def nearest_tick(price: Fraction) -> int:
    """Return the tick whose price, 1.0001 to its power, is nearest to `price`."""
    value = Decimal(price.numerator) / Decimal(price.denominator)
    return int((value.ln() / Decimal("1.0001").ln()).to_integral_value())


def deploy_uniswap(
    deployer: Deployer, weth: Contract, usdt: Contract, usdtz: Contract
) -> dict[str, ChecksumAddress]:
    """Put Uniswap and the pool on the chain; return the manifest's addresses.

    The deployer must hold the tokens of both positions.
    """
    factory = deployer.deploy(packaged(UNISWAP_CORE, "UniswapV3Factory.sol/UniswapV3Factory"))
    positions = _deploy_positions(deployer, factory, weth)
    places = (factory.address, weth.address)
    router = deployer.deploy(_periphery("SwapRouter"), *places)
    quoter = deployer.deploy(_periphery("QuoterV2", "lens/"), *places)
    deployer.call(factory, "enableFeeAmount", POOL_FEE, TICK_SPACING)
    _fill_pool(deployer, positions, usdt, usdtz)
    deployer.flush()
    pool = factory.functions.getPool(usdt.address, usdtz.address, POOL_FEE).call()
    return {
        "uniswap_factory": factory.address,
        "uniswap_router": router.address,
        "uniswap_quoter": quoter.address,
        "uniswap_position_manager": positions.address,
        "usdt_usdtz_pool": pool,
    }


def _periphery(name: str, folder: str = "") -> Artifact:
    return packaged(UNISWAP_PERIPHERY, f"{folder}{name}.sol/{name}")


def _deploy_positions(deployer: Deployer, factory: Contract, weth: Contract) -> Contract:
    drawing = deployer.deploy(_periphery("NFTDescriptor", "libraries/"))
    descriptor = deployer.deploy(
        _periphery("NonfungibleTokenPositionDescriptor"),
        weth.address,
        b"ETH".ljust(32, b"\0"),
        libraries={"NFTDescriptor": drawing.address},
    )
    return deployer.deploy(
        _periphery("NonfungiblePositionManager"),
        factory.address,
        weth.address,
        descriptor.address,
    )


def _fill_pool(deployer: Deployer, positions: Contract, usdt: Contract, usdtz: Contract) -> None:
    # Uniswap orders the two tokens by address, and prices the first in the second.
    first, second = sorted((usdt, usdtz), key=lambda token: int(token.address, 16))
    flipped = first is usdt
    pair = (first.address, second.address, POOL_FEE)
    price = sqrt_price_x96(1 / PRICE if flipped else PRICE)
    deployer.call(positions, "createAndInitializePoolIfNecessary", *pair, price)
    for token in (usdt, usdtz):
        deployer.call(token, "approve", positions.address, CORE.amount + TAIL.amount)
    for position in (CORE, TAIL):
        prices = (position.low, position.high)
        ticks = sorted(nearest_tick(1 / edge if flipped else edge) for edge in prices)
        amounts = (position.amount, position.amount, 0, 0)
        parameters = (*pair, *ticks, *amounts, DEPLOYER, NO_DEADLINE)
        deployer.call(positions, "mint", parameters)
    for token in (usdt, usdtz):  # take back what the price left over
        deployer.call(token, "approve", positions.address, 0)
