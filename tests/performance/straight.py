"""The calls of a deal, sent one by one by a straight script: what the product is compared with.

Written as one would write it first with web3.py: each transaction is built with the library's
defaults (which estimate its gas and ask for the fees), signed, sent, and its receipt waited for
before the next one is built. Nothing is simulated beforehand, saved, checked against limits, or
repeated after a crash.

It is not slowed down: the connection is kept open, the nonces are counted here rather than asked
for, amounts are read only where the next call depends on them, and the receipt is asked for at
once and then every `--poll-latency` seconds (web3's own default is 0.1).
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eth_account import Account
from web3 import HTTPProvider, Web3
from web3.types import Nonce, TxParams, Wei

from deploy.chain.rehearsal import ALL, LTV_BPS, VARIABLE, contract
from deploy.chain.snapshots import anvil_request
from deploy.chain.uniswap import NO_DEADLINE, POOL_FEE

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount
    from web3.contract import Contract
    from web3.contract.contract import ContractFunction
    from web3.types import RPCEndpoint, RPCResponse

WEI_FOR_GAS = 10**18
SLIPPAGE_BPS = 50
TRANSFER_GAS = 21_000
GAS_MARGIN = 12_500  # of the estimate, in basis points: with none, Aave's calls fail now and then
_WHOLE = 10_000  # basis points


@dataclass(frozen=True)
class ScriptRun:
    """One run, by the script's own clock: from the first call to the last receipt.

    `blocks` and `hashes` go with the transactions in their order; `requests` are HTTP requests of
    one JSON-RPC call each; `memory` is the largest resident size in bytes.
    """

    seconds: float
    hashes: list[str]
    blocks: list[int]
    requests: int
    memory: int


class CountingProvider(HTTPProvider):
    """web3's provider, and how many requests it sent."""

    requests = 0

    def make_request(self, method: RPCEndpoint, params: Any) -> RPCResponse:
        """Count, then send."""
        self.requests += 1
        return super().make_request(method, params)


