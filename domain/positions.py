"""What an account holds and owes at one block, as the chain says."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from domain.amounts import (
    BASIS_POINTS,
    ETHER_DECIMALS,
    Units,
    ceil_div,
    one_token,
    value_usd8,
)
from domain.identifiers import Address


class Position(BaseModel):
    """Balances in wei and token units, values in 1e-8 USD.

    `collateral` is what Aave holds for the account (wei of WETH), `debt` what it owes there.
    """

    model_config = ConfigDict(frozen=True)

    account: Address
    block_number: Annotated[int, Field(ge=0)]
    wei: Units
    weth: Units
    par: Units
    discount: Units
    collateral: Units
    debt: Units
    collateral_usd8: Units
    debt_usd8: Units
    ether_price_usd8: Units
    par_price_usd8: Units
    par_decimals: Annotated[int, Field(ge=0, le=36)]
    health_factor_wad: Units | None = None
    """Aave's, in 1e-18; below 1 the loan is liquidated. None: it was not read, or nothing is owed.
    """

    @property
    def ltv_bps(self) -> int:
        """Debt over collateral value in basis points, rounded up; 0 without debt."""
        if self.debt_usd8 == 0:
            return 0
        if self.collateral_usd8 == 0:
            return BASIS_POINTS
        return ceil_div(self.debt_usd8 * BASIS_POINTS, self.collateral_usd8)

    def in_danger(self, below_wad: int) -> bool:
        """Whether the loan is less healthy than that, in 1e-18."""
        health = self.health_factor_wad
        return self.debt > 0 and health is not None and health < below_wad

    @property
    def net_asset_value_usd8(self) -> int:
        """Collateral and tokens held, the discount token at par, less the debt; without ether."""
        held = value_usd8(self.par + self.discount, self.par_decimals, self.par_price_usd8)
        held += value_usd8(self.weth, ETHER_DECIMALS, self.ether_price_usd8)
        return self.collateral_usd8 + held - self.debt_usd8

    @property
    def exposure_bps(self) -> int:
        """Discount tokens at par over the net asset value in basis points, rounded up."""
        if self.discount == 0:
            return 0
        value = self.net_asset_value_usd8
        if value <= 0:
            return BASIS_POINTS
        held = self.discount * self.par_price_usd8
        return ceil_div(held * BASIS_POINTS, value * one_token(self.par_decimals))

    @property
    def is_empty(self) -> bool:
        """Nothing held and nothing owed: the account can be retired."""
        return not (
            self.wei or self.weth or self.par or self.discount or self.collateral or self.debt
        )
