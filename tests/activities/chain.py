"""A real node as tests speak to it: asked synchronously, beside the engine."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from web3 import HTTPProvider, Web3
from web3.contract import Contract
from web3.types import RPCEndpoint, RPCResponse

from deploy.chain.artifacts import AAVE, UNISWAP_CORE, UNISWAP_PERIPHERY, packaged
from deploy.chain.deployer import DEPLOYER
from deploy.chain.manifest import manifest_file
from deploy.chain.rehearsal import ARTIFACTS

CHAIN: Final = 138
OWNER: Final = DEPLOYER
DOLLAR: Final = 10**6
ETHER: Final = 10**18
GWEI: Final = 10**9

_TERMS: Final = frozenset({"setFeeBps", "setDailyCap"})
"""What only the redemption's owner sets."""

_ARTIFACTS: Final = ARTIFACTS | {
    "usdt_usdtz_pool": lambda: packaged(UNISWAP_CORE, "UniswapV3Pool.sol/UniswapV3Pool"),
    "uniswap_position_manager": lambda: packaged(
        UNISWAP_PERIPHERY, "NonfungiblePositionManager.sol/NonfungiblePositionManager"
    ),
    "aave_pool_configurator": lambda: packaged(
        AAVE, "protocol/pool/PoolConfigurator.sol/PoolConfigurator"
    ),
    "usdt_usd_feed": ARTIFACTS["eth_usd_feed"],
    "usdtz_usd_feed": ARTIFACTS["eth_usd_feed"],
    "aave_oracle": lambda: packaged(AAVE, "misc/AaveOracle.sol/AaveOracle"),
    "aave_data_provider": lambda: packaged(
        AAVE, "misc/AaveProtocolDataProvider.sol/AaveProtocolDataProvider"
    ),
    "a_weth": ARTIFACTS["usdt"],
    "variable_debt_usdt": ARTIFACTS["usdt"],
}


@dataclass(frozen=True)
class Node:
    """anvil, and the contracts that are deployed on it."""

    url: str

    @cached_property
    def web3(self) -> Web3:
        return Web3(HTTPProvider(self.url))

    @cached_property
    def manifest(self) -> dict[str, str]:
        path: Path = manifest_file(CHAIN)
        contracts: dict[str, str] = json.loads(path.read_text())["contracts"]
        return contracts

    def contract(self, name: str) -> Contract:
        """A contract by its name in the manifest."""
        address = self.web3.to_checksum_address(self.manifest[name])
        found: Contract = self.web3.eth.contract(address=address, abi=_ARTIFACTS[name]().abi)
        return found

    def read(self, name: str, function: str, *arguments: object) -> Any:
        """The answer of a contract's view."""
        return self.contract(name).functions[function](*arguments).call()

    def send(
        self,
        name: str,
        function: str,
        *arguments: object,
        sender: str | None = None,
        mine: bool = True,
    ) -> str:
        """Call a contract in a transaction that is mined and must succeed; return its hash.

        By default as the owner; of the redemption's terms that is the timelock.
        """
        sender = sender or (self.timelock if function in _TERMS else OWNER)
        call = self.contract(name).functions[function](*arguments)
        options: dict[str, Any] = {"from": sender}
        if not mine:  # estimating would look at a state without what is pending
            options["gas"] = 1_000_000
        sent = call.transact(options)
        if mine:
            receipt = self.web3.eth.wait_for_transaction_receipt(sent, poll_latency=0.005)
            assert receipt["status"] == 1
        return sent.to_0x_hex()

    @cached_property
    def timelock(self) -> str:
        """The timelock, which tests act as without its delay."""
        timelock = self.manifest["timelock"]
        self.ask("anvil_setBalance", timelock, hex(ETHER))
        self.ask("anvil_impersonateAccount", timelock)
        return timelock

    def send_as(self, sender: str, name: str, function: str, *arguments: object) -> None:
        """The same from an account whose key the node does not have."""
        self.ask("anvil_impersonateAccount", sender)
        self.send(name, function, *arguments, sender=sender)
        self.ask("anvil_stopImpersonatingAccount", sender)

    def ask(self, method: str, *params: object) -> Any:
        """The result of any JSON-RPC method."""
        response: RPCResponse = self.web3.provider.make_request(RPCEndpoint(method), list(params))
        assert "error" not in response, response
        return response["result"]

    def mine(self, blocks: int = 1, seconds_apart: int = 1) -> None:
        self.ask("anvil_mine", hex(blocks), hex(seconds_apart))

    def automine(self, *, on: bool) -> None:
        self.ask("evm_setAutomine", on)

    def pending(self) -> int:
        """How many transactions wait in the pool to be mined."""
        return int(self.ask("txpool_status")["pending"], 16)

    def base_fee(self) -> int:
        """The next block's base fee in wei."""
        return int(self.ask("eth_feeHistory", "0x1", "latest", [])["baseFeePerGas"][-1], 16)

    def next_base_fee(self, wei: int) -> None:
        self.ask("anvil_setNextBlockBaseFeePerGas", hex(wei))

    def block(self, which: str = "latest") -> dict[str, Any]:
        found: dict[str, Any] = self.ask("eth_getBlockByNumber", which, False)  # noqa: FBT003 - JSON-RPC positional
        return found

    def head(self) -> int:
        return int(self.ask("eth_blockNumber"), 16)

    def ether(self, account: str) -> int:
        return int(self.ask("eth_getBalance", account, "latest"), 16)

    def give_ether(self, account: str, wei: int) -> None:
        self.ask("anvil_setBalance", account, hex(wei))

    def nonce(self, account: str) -> int:
        return int(self.ask("eth_getTransactionCount", account, "latest"), 16)

    def balance(self, token: str, account: str) -> int:
        return int(self.read(token, "balanceOf", account))

    def receipt(self, transaction: str) -> dict[str, Any] | None:
        found: dict[str, Any] | None = self.ask("eth_getTransactionReceipt", transaction)
        return found
