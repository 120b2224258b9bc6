"""Safe and the timelock do what their deployments are for."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from web3 import Web3
from web3.exceptions import ContractCustomError
from web3.logs import DISCARD

from deploy.chain.artifacts import OPENZEPPELIN, SAFE, own, packaged
from deploy.chain.governance import DESTINATIONS, OWNERS, SAFE_CONTRACTS, THRESHOLD
from tests.chain.chain import OWNER, refusal

if TYPE_CHECKING:
    from web3.contract import Contract
    from web3.contract.contract import ContractFunction

    from tests.chain.chain import Chain

NOBODY = "0x0000000000000000000000000000000000000000"
NOTHING = bytes(32)
HOUR = 3_600


def _at(chain: Chain, folder: str, file: str, key: str) -> Contract:
    address = json.loads(chain.manifest.read_text())["contracts"][key]
    abi = packaged(folder, file).abi
    contract: Contract = chain.web3.eth.contract(address=address, abi=abi)
    return contract


def _wallet(chain: Chain, singleton: str) -> Contract:
    """Create a Safe of two owners who must both agree."""
    safe = _at(chain, SAFE, SAFE_CONTRACTS[singleton], singleton)
    factory = _at(chain, SAFE, SAFE_CONTRACTS["safe_proxy_factory"], "safe_proxy_factory")
    manifest = json.loads(chain.manifest.read_text())["contracts"]
    owners = chain.people[1:3]
    handler = manifest["safe_fallback_handler"]
    setup = safe.encode_abi("setup", [owners, 2, NOBODY, b"", handler, NOBODY, 0, NOBODY])
    receipt = chain.send(factory.functions.createProxyWithNonce(safe.address, setup, 7))
    (created,) = factory.events.ProxyCreation().process_receipt(receipt, errors=DISCARD)
    wallet: Contract = chain.web3.eth.contract(address=created["args"]["proxy"], abi=safe.abi)
    return wallet


@pytest.mark.parametrize("singleton", ["safe_singleton", "safe_singleton_l2"])
def test_a_safe_acts_once_both_owners_agree(chain: Chain, singleton: str) -> None:
    wallet = _wallet(chain, singleton)
    assert wallet.functions.VERSION().call() == "1.4.1"
    ledger = chain.contract("ledger")
    intent = Web3.keccak(text=singleton)
    data = ledger.encode_abi("record", [intent])
    action = (ledger.address, 0, data, 0, 0, 0, 0, NOBODY, NOBODY)
    digest = wallet.functions.getTransactionHash(*action, 0).call()
    owners = sorted(chain.people[1:3], key=lambda owner: int(owner, 16))
    for owner in owners:
        chain.send(wallet.functions.approveHash(digest), owner)
    # Safe's form for "this owner has approved the hash on chain": r is the owner, v is 1.
    approvals = b"".join(
        bytes.fromhex(owner[2:]).rjust(32, b"\0") + bytes(32) + b"\1" for owner in owners
    )

    chain.send(wallet.functions.execTransaction(*action, approvals), chain.people[5])

    assert ledger.functions.executions(intent).call() == 1


ROLES = ("PROPOSER_ROLE", "EXECUTOR_ROLE", "CANCELLER_ROLE")


@pytest.fixture
def timelock(chain: Chain) -> Contract:
    """Return the timelock, whose roles a person of ours has."""
    timelock = _at(chain, OPENZEPPELIN, "TimelockController", "timelock")
    for role in ROLES:
        granted = timelock.functions[role]().call()
        chain.send(timelock.functions.grantRole(granted, chain.people[1]), chain.timelock)
    return timelock


def _after_an_hour(chain: Chain, timelock: Contract, target: Contract, data: str) -> None:
    """Schedule a call, see that it is not done early, and do it when it is time."""
    operator = chain.people[1]
    operation = (target.address, 0, data, NOTHING, NOTHING)
    chain.send(timelock.functions.schedule(*operation, HOUR), operator)
    with pytest.raises(ContractCustomError):
        timelock.functions.execute(*operation).call({"from": operator})
    chain.mine_at(chain.now() + HOUR)
    chain.send(timelock.functions.execute(*operation), operator)


def test_the_timelock_sets_the_terms_of_redemption_after_an_hour(
    chain: Chain, timelock: Contract
) -> None:
    module = chain.contract("redemption")
    assert timelock.functions.getMinDelay().call() == HOUR
    _after_an_hour(chain, timelock, module, module.encode_abi("setFeeBps", [7]))
    assert module.functions.feeBps().call() == 7


def test_nobody_has_a_role_of_the_timelock_but_itself(chain: Chain) -> None:
    timelock = _at(chain, OPENZEPPELIN, "TimelockController", "timelock")
    admin = timelock.functions.DEFAULT_ADMIN_ROLE().call()
    assert timelock.functions.hasRole(admin, timelock.address).call()
    for role in (admin, *(timelock.functions[name]().call() for name in ROLES)):
        for somebody in (NOBODY, *chain.people[:10]):
            assert not timelock.functions.hasRole(role, somebody).call()


def _own(chain: Chain, name: str, key: str) -> Contract:
    address = json.loads(chain.manifest.read_text())["contracts"][key]
    contract: Contract = chain.web3.eth.contract(address=address, abi=own(name).abi)
    return contract


def test_the_registry_changes_by_the_timelock_only(chain: Chain, timelock: Contract) -> None:
    registry = _own(chain, "DeskRegistry", "desk_registry")
    contracts = json.loads(chain.manifest.read_text())["contracts"]
    assert registry.functions.treasury().call() == contracts["treasury_safe"]
    for name in DESTINATIONS:
        assert registry.functions.allowed(contracts[name]).call()
    change = registry.functions.setTreasury(chain.people[2])
    assert refusal(registry, change, OWNER)[0] == "OwnableUnauthorizedAccount"
    _after_an_hour(chain, timelock, registry, registry.encode_abi("setTreasury", [chain.people[2]]))
    assert registry.functions.treasury().call() == chain.people[2]
    router = contracts["uniswap_router"]
    _after_an_hour(
        chain, timelock, registry, registry.encode_abi("setDestination", [router, False])
    )
    assert not registry.functions.allowed(router).call()
    for nobody in (
        registry.functions.setTreasury(NOBODY),
        registry.functions.setDestination(NOBODY, True),  # noqa: FBT003 - the ABI's order
    ):
        assert refusal(registry, nobody, chain.timelock) == ("ZeroAddress",)


def test_an_owner_of_the_treasury_is_replaced_by_the_timelock(
    chain: Chain, timelock: Contract
) -> None:
    safe = _at(chain, SAFE, SAFE_CONTRACTS["safe_singleton"], "treasury_safe")
    governor = _own(chain, "SafeGovernor", "safe_governor")
    new = chain.people[2]
    for old in OWNERS:  # wherever it is in the Safe's list
        data = governor.encode_abi("swapOwner", [safe.address, old, new])
        _after_an_hour(chain, timelock, governor, data)
        assert new in safe.functions.getOwners().call()
        assert old not in safe.functions.getOwners().call()
        new = old
    assert safe.functions.getThreshold().call() == THRESHOLD


def test_the_governor_swaps_owners_for_the_timelock_and_does_nothing_else(chain: Chain) -> None:
    safe = _at(chain, SAFE, SAFE_CONTRACTS["safe_singleton"], "treasury_safe")
    governor = _own(chain, "SafeGovernor", "safe_governor")
    first, second, _ = OWNERS
    swap = governor.functions.swapOwner
    by_owner = swap(safe.address, first, chain.people[2])
    assert refusal(governor, by_owner, first)[0] == "OwnableUnauthorizedAccount"
    assert refusal(governor, swap(safe.address, OWNER, chain.people[2]), chain.timelock) == (
        "NotAnOwner",
        OWNER.lower(),
    )
    assert refusal(governor, swap(safe.address, first, second), chain.timelock) == (
        "SwapRefused",
        second.lower(),
    )


@pytest.mark.parametrize("change", ["swapOwner", "disableModule", "setGuard", "delegate call"])
def test_the_owners_cannot_change_the_safe_themselves(chain: Chain, change: str) -> None:
    safe = _at(chain, SAFE, SAFE_CONTRACTS["safe_singleton"], "treasury_safe")
    governor = _own(chain, "SafeGovernor", "safe_governor")
    data = {
        "swapOwner": safe.encode_abi(
            "swapOwner", ["0x" + "0" * 39 + "1", OWNERS[0], chain.people[2]]
        ),
        "disableModule": safe.encode_abi(
            "disableModule", ["0x" + "0" * 39 + "1", governor.address]
        ),
        "setGuard": safe.encode_abi("setGuard", [NOBODY]),
    }.get(change, "0x12345678")
    operation = 1 if change == "delegate call" else 0
    to = governor.address if operation else safe.address
    assert refusal(governor, _by_owners(chain, safe, to, data, operation), OWNER) == (
        "SafeIsGoverned",
        to.lower(),
        operation,
    )
    chain.send(_by_owners(chain, safe, safe.address, "0x", 0))  # uses up a nonce
    assert safe.functions.nonce().call() == 1


def _by_owners(
    chain: Chain, safe: Contract, to: str, data: str, operation: int
) -> ContractFunction:
    """Return a transaction of the Safe that two owners have approved."""
    action = (to, 0, data, operation, 0, 0, 0, NOBODY, NOBODY)
    digest = safe.functions.getTransactionHash(*action, safe.functions.nonce().call()).call()
    owners = sorted(OWNERS[:THRESHOLD], key=lambda owner: int(owner, 16))
    for owner in owners:
        chain.send(safe.functions.approveHash(digest), owner)
    approvals = b"".join(
        bytes.fromhex(owner[2:]).rjust(32, b"\0") + bytes(32) + b"\1" for owner in owners
    )
    return safe.functions.execTransaction(*action, approvals)
