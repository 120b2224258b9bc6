"""Our own contracts: tokens, price feeds, the redemption module, and the ledger of executions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from deploy.chain.artifacts import own
from deploy.chain.deployer import DEPLOYER

if TYPE_CHECKING:
    from eth_typing import ChecksumAddress
    from web3.contract import Contract

    from deploy.chain.deployer import Deployer

MILLION = 10**6 * 10**6  # a million tokens in units of 1e-6

USDT_ISSUED = 1_000 * MILLION
USDTZ_ISSUED = 100 * MILLION
REDEMPTION_RESERVE = 200 * MILLION
REDEMPTION_FEE_BPS = 5
REDEMPTION_DAILY_CAP = 100 * MILLION

# What is priced, and the first price in 1e-8 USD.
FEEDS = {
    "eth_usd_feed": ("ETH / USD", 3_000 * 10**8),
    "usdt_usd_feed": ("USDT / USD", 10**8),
    "usdtz_usd_feed": ("USDTz / USD", 10**8),
}


@dataclass(frozen=True)
class Tokens:
    """The two dollar tokens; the deployer owns both and holds what it issued."""

    usdt: Contract
    usdtz: Contract


def deploy_tokens(deployer: Deployer) -> Tokens:
    """Put USDT and USDTz on the chain and issue the deployer's holdings."""
    tokens = Tokens(deployer.deploy(own("USDT"), DEPLOYER), deployer.deploy(own("USDTz"), DEPLOYER))
    deployer.call(tokens.usdt, "issue", USDT_ISSUED)
    deployer.call(tokens.usdtz, "mint", DEPLOYER, USDTZ_ISSUED)
    return tokens


def deploy_feeds(deployer: Deployer) -> dict[str, ChecksumAddress]:
    """Put the price feeds on the chain."""
    feed = own("PriceFeed")
    return {
        key: deployer.deploy(feed, DEPLOYER, description, price).address
        for key, (description, price) in FEEDS.items()
    }


def deploy_redemption(
    deployer: Deployer, tokens: Tokens, owner: ChecksumAddress
) -> dict[str, ChecksumAddress]:
    """Put the redemption module on the chain, open both ways, with its reserve.

    The deployer operates it; its terms are the owner's.
    """
    module = deployer.deploy(
        own("RedemptionModule"),
        owner,
        DEPLOYER,
        tokens.usdt.address,
        tokens.usdtz.address,
        REDEMPTION_FEE_BPS,
        REDEMPTION_DAILY_CAP,
    )
    deployer.call(tokens.usdtz, "setMinter", module.address, True)  # noqa: FBT003 - the ABI's order
    deployer.call(tokens.usdt, "transfer", module.address, REDEMPTION_RESERVE)
    return {"redemption": module.address}


def deploy_ledger(deployer: Deployer) -> dict[str, ChecksumAddress]:
    """Put the ledger of executions on the chain."""
    return {"ledger": deployer.deploy(own("Ledger")).address}
