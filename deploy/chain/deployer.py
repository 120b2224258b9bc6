"""Sends many dependent transactions quickly: consecutive nonces, one request for all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from eth_utils.address import to_checksum_address
from web3.types import Nonce, RPCEndpoint
from web3.utils import get_create_address

from deploy.chain.errors import ChainError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from web3 import HTTPProvider, Web3
    from web3.contract import Contract
    from web3.types import RPCResponse

    from deploy.chain.artifacts import Artifact

# Account 0 of the mnemonic that every development node knows ("test test ... junk"): anvil signs
# for it, and the same account and nonces give the same addresses on every run.
DEPLOYER = to_checksum_address("0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266")

# Above the largest deployment (about 5.5 million) and below the block's 30 million. A fixed limit
# saves an estimate for each transaction, which would have to wait for those before it.
GAS_LIMIT = 12_000_000
MAX_FEE = 10**10  # wei per gas: covers the first block's base fee of 1 gwei


class Deployer:
    """Collects deployments and calls, in order, until `flush` sends them.

    The node must mine on demand only (anvil's `--no-mining`).
    """

    def __init__(self, web3: Web3) -> None:
        """Start at the deployer's next nonce."""
        self.web3 = web3
        self._nonce: int = web3.eth.get_transaction_count(DEPLOYER)
        self._waiting: list[tuple[str, dict[str, str]]] = []

    def deploy(
        self, artifact: Artifact, *arguments: object, libraries: Mapping[str, str] | None = None
    ) -> Contract:
        """Collect a deployment and return the contract at the address that it will have."""
        code = artifact.linked(libraries or {})
        factory = self.web3.eth.contract(abi=artifact.abi, bytecode=code)
        data = factory.constructor(*arguments).data_in_transaction
        address = get_create_address(DEPLOYER, Nonce(self._nonce))
        self._collect(f"deploy {artifact.name}", {"data": data})
        return self.at(artifact, address)

    def call(self, contract: Contract, function: str, *arguments: object) -> None:
        """Collect a call of `function` on a contract."""
        data = contract.encode_abi(function, args=list(arguments))
        self._collect(function, {"to": contract.address, "data": data})

    def at(self, artifact: Artifact, address: str) -> Contract:
        """Return the contract at `address`, seen through the artifact's ABI."""
        return self.web3.eth.contract(address=to_checksum_address(address), abi=artifact.abi)

    def flush(self) -> int:
        """Send everything collected, check every receipt, and return how many there were.

        Raises:
            ChainError: a transaction was refused or reverted; the message says which.

        """
        sent, self._waiting = self._waiting, []
        hashes = self._request("eth_sendTransaction", [call for _, call in sent], sent)
        self._mine()
        receipts = self._request("eth_getTransactionReceipt", hashes, sent)
        for (label, _), receipt in zip(sent, receipts, strict=True):
            if int(receipt["status"], 16) != 1:
                message = f"deployment failed: {label} reverted"
                raise ChainError(message)
        return len(sent)

    def _mine(self) -> None:
        # Mined on demand, once all are waiting: how they share blocks is then the same every time.
        while (mined := self.web3.eth.get_transaction_count(DEPLOYER)) < self._nonce:
            self.web3.provider.make_request(RPCEndpoint("evm_mine"), [])
            if self.web3.eth.get_transaction_count(DEPLOYER) == mined:
                message = f"deployment failed: the transaction with nonce {mined} is never mined"
                raise ChainError(message)

    def _collect(self, label: str, call: dict[str, str]) -> None:
        common = {
            "from": DEPLOYER,
            "nonce": hex(self._nonce),
            "gas": hex(GAS_LIMIT),
            "maxFeePerGas": hex(MAX_FEE),
            "maxPriorityFeePerGas": hex(10**9),
        }
        self._waiting.append((label, common | call))
        self._nonce += 1

    def _request(
        self, method: str, parameters: list[Any], sent: list[tuple[str, dict[str, str]]]
    ) -> list[Any]:
        provider = cast("HTTPProvider", self.web3.provider)
        requests = [(RPCEndpoint(method), [parameter]) for parameter in parameters]
        responses = cast("list[RPCResponse]", provider.make_batch_request(requests))
        for (label, _), response in zip(sent, responses, strict=True):
            if response.get("result") is None:
                message = f"deployment failed: {label}: {response.get('error')}"
                raise ChainError(message)
        return [response["result"] for response in responses]
