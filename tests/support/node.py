"""A stack's chain as tests see it: balances, the operator's freeze, and blocks on demand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from activities.protocols import erc20, uniswap
from activities.protocols.abi import Function
from deploy.chain.deployer import DEPLOYER
from starters.local import anvil
from starters.local.probes import rpc
from starters.local.processes import wait_until
from starters.local.stack import Stack

OWNER: Final = DEPLOYER
"""Owns the tokens and the price feeds, operates the redemption module; the node signs for it."""

_SET_FROZEN: Final = Function("setFrozen(uint8,bool)")
_SET_FEE: Final = Function("setFeeBps(uint256)")
_WITHDRAW_RESERVE: Final = Function("withdrawReserve(uint256,address)")
_SET_ANSWER: Final = Function("setAnswer(int192)")
_ISSUE: Final = Function("issue(uint256)")
_ISSUE_DISCOUNT: Final = Function("issue(uint256,address)")
_REDEEM: Final = 0
_POOL_FEE: Final = 100
_TOKENS: Final = ("weth", "usdt", "usdtz", "a_weth", "variable_debt_usdt")
_GAS: Final = hex(500_000)


@dataclass(frozen=True)
class Node:
    """One chain of a stack."""

    chain_id: int
    port: int

    @classmethod
    def of(cls, stack: Stack, chain_id: int = 138) -> Node:
        """The node of one chain of a stack."""
        return cls(chain_id, stack.port(anvil.name(chain_id)))

    @cached_property
    def contracts(self) -> dict[str, str]:
        """Addresses by their names in the manifest."""
        contracts: dict[str, str] = anvil.manifest(self.chain_id)["contracts"]
        return contracts

    def ask(self, method: str, *parameters: object) -> Any:
        """Call any JSON-RPC method."""
        return rpc(self.port, method, *parameters, timeout=30.0)

    # -- looking --------------------------------------------------------------------------------

    def head(self) -> int:
        """The newest block's number."""
        return int(self.ask("eth_blockNumber"), 16)

    def wei(self, account: str) -> int:
        """The ether of an account, in wei."""
        return int(self.ask("eth_getBalance", account, "latest"), 16)

    def token(self, name: str, account: str) -> int:
        """What an account holds of a token, in its smallest unit."""
        call = {"to": self.contracts[name], "data": erc20.BALANCE_OF.encode(account)}
        return int(self.ask("eth_call", call, "latest"), 16)

    def holdings(self, account: str) -> dict[str, int]:
        """Everything that a deal's account can hold or owe, what is zero left out."""
        held = {name: self.token(name, account) for name in _TOKENS} | {"wei": self.wei(account)}
        return {name: units for name, units in held.items() if units}

    def nonce(self, account: str, block: str = "latest") -> int:
        """How many transactions of an account are mined, or `pending` as well."""
        return int(self.ask("eth_getTransactionCount", account, block), 16)

    def receipt(self, transaction: str) -> dict[str, Any] | None:
        """The receipt of a transaction; None while it is not mined."""
        found: dict[str, Any] | None = self.ask("eth_getTransactionReceipt", transaction)
        return found

    def block_of(self, transaction: str | None) -> str | None:
        """The hash of the block that a transaction is in; None while it is in none."""
        found = self.receipt(transaction) if transaction else None
        return found and str(found["blockHash"])

    def knows(self, transaction: str) -> bool:
        """Whether the node has the transaction, mined or waiting."""
        return self.ask("eth_getTransactionByHash", transaction) is not None

    # -- blocks ---------------------------------------------------------------------------------

    @contextmanager
    def held(self) -> Iterator[None]:
        """Mine no block by itself: what is sent waits until `mine`, or until this ends."""
        self.ask("evm_setAutomine", False)  # noqa: FBT003 - JSON-RPC positional
        self.ask("evm_setIntervalMining", 0)
        try:
            yield
        finally:
            self.release()

    def release(self) -> None:
        """Mine what waits, and from now on everything at once."""
        self.ask("evm_setAutomine", True)  # noqa: FBT003 - JSON-RPC positional
        self.mine()

    def mine(self) -> None:
        """Mine one block with all that waits."""
        self.ask("evm_mine")

    @contextmanager
    def blocks_of(self, gas: int) -> Iterator[None]:
        """Have room for only so much gas in a block."""
        usual = self.ask("eth_getBlockByNumber", "latest", False)["gasLimit"]  # noqa: FBT003 - positional
        self.ask("evm_setBlockGasLimit", hex(gas))
        try:
            yield
        finally:
            self.ask("evm_setBlockGasLimit", usual)

    # -- the operator ---------------------------------------------------------------------------

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Freeze the redemption of USDTz; reopen it in the end."""
        self.freeze()
        try:
            yield
        finally:
            self.thaw()

    def freeze(self) -> None:
        """Freeze the redemption of USDTz."""
        self._order("redemption", _SET_FROZEN.encode(_REDEEM, True))  # noqa: FBT003 - the ABI's order

    def freeze_first(self) -> None:
        """Freeze the redemption in the next block, before all that waits for it already."""
        self._order_first("redemption", _SET_FROZEN.encode(_REDEEM, True))  # noqa: FBT003 - the ABI's order

    def thaw(self) -> None:
        """Reopen the redemption of USDTz."""
        self._order("redemption", _SET_FROZEN.encode(_REDEEM, False))  # noqa: FBT003 - the ABI's order

    def empty_reserve(self) -> int:
        """Take out what redemptions are paid from; returns how much it was, for `refill`."""
        held = self.token("usdt", self.contracts["redemption"])
        self._order("redemption", _WITHDRAW_RESERVE.encode(held, OWNER))
        return held

    def refill(self, units: int) -> None:
        """Put it back."""
        self._order("usdt", erc20.TRANSFER.encode(self.contracts["redemption"], units))

    @contextmanager
    def redemption_fee(self, basis_points: int, usual: int = 5) -> Iterator[None]:
        """Have redemption cost that much."""
        self.as_timelock("redemption", _SET_FEE.encode(basis_points))
        try:
            yield
        finally:
            self.as_timelock("redemption", _SET_FEE.encode(usual))

    @contextmanager
    def dearer_discount(self, dollars: int = 40_000_000) -> Iterator[None]:
        """Buy the discount token in the next block, before all that waits for it; sell it again."""
        amount, held = dollars * 10**6, self.token("usdtz", OWNER)
        self._order_first("usdt", _ISSUE.encode(amount))
        self._trade("usdt", "usdtz", amount, self._order_first)
        yield
        self._trade("usdtz", "usdt", self.token("usdtz", OWNER) - held, self._order)

    @contextmanager
    def cheaper_discount(self, dollars: int = 40_000_000) -> Iterator[None]:
        """Sell the discount token for so much less than par that nobody else can; buy it back."""
        amount, redemption = dollars * 10**6, self.contracts["redemption"]
        self._order("usdt", _ISSUE.encode(2 * amount))
        self._order("usdt", erc20.APPROVE.encode(redemption, 2 * amount))
        self._order("redemption", _ISSUE_DISCOUNT.encode(amount, OWNER))
        self._order("usdt", erc20.APPROVE.encode(redemption, 0))
        held = self.token("usdt", OWNER)
        self._trade("usdtz", "usdt", amount, self._order)
        yield
        self._trade("usdt", "usdtz", self.token("usdt", OWNER) - held, self._order)

    def _trade(self, give: str, get: str, amount: int, order: Callable[[str, str], None]) -> None:
        """Swap the operator's tokens for whatever it gets, by calls that are ordered like this."""
        swap = _swap(self.contracts[give], self.contracts[get], amount)
        order(give, erc20.APPROVE.encode(self.contracts["uniswap_router"], amount))
        order("uniswap_router", swap)

    def ether_price(self, usd8: int) -> None:
        """Set the price of ether, in 1e-8 USD."""
        self._order("eth_usd_feed", _SET_ANSWER.encode(usd8))

    def _order_first(self, contract: str, data: str) -> None:
        """Have the operator's call wait for the next block, with a tip that puts it first."""
        fees = {"maxPriorityFeePerGas": hex(10**10), "maxFeePerGas": hex(10**11)}
        call = {"from": OWNER, "to": self.contracts[contract], "gas": _GAS, "data": data}
        self.ask("eth_sendTransaction", call | fees)

    def as_timelock(self, contract: str, data: str) -> None:
        """Have the timelock call, without the delay: what tests may and nobody else can."""
        self._as("timelock", contract, data)

    def as_itself(self, contract: str, data: str) -> None:
        """Have a contract call itself, as a Safe does when it changes."""
        self._as(contract, contract, data)

    def _as(self, caller: str, contract: str, data: str) -> None:
        sender = self.contracts[caller]
        self.ask("anvil_setBalance", sender, hex(10**18))
        self.ask("anvil_impersonateAccount", sender)
        self._order(contract, data, sender)
        self.ask("anvil_stopImpersonatingAccount", sender)

    def _order(self, contract: str, data: str, sender: str = OWNER) -> None:
        call = {"from": sender, "to": self.contracts[contract], "data": data, "gas": _GAS}
        sent = self.ask("eth_sendTransaction", call)
        if not wait_until(lambda: self.receipt(sent) is not None, timeout=0.2):
            self.mine()  # rather than wait for the next block
        assert wait_until(lambda: self.receipt(sent) is not None, timeout=10)
        receipt = self.receipt(sent)
        assert receipt is not None
        assert receipt["status"] == "0x1", f"the operator's call of {contract} reverted"


def _swap(give: str, get: str, amount: int) -> str:
    """The operator's swap, for whatever it gets, before any deadline."""
    return uniswap.EXACT_INPUT_SINGLE.encode((give, get, _POOL_FEE, OWNER, 2**64, amount, 0, 0))
