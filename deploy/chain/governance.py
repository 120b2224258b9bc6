"""Safe 1.4.1 and OpenZeppelin's timelock: who may decide, and how long it takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eth_utils.address import to_checksum_address

from deploy.chain.artifacts import OPENZEPPELIN, SAFE, own, packaged

if TYPE_CHECKING:
    from eth_typing import ChecksumAddress

    from deploy.chain.deployer import Deployer

TIMELOCK_DELAY = 3_600  # seconds

# Accounts 7 to 9 of the mnemonic that every development node knows: their keys are public, and the
# local stack writes each into a keystore file of its own, as three people would have it.
OWNERS = tuple(
    to_checksum_address(address)
    for address in (
        "0x14dC79964da2C08b23698B3D3cc7Ca32193d9955",
        "0x23618e81E3f5cdF7f54C3d65f7FBc0aBf5B21E8f",
        "0xa0Ee7A142d267C1f36714E4a8F75612F20a79720",
    )
)
THRESHOLD = 2
NOBODY = "0x0000000000000000000000000000000000000000"

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


def create_treasury(
    deployer: Deployer, safe: dict[str, ChecksumAddress]
) -> dict[str, ChecksumAddress]:
    """Have the factory make the Safe that pays for large deals: two of its three owners decide.

    Who they are changes by the timelock only, through the governor that is its module and guard.
    """
    governor = deployer.deploy(own("SafeGovernor"), safe["timelock"])
    governing = deployer.deploy(own("SafeSetup"))
    govern = governing.encode_abi("govern", [governor.address])
    singleton = deployer.at(
        packaged(SAFE, SAFE_CONTRACTS["safe_singleton_l2"]), safe["safe_singleton_l2"]
    )
    factory = deployer.at(
        packaged(SAFE, SAFE_CONTRACTS["safe_proxy_factory"]), safe["safe_proxy_factory"]
    )
    handler = safe["safe_fallback_handler"]
    people = [list(OWNERS), THRESHOLD]
    arguments = [*people, governing.address, govern, handler, NOBODY, 0, NOBODY]
    setup = singleton.encode_abi("setup", arguments)
    creation = (singleton.address, setup, 0)
    # Where it will be depends on all of that; the factory knows once it is on the chain itself.
    deployer.flush()
    address = factory.functions.createProxyWithNonce(*creation).call()
    deployer.call(factory, "createProxyWithNonce", *creation)
    deployer.flush()
    return {"treasury_safe": address, "safe_governor": governor.address}


def deploy_timelock(deployer: Deployer) -> dict[str, ChecksumAddress]:
    """Put a timelock of one hour on the chain, which nobody but itself administers.

    Who proposes, executes and cancels is the desk's fee account, which there is not yet: the local
    stack grants it these roles as the timelock.
    """
    artifact = packaged(OPENZEPPELIN, "TimelockController")
    timelock = deployer.deploy(artifact, TIMELOCK_DELAY, [], [], NOBODY)
    return {"timelock": timelock.address}


# What deals call, by the names of the manifest.
DESTINATIONS = ("weth", "aave_pool", "uniswap_router", "redemption", "usdt", "usdtz")


def deploy_registry(
    deployer: Deployer, contracts: dict[str, ChecksumAddress]
) -> dict[str, ChecksumAddress]:
    """Put the desk's registry on the chain: the Safe is the treasury, deals call what they need."""
    destinations = [contracts[name] for name in DESTINATIONS]
    registry = deployer.deploy(
        own("DeskRegistry"), contracts["timelock"], contracts["treasury_safe"], destinations
    )
    deployer.flush()
    return {"desk_registry": registry.address}
