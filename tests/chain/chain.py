"""What the tests say to the deployed contracts."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from web3 import Web3
from web3.exceptions import ContractCustomError

from deploy.chain.deployer import DEPLOYER
from deploy.chain.rehearsal import contract
from deploy.chain.snapshots import anvil_request

if TYPE_CHECKING:
    from pathlib import Path

    from eth_typing import ChecksumAddress
    from web3.contract import Contract
    from web3.contract.contract import ContractFunction
    from web3.types import TxReceipt

CHAIN_ID = 138
OWNER = DEPLOYER
DOLLAR = 10**6  # one USDT or USDTz in base units
REDEEM, ISSUE = 0, 1


@dataclass(frozen=True)
class Chain:
    """A node and the manifest of what is deployed on it."""

    web3: Web3
    manifest: Path

    @property
    def people(self) -> list[ChecksumAddress]:
        """The accounts that the node signs for; the first is the owner of our contracts."""
        return list(self.web3.eth.accounts)

    def contract(self, key: str) -> Contract:
        """Return a contract by its manifest key."""
        return contract(self.web3, self.manifest, key)

    def send(self, function: ContractFunction, sender: str = OWNER) -> TxReceipt:
        """Send a call, mine it, and return its receipt."""
        sent = function.transact({"from": sender})
        receipt = self.web3.eth.wait_for_transaction_receipt(sent, poll_latency=0.01)
        assert receipt["status"] == 1
        return receipt

    @property
    def timelock(self) -> ChecksumAddress:
        """The timelock, which tests act as without its delay."""
        timelock = Web3.to_checksum_address(
            json.loads(self.manifest.read_text())["contracts"]["timelock"]
        )
        anvil_request(self.web3, "anvil_setBalance", timelock, hex(10**18))
        anvil_request(self.web3, "anvil_impersonateAccount", timelock)
        return timelock

    def mine_at(self, timestamp: int) -> None:
        """Mine an empty block at a time (Unix seconds) later than the latest block's."""
        anvil_request(self.web3, "evm_setNextBlockTimestamp", timestamp)
        anvil_request(self.web3, "evm_mine")

    def now(self) -> int:
        """Return the latest block's time in Unix seconds."""
        return self.web3.eth.get_block("latest")["timestamp"]

    def give_usdtz(self, recipient: str, amount: int) -> None:
        """Mint USDTz (1e-6) to someone who lets the redemption module take it."""
        token, module = self.contract("usdtz"), self.contract("redemption")
        self.send(token.functions.mint(recipient, amount))
        self.send(token.functions.approve(module.address, amount), recipient)


def refusal(contract: Contract, function: ContractFunction, sender: str) -> tuple[Any, ...]:
    """Call a function that must be refused; return the custom error's name and its arguments."""
    with pytest.raises(ContractCustomError) as caught:
        function.call({"from": sender})
    data = bytes.fromhex(str(caught.value.data).removeprefix("0x"))
    errors = (entry for entry in contract.abi if entry["type"] == "error")
    for error in errors:
        types = [parameter["type"] for parameter in error.get("inputs", ())]
        if Web3.keccak(text=f"{error['name']}({','.join(types)})")[:4] == data[:4]:
            return (error["name"], *contract.w3.codec.decode(types, data[4:]))
    return ("unknown", data.hex())
