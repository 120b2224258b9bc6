"""Aave v3: the whole core, with WETH as collateral and USDT to borrow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from deploy.chain.artifacts import AAVE, Artifact, packaged
from deploy.chain.deployer import DEPLOYER

if TYPE_CHECKING:
    from eth_typing import ChecksumAddress
    from web3.contract import Contract

    from deploy.chain.deployer import Deployer

NO_ADDRESS = "0x0000000000000000000000000000000000000000"
USD_UNIT = 10**8  # the oracle's base currency is USD with 8 decimals
BPS = 10**23  # one basis point in ray (1e27), the unit of Aave's rates

SEEDED_USDT = 100_000_000 * 10**6  # 1e-6 USDT

# The libraries that stand alone; FlashLoanLogic itself needs BorrowLogic.
POOL_LIBRARIES = (
    "SupplyLogic",
    "BorrowLogic",
    "LiquidationLogic",
    "EModeLogic",
    "BridgeLogic",
    "PoolLogic",
)


@dataclass(frozen=True)
class Reserve:
    """One asset of the market; ratios in basis points (1e-4), `ltv` 0 for no collateral.

    `liquidation_bonus` counts from 10,000: 10,500 gives liquidators 5 %. `rates` are the optimal
    usage and the base, first, and second slope of the variable rate, a year.
    """

    symbol: str
    token: ChecksumAddress
    feed: ChecksumAddress
    decimals: int
    rates: tuple[int, int, int, int]
    reserve_factor: int
    ltv: int = 0
    liquidation_threshold: int = 0
    liquidation_bonus: int = 0


@dataclass(frozen=True)
class Market:
    """The contracts through which the market is set up."""

    registry: Contract
    provider: Contract
    pool: Contract
    configurator: Contract
    acl_manager: Contract
    oracle: Contract
    data_provider: Contract


def weth_reserve(token: ChecksumAddress, feed: ChecksumAddress) -> Reserve:
    """Return the collateral: LTV 80 %, liquidation threshold 82.5 %."""
    return Reserve(
        "WETH",
        token,
        feed,
        decimals=18,
        rates=(8_000, 100, 380, 8_000),
        reserve_factor=1_500,
        ltv=8_000,
        liquidation_threshold=8_250,
        liquidation_bonus=10_500,
    )


def usdt_reserve(token: ChecksumAddress, feed: ChecksumAddress) -> Reserve:
    """Return the borrowed asset.

    The base rate of 2 % a year makes a deal pay interest although hardly anyone else borrows.
    """
    return Reserve(
        "USDT", token, feed, decimals=6, rates=(9_000, 200, 400, 7_500), reserve_factor=1_000
    )


def deploy_aave(
    deployer: Deployer, weth: Reserve, usdt: Reserve, usdt_token: Contract
) -> dict[str, ChecksumAddress]:
    """Put the market on the chain and supply 100 million USDT; return the manifest's addresses."""
    market = _deploy_core(deployer, [weth, usdt])
    _list_reserves(deployer, market, [weth, usdt])
    for reserve in (weth, usdt):
        _configure(deployer, market.configurator, reserve)
    deployer.call(usdt_token, "approve", market.pool.address, SEEDED_USDT)
    deployer.call(market.pool, "supply", usdt.token, SEEDED_USDT, DEPLOYER, 0)
    deployer.flush()
    tokens = market.data_provider.functions
    return {
        "aave_addresses_provider": market.provider.address,
        "aave_pool": market.pool.address,
        "aave_pool_configurator": market.configurator.address,
        "aave_acl_manager": market.acl_manager.address,
        "aave_oracle": market.oracle.address,
        "aave_data_provider": market.data_provider.address,
        "a_weth": tokens.getReserveTokensAddresses(weth.token).call()[0],
        "variable_debt_usdt": tokens.getReserveTokensAddresses(usdt.token).call()[2],
    }


def _protocol(path: str) -> Artifact:
    name = path.rsplit("/", 1)[-1]
    return packaged(AAVE, f"{path}.sol/{name}")


def _deploy_core(deployer: Deployer, reserves: list[Reserve]) -> Market:
    configuration = "protocol/configuration"
    registry = deployer.deploy(
        _protocol(f"{configuration}/PoolAddressesProviderRegistry"), DEPLOYER
    )
    provider = deployer.deploy(
        _protocol(f"{configuration}/PoolAddressesProvider"), "Local market", DEPLOYER
    )
    deployer.call(registry, "registerAddressesProvider", provider.address, 1)
    acl_manager = _deploy_access_control(deployer, provider)
    pool, configurator = _deploy_pool(deployer, provider)
    oracle = _deploy_oracle(deployer, provider, reserves)
    data_provider = deployer.deploy(_protocol("misc/AaveProtocolDataProvider"), provider.address)
    deployer.call(provider, "setPoolDataProvider", data_provider.address)
    return Market(registry, provider, pool, configurator, acl_manager, oracle, data_provider)


