"""Safe and the timelock do what their deployments are for."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from web3 import Web3
from web3.exceptions import ContractCustomError
from web3.logs import DISCARD

from deploy.chain.artifacts import OPENZEPPELIN, SAFE, packaged
from deploy.chain.governance import SAFE_CONTRACTS
from tests.chain.chain import OWNER, REDEEM

if TYPE_CHECKING:
    from web3.contract import Contract

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


def test_the_timelock_operates_the_module_after_an_hour(chain: Chain) -> None:
    timelock = _at(chain, OPENZEPPELIN, "TimelockController", "timelock")
    module = chain.contract("redemption")
    assert timelock.functions.getMinDelay().call() == HOUR
    chain.send(module.functions.transferOwnership(timelock.address))
    data = module.encode_abi("setFrozen", [REDEEM, True])
    operation = (module.address, 0, data, NOTHING, NOTHING)
    chain.send(timelock.functions.schedule(*operation, HOUR))

    with pytest.raises(ContractCustomError):
        timelock.functions.execute(*operation).call({"from": OWNER})
    chain.mine_at(chain.now() + HOUR)
    chain.send(timelock.functions.execute(*operation))

    assert module.functions.redeemFrozen().call()
