"""Safe 1.4.1 and OpenZeppelin's timelock: who may decide, and how long it takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploy.chain.artifacts import OPENZEPPELIN, SAFE, packaged
from deploy.chain.deployer import DEPLOYER

if TYPE_CHECKING:
    from eth_typing import ChecksumAddress

    from deploy.chain.deployer import Deployer

TIMELOCK_DELAY = 3_600  # seconds

HANDLER = "CompatibilityFallbackHandler"
SAFE_CONTRACTS = {
    "safe_singleton": "Safe.sol/Safe",
    "safe_singleton_l2": "SafeL2.sol/SafeL2",
    "safe_proxy_factory": "proxies/SafeProxyFactory.sol/SafeProxyFactory",
    "safe_fallback_handler": f"handler/{HANDLER}.sol/{HANDLER}",
    "safe_multi_send": "libraries/MultiSend.sol/MultiSend",
}


def deploy_safe(deployer: Deployer) -> dict[str, ChecksumAddress]:
    """Put Safe's contracts on the chain; wallets are created later, by the proxy factory."""
    return {
        key: deployer.deploy(packaged(SAFE, file)).address for key, file in SAFE_CONTRACTS.items()
    }


def deploy_timelock(deployer: Deployer) -> dict[str, ChecksumAddress]:
    """Put a timelock of one hour on the chain; the deployer proposes, executes, and administers."""
    artifact = packaged(OPENZEPPELIN, "TimelockController")
    timelock = deployer.deploy(artifact, TIMELOCK_DELAY, [DEPLOYER], [DEPLOYER], DEPLOYER)
    return {"timelock": timelock.address}
