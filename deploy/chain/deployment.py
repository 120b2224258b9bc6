"""Everything a deal needs, put on an empty chain in one fixed order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from web3 import HTTPProvider, Web3

from deploy.chain.aave import deploy_aave, usdt_reserve, weth_reserve
from deploy.chain.anvil import running_anvil
from deploy.chain.artifacts import AAVE, multicall, packaged
from deploy.chain.deployer import Deployer
from deploy.chain.desk import deploy_feeds, deploy_ledger, deploy_redemption, deploy_tokens
from deploy.chain.governance import (
    create_treasury,
    deploy_registry,
    deploy_safe,
    deploy_timelock,
)
from deploy.chain.snapshots import anvil_request, read_state
from deploy.chain.uniswap import deploy_uniswap

if TYPE_CHECKING:
    from eth_typing import ChecksumAddress

# 2026-01-01T00:00:00Z. The first block's time is fixed and each further block is a second later, so
# that a deployment does not depend on when it is made.
GENESIS_TIMESTAMP = 1_767_225_600


@dataclass(frozen=True)
class Deployment:
    """A finished deployment.

    `contracts` are the addresses by manifest key, `state` is the text of a file that anvil loads,
    `blocks` the last block's number, and `tip_timestamp` its time in Unix seconds.
    """

    contracts: dict[str, ChecksumAddress]
    state: str
    blocks: int
    tip_timestamp: int


def deploy_chain(chain_id: int) -> Deployment:
    """Deploy everything on an anvil of its own and return what came of it.

    Raises:
        ChainError: anvil does not start, or a transaction was refused or reverted.

    """
    options = ("--no-mining", "--timestamp", str(GENESIS_TIMESTAMP))
    with running_anvil(chain_id, *options) as anvil:
        web3 = Web3(HTTPProvider(anvil.url))
        anvil_request(web3, "anvil_setBlockTimestampInterval", 1)
        contracts = deploy_contracts(web3)
        state = read_state(web3)
        tip = web3.eth.get_block("latest")
    return Deployment(contracts, state, tip["number"], tip["timestamp"])


def deploy_contracts(web3: Web3) -> dict[str, ChecksumAddress]:
    """Deploy all contracts from account 0 and return their addresses by manifest key.

    The order never depends on anything outside, so the addresses are the same on every run.

    Raises:
        ChainError: a transaction was refused or reverted.

    """
    deployer = Deployer(web3)
    weth = deployer.deploy(packaged(AAVE, "dependencies/weth/WETH9.sol/WETH9"))
    tokens = deploy_tokens(deployer)
    feeds = deploy_feeds(deployer)
    market = deploy_aave(
        deployer,
        weth_reserve(weth.address, feeds["eth_usd_feed"]),
        usdt_reserve(tokens.usdt.address, feeds["usdt_usd_feed"]),
        tokens.usdt,
    )
    exchange = deploy_uniswap(deployer, weth, tokens.usdt, tokens.usdtz)
    governance = deploy_timelock(deployer)
    rest = {
        **governance,
        **deploy_redemption(deployer, tokens, governance["timelock"]),
        **deploy_safe(deployer),
        **deploy_ledger(deployer),
        "multicall3": deployer.deploy(multicall()).address,
    }
    rest |= create_treasury(deployer, rest)
    held = {"weth": weth.address, "usdt": tokens.usdt.address, "usdtz": tokens.usdtz.address}
    contracts = {**held, **feeds, **market, **exchange, **rest}
    return contracts | deploy_registry(deployer, contracts)
