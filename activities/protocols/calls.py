"""The calls of a deal on one module's contracts, from its own account and to its own account."""

from typing import Final

from activities.protocols import aave, redemption, uniswap, weth
from activities.protocols.drafts import Call
from domain.chains import ChainProfile, ModuleProfile
from domain.identifiers import Address

SWAP_DEADLINE_SECONDS: Final = 600


class DealCalls:
    """Encodes calls; amounts in wei and token units."""

    def __init__(self, profile: ChainProfile, module: ModuleProfile, account: Address) -> None:
        """Take the module's contracts and the deal's account."""
        contract = profile.contract
        self._account = account
        self._pool_fee = module.pool_fee
        self.collateral = contract(module.collateral)
        self.par = contract(module.par_token)
        self.discount = contract(module.discount_token)
        self.redemption = contract(module.redemption)
        self.pool = contract("aave_pool")
        self.router = contract("uniswap_router")

    def wrap(self, amount: int) -> Call:
        """Ether to WETH."""
        return Call(self.collateral, "Wrap ETH", weth.DEPOSIT.encode(), value=amount)

    def supply(self, amount: int) -> Call:
        """WETH to Aave, which takes it as collateral."""
        data = aave.SUPPLY.encode(self.collateral, amount, self._account, aave.NO_REFERRAL)
        return Call(self.pool, "Supply WETH as collateral", data)

    def borrow(self, amount: int) -> Call:
        """Par tokens from Aave."""
        data = aave.BORROW.encode(
            self.par, amount, aave.VARIABLE_RATE, aave.NO_REFERRAL, self._account
        )
        return Call(self.pool, "Borrow at the variable rate", data)

    def swap(self, give: Address, get: Address, spent: int, minimum: int, now: int) -> Call:
        """Exactly `spent` for at least `minimum`, soon after `now` (the chain's clock)."""
        data = uniswap.EXACT_INPUT_SINGLE.encode(
            (*self._terms(give, get, now), spent, minimum, uniswap.NO_PRICE_LIMIT)
        )
        return Call(self.router, "Swap on Uniswap v3", data)

    def buy(self, bought: int, maximum: int, now: int) -> Call:
        """Exactly `bought` discount tokens for at most `maximum` par tokens."""
        data = uniswap.EXACT_OUTPUT_SINGLE.encode(
            (*self._terms(self.par, self.discount, now), bought, maximum, uniswap.NO_PRICE_LIMIT)
        )
        return Call(self.router, "Swap on Uniswap v3", data)

    def redeem(self, amount: int) -> Call:
        """Discount tokens for par tokens, at par less the fee."""
        data = redemption.REDEEM.encode(amount, self._account)
        return Call(self.redemption, "Redeem at par", data)

    def repay(self, amount: int = aave.ALL) -> Call:
        """So much of the debt; by default the whole, whatever it has grown to."""
        data = aave.REPAY.encode(self.par, amount, aave.VARIABLE_RATE, self._account)
        part = "the whole" if amount == aave.ALL else "a part of the"
        return Call(self.pool, f"Repay {part} debt", data)

    def withdraw(self) -> Call:
        """All collateral."""
        data = aave.WITHDRAW.encode(self.collateral, aave.ALL, self._account)
        return Call(self.pool, "Withdraw all collateral", data)

    def unwrap(self, amount: int) -> Call:
        """WETH to ether."""
        return Call(self.collateral, "Unwrap to ETH", weth.WITHDRAW.encode(amount))

    def _terms(
        self, give: Address, get: Address, now: int
    ) -> tuple[Address, Address, int, Address, int]:
        return give, get, self._pool_fee, self._account, now + SWAP_DEADLINE_SECONDS