@dataclass
class Script:
    """One loop: `treasury` pays for it and gets everything back, `account` runs it."""

    web3: Web3
    manifest: Path
    treasury: LocalAccount
    account: LocalAccount
    liquidity: int  # wei
    poll_latency: float  # seconds
    hashes: list[str] = field(default_factory=list)
    blocks: list[int] = field(default_factory=list)
    nonces: dict[str, int] = field(default_factory=dict)

    def run(self) -> None:
        """Send all fifteen transactions of a deal, one after the other."""
        weth, usdt, usdtz, pool, router, redemption = (
            contract(self.web3, self.manifest, key)
            for key in ("weth", "usdt", "usdtz", "aave_pool", "uniswap_router", "redemption")
        )
        me = self.account.address
        self._pay(self.treasury, me, self.liquidity + WEI_FOR_GAS)
        self._call(weth.functions.deposit(), value=self.liquidity)
        self._call(weth.functions.approve(pool.address, self.liquidity))
        self._call(pool.functions.supply(weth.address, self.liquidity, me, 0))
        borrowed = self._affordable_loan()
        self._call(pool.functions.borrow(usdt.address, borrowed, VARIABLE, 0, me))
        self._call(usdt.functions.approve(router.address, borrowed))
        swap = (usdt.address, usdtz.address, POOL_FEE, me, NO_DEADLINE, borrowed)
        least = self._quote(usdt, usdtz, borrowed) * (_WHOLE - SLIPPAGE_BPS) // _WHOLE
        self._call(router.functions.exactInputSingle((*swap, least, 0)))
        bought = self._balance(usdtz)
        self._call(usdtz.functions.approve(redemption.address, bought))
        self._call(redemption.functions.redeem(bought, me))
        self._call(usdt.functions.approve(pool.address, self._balance(usdt)))
        self._call(pool.functions.repay(usdt.address, ALL, VARIABLE, me))
        self._call(pool.functions.withdraw(weth.address, ALL, me))
        self._call(weth.functions.withdraw(self._balance(weth)))
        self._call(usdt.functions.transfer(self.treasury.address, self._balance(usdt)))
        self._sweep()

    def _affordable_loan(self) -> int:
        """USDT (1e-6) that the collateral is lent at LTV_BPS."""
        feed = contract(self.web3, self.manifest, "eth_usd_feed")
        price = feed.functions.latestAnswer().call()
        # wei (1e-18) times 1e-8 USD is 1e-26 USD; USDT has 6 decimals.
        return int(self.liquidity * price * LTV_BPS // _WHOLE // 10**20)

    def _quote(self, give: Contract, get: Contract, amount: int) -> int:
        quoter = contract(self.web3, self.manifest, "uniswap_quoter")
        order = (give.address, get.address, amount, POOL_FEE, 0)
        return int(quoter.functions.quoteExactInputSingle(order).call()[0])

    def _balance(self, token: Contract) -> int:
        return int(token.functions.balanceOf(self.account.address).call())

    def _call(self, function: ContractFunction, value: int = 0) -> None:
        sender = self.account.address
        options: TxParams = {"from": sender, "nonce": self._nonce(sender), "value": Wei(value)}
        built = function.build_transaction(options)
        built["gas"] = built["gas"] * GAS_MARGIN // _WHOLE
        self._send(self.account, dict(built))

    def _pay(self, sender: LocalAccount, recipient: str, wei: int) -> None:
        priority, base = self._fees()
        fees = {"maxFeePerGas": 2 * base + priority, "maxPriorityFeePerGas": priority}
        self._transfer(sender, recipient, wei, fees)

    def _sweep(self) -> None:
        """Send home every wei that is left after the gas, all of whose price is spent."""
        priority, base = self._fees()
        price = 2 * base + priority
        left = self.web3.eth.get_balance(self.account.address) - TRANSFER_GAS * price
        fees = {"maxFeePerGas": price, "maxPriorityFeePerGas": price}
        self._transfer(self.account, self.treasury.address, left, fees)

    def _transfer(
        self, sender: LocalAccount, recipient: str, wei: int, fees: dict[str, int]
    ) -> None:
        transaction = {
            "to": recipient,
            "value": wei,
            "nonce": self._nonce(sender.address),
            "gas": TRANSFER_GAS,
            "chainId": self.web3.eth.chain_id,
        }
        self._send(sender, transaction | fees)

    def _fees(self) -> tuple[int, int]:
        """Wei per gas: the usual priority fee and the base fee."""
        base = self.web3.eth.get_block("latest")["baseFeePerGas"]
        return int(self.web3.eth.max_priority_fee), int(base)

    def _nonce(self, sender: str) -> Nonce:
        nonce = self.nonces.get(sender, 0)
        self.nonces[sender] = nonce + 1
        return Nonce(nonce)

    def _send(self, sender: LocalAccount, transaction: dict[str, Any]) -> None:
        signed = sender.sign_transaction(transaction)
        sent = self.web3.eth.send_raw_transaction(signed.raw_transaction)
        receipt = self.web3.eth.wait_for_transaction_receipt(sent, poll_latency=self.poll_latency)
        if receipt["status"] != 1:
            message = f"transaction {sent.to_0x_hex()} reverted"
            raise RuntimeError(message)
        self.hashes.append(sent.to_0x_hex())
        self.blocks.append(receipt["blockNumber"])


def measure(url: str, manifest: Path, liquidity: int, poll_latency: float) -> ScriptRun:
    """Run once from fresh accounts; `liquidity` in wei, `poll_latency` in seconds."""
    provider = CountingProvider(url)
    web3 = Web3(provider)
    treasury, account = Account.create(), Account.create()
    anvil_request(web3, "anvil_setBalance", treasury.address, hex(2 * liquidity + 2 * WEI_FOR_GAS))
    script = Script(web3, manifest, treasury, account, liquidity, poll_latency)
    provider.requests = 0
    began = time.perf_counter()
    script.run()
    seconds = time.perf_counter() - began
    return ScriptRun(seconds, script.hashes, script.blocks, provider.requests, _peak_memory())


def _peak_memory() -> int:
    unit = 1 if sys.platform == "darwin" else 1024  # getrusage(2) and its counterpart there
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def main() -> None:
    """Run once and print the run as one line of JSON."""
    parser = argparse.ArgumentParser(prog="python -m tests.performance.straight")
    parser.add_argument("--url", required=True, help="the node")
    parser.add_argument("--manifest", type=Path, required=True, help="addresses of the contracts")
    parser.add_argument("--liquidity", type=int, required=True, help="wei")
    parser.add_argument("--poll-latency", type=float, default=0.1, help="seconds")
    given = parser.parse_args()
    run = measure(given.url, given.manifest, given.liquidity, given.poll_latency)
    sys.stdout.write(json.dumps(asdict(run)) + "\n")


if __name__ == "__main__":
    main()