def _deploy_access_control(deployer: Deployer, provider: Contract) -> Contract:
    deployer.call(provider, "setACLAdmin", DEPLOYER)
    manager = deployer.deploy(_protocol("protocol/configuration/ACLManager"), provider.address)
    deployer.call(provider, "setACLManager", manager.address)
    deployer.call(manager, "addPoolAdmin", DEPLOYER)
    deployer.call(manager, "addEmergencyAdmin", DEPLOYER)
    return manager


def _deploy_pool(deployer: Deployer, provider: Contract) -> tuple[Contract, Contract]:
    libraries = _deploy_libraries(deployer)
    pool_code = _protocol("protocol/pool/Pool")
    configurator_code = _protocol("protocol/pool/PoolConfigurator")
    pool = deployer.deploy(pool_code, provider.address, libraries=libraries)
    configurator = deployer.deploy(configurator_code, libraries=libraries)
    # The implementations behind the proxies are initialised too, so that nobody else can do it.
    for implementation in (pool, configurator):
        deployer.call(implementation, "initialize", provider.address)
    deployer.call(provider, "setPoolImpl", pool.address)
    deployer.call(provider, "setPoolConfiguratorImpl", configurator.address)
    # The provider creates the proxies, so their addresses can only be asked for afterwards.
    deployer.flush()
    return (
        deployer.at(pool_code, provider.functions.getPool().call()),
        deployer.at(configurator_code, provider.functions.getPoolConfigurator().call()),
    )


def _deploy_libraries(deployer: Deployer) -> dict[str, str]:
    folder = "protocol/libraries/logic"
    names = (*POOL_LIBRARIES, "ConfiguratorLogic")
    libraries: dict[str, str] = {
        name: deployer.deploy(_protocol(f"{folder}/{name}")).address for name in names
    }
    flash_loans = _protocol(f"{folder}/FlashLoanLogic")
    libraries["FlashLoanLogic"] = deployer.deploy(flash_loans, libraries=libraries).address
    return libraries


def _deploy_oracle(deployer: Deployer, provider: Contract, reserves: list[Reserve]) -> Contract:
    tokens = [reserve.token for reserve in reserves]
    feeds = [reserve.feed for reserve in reserves]
    oracle = deployer.deploy(
        _protocol("misc/AaveOracle"),
        provider.address,
        tokens,
        feeds,
        NO_ADDRESS,
        NO_ADDRESS,
        USD_UNIT,
    )
    deployer.call(provider, "setPriceOracle", oracle.address)
    return oracle


def _list_reserves(deployer: Deployer, market: Market, reserves: list[Reserve]) -> None:
    implementations = [
        _deploy_token(deployer, market.pool, name)
        for name in ("AToken", "StableDebtToken", "VariableDebtToken")
    ]
    inputs = [
        (
            *implementations,
            reserve.decimals,
            _deploy_strategy(deployer, market.provider, reserve.rates),
            reserve.token,
            DEPLOYER,  # where the reserve factor's share goes
            NO_ADDRESS,  # no incentives
            f"Aave Local {reserve.symbol}",
            f"a{reserve.symbol}",
            f"Aave Local Variable Debt {reserve.symbol}",
            f"variableDebt{reserve.symbol}",
            f"Aave Local Stable Debt {reserve.symbol}",
            f"stableDebt{reserve.symbol}",
            b"",
        )
        for reserve in reserves
    ]
    deployer.call(market.configurator, "initReserves", inputs)


def _deploy_token(deployer: Deployer, pool: Contract, name: str) -> ChecksumAddress:
    token = deployer.deploy(_protocol(f"protocol/tokenization/{name}"), pool.address)
    label = f"{name} implementation"
    holders = [NO_ADDRESS] * (3 if name == "AToken" else 2)
    deployer.call(token, "initialize", pool.address, *holders, 0, label, label, b"")
    return token.address


def _deploy_strategy(
    deployer: Deployer, provider: Contract, rates: tuple[int, int, int, int]
) -> ChecksumAddress:
    # The stable rate is switched off for every reserve; these are the values Aave deploys with.
    stable = (50, 7_500, 100, 800, 2_000)
    strategy = deployer.deploy(
        _protocol("protocol/pool/DefaultReserveInterestRateStrategy"),
        provider.address,
        *(ratio * BPS for ratio in (*rates, *stable)),
    )
    return strategy.address


def _configure(deployer: Deployer, configurator: Contract, reserve: Reserve) -> None:
    deployer.call(configurator, "setReserveBorrowing", reserve.token, True)  # noqa: FBT003 - ABI
    deployer.call(configurator, "setReserveFlashLoaning", reserve.token, True)  # noqa: FBT003 - ABI
    deployer.call(configurator, "setReserveFactor", reserve.token, reserve.reserve_factor)
    if reserve.ltv:
        deployer.call(
            configurator,
            "configureReserveAsCollateral",
            reserve.token,
            reserve.ltv,
            reserve.liquidation_threshold,
            reserve.liquidation_bonus,
        )
