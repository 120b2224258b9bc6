"""One loop through all protocols by hand, without the orchestrator: does it work, what it costs.

The gas that the profiles assume for each step was measured with it (`python -m deploy.chain gas`).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from web3 import HTTPProvider, Web3

from deploy.chain.anvil import running_anvil
from deploy.chain.artifacts import AAVE, UNISWAP_PERIPHERY, Artifact, own, packaged
from deploy.chain.states import ensure_state
from deploy.chain.uniswap import NO_DEADLINE, POOL_FEE

if TYPE_CHECKING:
    from pathlib import Path

    from eth_typing import ChecksumAddress
    from web3.contract import Contract
    from web3.contract.contract import ContractFunction
    from web3.types import TxReceipt, Wei

ALL = 2**256 - 1  # Aave's "whatever is owed" and "whatever is there"
VARIABLE = 2  # Aave's interest rate mode
LTV_BPS = 2_500  # what the rehearsed loop borrows against its collateral
WEI_FOR_GAS = 10**18

ARTIFACTS = {
    "weth": lambda: packaged(AAVE, "dependencies/weth/WETH9.sol/WETH9"),
    "usdt": lambda: own("USDT"),
    "usdtz": lambda: own("USDTz"),
    "aave_pool": lambda: packaged(AAVE, "protocol/pool/Pool.sol/Pool"),
    "uniswap_router": lambda: packaged(UNISWAP_PERIPHERY, "SwapRouter.sol/SwapRouter"),
    "uniswap_quoter": lambda: packaged(UNISWAP_PERIPHERY, "lens/QuoterV2.sol/QuoterV2"),
    "redemption": lambda: own("RedemptionModule"),
    "eth_usd_feed": lambda: own("PriceFeed"),
    "ledger": lambda: own("Ledger"),
}


def contract(web3: Web3, manifest: Path, key: str) -> Contract:
    """Return a contract of a manifest, with its ABI; `key` is one of ARTIFACTS."""
    address = json.loads(manifest.read_text())["contracts"][key]
    artifact: Artifact = ARTIFACTS[key]()
    found: Contract = web3.eth.contract(address=address, abi=artifact.abi)
    return found


@dataclass(frozen=True)
class Rehearsal:
    """One loop: `treasury` pays for it and gets everything back, `account` runs it.

    Both must be accounts that the node signs for. Every step returns the gas it used.
    """

    web3: Web3
    manifest: Path
    treasury: ChecksumAddress
    account: ChecksumAddress
    liquidity: Wei

    def contract(self, key: str) -> Contract:
        """Return a contract of the chain by its manifest key."""
        return contract(self.web3, self.manifest, key)

    def steps(self) -> dict[str, int]:
        """Walk the whole loop and return the gas used by each step."""
        return {
            "fund": self.fund(),
            "wrap": self.wrap(),
            "collateralize": self.collateralize(),
            "borrow": self.borrow(),
            "swap": self.swap(),
            "redeem": self.redeem(),
            "settle": self.settle(),
        }

    def fund(self) -> int:
        """Send the working liquidity and a reserve for gas to the account."""
        return self._pay(self.treasury, self.account, self.liquidity + WEI_FOR_GAS)

    def wrap(self) -> int:
        """Turn the working liquidity into WETH."""
        return self._send(self.contract("weth").functions.deposit(), value=self.liquidity)

    def collateralize(self) -> int:
        """Supply the WETH to Aave, which takes it as collateral by itself."""
        pool, weth = self.contract("aave_pool"), self.contract("weth")
        return self._send(weth.functions.approve(pool.address, self.liquidity)) + self._send(
            pool.functions.supply(weth.address, self.liquidity, self.account, 0)
        )

    def borrow(self) -> int:
        """Borrow USDT at LTV_BPS of the collateral."""
        price = self.contract("eth_usd_feed").functions.latestAnswer().call()
        # wei (1e-18) times 1e-8 USD is 1e-26 USD; USDT has 6 decimals.
        amount = self.liquidity * price * LTV_BPS // 10_000 // 10**20
        usdt = self.contract("usdt").address
        pool = self.contract("aave_pool").functions
        return self._send(pool.borrow(usdt, amount, VARIABLE, 0, self.account))

    def swap(self) -> int:
        """Buy USDTz with all USDT held."""
        router, usdt = self.contract("uniswap_router"), self.contract("usdt")
        amount = self.balance("usdt")
        pair = (usdt.address, self.contract("usdtz").address, POOL_FEE)
        order = (*pair, self.account, NO_DEADLINE, amount, 0, 0)
        return self._send(usdt.functions.approve(router.address, amount)) + self._send(
            router.functions.exactInputSingle(order)
        )

    def redeem(self) -> int:
        """Redeem all USDTz held."""
        module, usdtz = self.contract("redemption"), self.contract("usdtz")
        amount = self.balance("usdtz")
        return self._send(usdtz.functions.approve(module.address, amount)) + self._send(
            module.functions.redeem(amount, self.account)
        )

    def settle(self) -> int:
        """Repay, withdraw, unwrap, and send the profit and what is left of the ETH back."""
        pool, weth, usdt = (self.contract(key) for key in ("aave_pool", "weth", "usdt"))
        used = self._send(usdt.functions.approve(pool.address, self.balance("usdt")))
        used += self._send(pool.functions.repay(usdt.address, ALL, VARIABLE, self.account))
        used += self._send(pool.functions.withdraw(weth.address, ALL, self.account))
        used += self._send(weth.functions.withdraw(self.balance("weth")))
        used += self._send(usdt.functions.transfer(self.treasury, self.balance("usdt")))
        left = self.web3.eth.get_balance(self.account) - WEI_FOR_GAS // 100
        return used + self._pay(self.account, self.treasury, left)

    def balance(self, token: str) -> int:
        """Return what the account holds of a token, in its base units."""
        held: int = self.contract(token).functions.balanceOf(self.account).call()
        return held

    def _send(self, function: ContractFunction, value: int = 0) -> int:
        sent = function.transact({"from": self.account, "value": self.web3.to_wei(value, "wei")})
        return self._gas(self.web3.eth.wait_for_transaction_receipt(sent, poll_latency=0.01))

    def _pay(self, sender: ChecksumAddress, recipient: ChecksumAddress, wei: int) -> int:
        amount = self.web3.to_wei(wei, "wei")
        sent = self.web3.eth.send_transaction({"from": sender, "to": recipient, "value": amount})
        return self._gas(self.web3.eth.wait_for_transaction_receipt(sent, poll_latency=0.01))

    @staticmethod
    def _gas(receipt: TxReceipt) -> int:
        if receipt["status"] != 1:
            message = f"transaction {receipt['transactionHash'].to_0x_hex()} reverted"
            raise RuntimeError(message)
        return receipt["gasUsed"]


def measure_gas(chain_id: int) -> dict[str, int]:
    """Walk one loop of 40 ETH on a fresh chain and return the gas used by each step."""
    state = ensure_state(chain_id)
    with running_anvil(chain_id, "--load-state", str(state.state_file)) as anvil:
        web3 = Web3(HTTPProvider(anvil.url))
        treasury, account = list(web3.eth.accounts)[1:3]
        liquidity = web3.to_wei(40, "ether")
        return Rehearsal(web3, state.manifest_file, treasury, account, liquidity).steps()
