"""The transactions of the load benchmark, sent by plain asyncio web3.py: what it is compared with.

As one writes it who wants it fast: keys and nonces in memory, gas and fees read once, everything
signed here, a bounded number of requests at once, each receipt polled for. Nothing is saved,
simulated, sent again or replaced.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import secrets
import sys
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from eth_account import Account
from web3 import AsyncHTTPProvider, AsyncWeb3
from web3.types import RPCEndpoint

from tests.faults.ledger import RECORD, entry

if TYPE_CHECKING:
    from collections.abc import Sequence

    from eth_account.signers.local import LocalAccount
    from hexbytes import HexBytes
    from web3.types import RPCResponse

AT_ONCE: Final = 32
"""Requests that are waited for at once: more does not make it faster."""
POLL_SECONDS: Final = 0.5
"""Between looks for a receipt. Shorter makes it slower: its own polling keeps it from sending."""

_WEI: Final = 100 * 10**18
_GAS_MARGIN: Final = 1.5


@dataclass(frozen=True)
class PlainRun:
    """One run by its own clock, in Unix seconds; memory in bytes, one call in each request.

    `intents` are the names under which the Ledger counted.
    """

    began: float
    ended: float
    processor_seconds: float
    memory: int
    requests: int
    last_block: int
    sent: list[float]
    """Seconds from the beginning until the node had answered to each."""
    intents: list[str]


class CountingProvider(AsyncHTTPProvider):
    """web3's provider, and how many requests it sent."""

    requests = 0

    async def make_request(self, method: RPCEndpoint, params: Any) -> RPCResponse:
        """Count, then send."""
        self.requests += 1
        return await super().make_request(method, params)


class PlainSender:
    """Sends `count` transactions from `accounts` accounts, in turns."""

    def __init__(self, url: str, ledger: str, accounts: int) -> None:
        """Make fresh accounts; `ledger` is called."""
        self._provider = CountingProvider(url)
        self._web3 = AsyncWeb3(self._provider)
        self._ledger = ledger
        self._accounts: list[LocalAccount] = [Account.create() for _ in range(accounts)]
        self._room = asyncio.Semaphore(AT_ONCE)
        self._name = f"plain-{secrets.token_hex(4)}"
        self._usual: dict[str, Any] = {}
        self._sent: list[float] = []

    async def run(self, count: int) -> PlainRun:
        """Fund the accounts, then send and wait for all receipts, which is what is measured."""
        for account in self._accounts:
            await self._provider.make_request(
                RPCEndpoint("anvil_setBalance"), [account.address, hex(_WEI)]
            )
        intents = [f"{self._name}/{number}" for number in range(count)]
        self._provider.requests = 0
        began, spent = time.time(), time.process_time()
        await self._learn_usual()
        blocks = await asyncio.gather(
            *(self._send(number, intent, began) for number, intent in enumerate(intents))
        )
        ended = time.time()
        await self._provider.disconnect()
        return PlainRun(
            began,
            ended,
            time.process_time() - spent,
            _peak_memory(),
            self._provider.requests,
            max(blocks),
            self._sent,
            intents,
        )

    async def _learn_usual(self) -> None:
        """Gas and fees are the same for all: asked for once."""
        web3, sender = self._web3, self._accounts[0].address
        call = {"from": sender, "to": self._ledger, "data": RECORD.encode(entry(self._name))}
        gas = await web3.eth.estimate_gas(call)  # type: ignore[arg-type]
        base = (await web3.eth.get_block("latest"))["baseFeePerGas"]
        priority = await web3.eth.max_priority_fee
        self._usual = {
            "to": self._ledger,
            "gas": int(gas * _GAS_MARGIN),
            "chainId": await web3.eth.chain_id,
            "maxPriorityFeePerGas": priority,
            "maxFeePerGas": 10 * base + priority,
        }

    async def _send(self, number: int, intent: str, began: float) -> int:
        """Sign and send one, and return the block of its receipt."""
        nonce, index = divmod(number, len(self._accounts))
        async with self._room:
            signed = self._accounts[index].sign_transaction(
                self._usual | {"nonce": nonce, "data": RECORD.encode(entry(intent))}
            )
            sent = await self._web3.eth.send_raw_transaction(signed.raw_transaction)
            self._sent.append(time.time() - began)
        return await self._block_of(sent)

    async def _block_of(self, sent: HexBytes) -> int:
        while True:
            await asyncio.sleep(POLL_SECONDS)
            async with self._room:
                found = await self._provider.make_request(
                    RPCEndpoint("eth_getTransactionReceipt"), [sent.to_0x_hex()]
                )
            receipt = found["result"]
            if receipt is not None:
                if int(receipt["status"], 16) != 1:
                    message = f"transaction {sent.to_0x_hex()} reverted"
                    raise RuntimeError(message)
                return int(receipt["blockNumber"], 16)


def _peak_memory() -> int:
    unit = 1 if sys.platform == "darwin" else 1024  # getrusage(2) and its counterpart there
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def main(arguments: Sequence[str] | None = None) -> None:
    """Run once and print the run as one line of JSON."""
    parser = argparse.ArgumentParser(prog="python -m tests.performance.plain", description=__doc__)
    parser.add_argument("--url", required=True, help="the node")
    parser.add_argument("--ledger", required=True, help="address of the Ledger")
    parser.add_argument("--accounts", type=int, default=1)
    parser.add_argument("--intents", type=int, default=1000)
    given = parser.parse_args(arguments)

    async def run() -> PlainRun:
        return await PlainSender(given.url, given.ledger, given.accounts).run(given.intents)

    sys.stdout.write(json.dumps(asdict(asyncio.run(run()))) + "\n")


if __name__ == "__main__":
    main()
