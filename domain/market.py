"""What the markets offer at one block: everything that sizing needs, read in one look."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from domain.amounts import BASIS_POINTS, UINT256_MAX, Units
from domain.identifiers import ChainId
from domain.pool import PoolSnapshot

RAY = 10**27
SECONDS_PER_YEAR = 31_536_000


class RedemptionTerms(BaseModel):
    """The redemption module's terms; amounts in units of the discount token."""

    model_config = ConfigDict(frozen=True)

    fee_bps: Annotated[int, Field(ge=0, le=BASIS_POINTS)]
    frozen: bool
    remaining_today: Units
    reserve: Units = UINT256_MAX
    """Par tokens that the module holds to pay with; readings of before this was read have none."""

    @property
    def redeemable(self) -> int:
        """Discount tokens that can be redeemed at once, unless it is frozen: by cap and reserve."""
        kept = BASIS_POINTS - self.fee_bps
        # The most for which `paid`, which is rounded down, is within the reserve.
        payable = ((self.reserve + 1) * BASIS_POINTS - 1) // kept if kept else UINT256_MAX
        return min(self.remaining_today, payable)

    def paid(self, amount: int) -> int:
        """Par tokens paid for `amount` discount tokens: par less the fee, rounded down."""
        return amount - -(-amount * self.fee_bps // BASIS_POINTS)


class LendingTerms(BaseModel):
    """Aave's terms for the collateral and the borrowed token.

    `borrow_rate_ray` is the variable rate a year in units of 1e-27, `available` in token units.
    """

    model_config = ConfigDict(frozen=True)

    ltv_bps: Annotated[int, Field(ge=0, le=BASIS_POINTS)]
    liquidation_threshold_bps: Annotated[int, Field(ge=0, le=BASIS_POINTS)]
    borrow_rate_ray: Units
    available: Units

    def interest(self, principal: int, seconds: int) -> int:
        """Interest on `principal` over `seconds`, linear, rounded up, in token units."""
        return -(-principal * self.borrow_rate_ray * seconds // (RAY * SECONDS_PER_YEAR))


class MarketSnapshot(BaseModel):
    """One block's view of a module's markets. Prices in 1e-8 USD, gas price in wei.

    The discount token has the par token's decimals, or one for one would not be par.
    """

    model_config = ConfigDict(frozen=True)

    chain_id: ChainId
    block_number: Annotated[int, Field(ge=0)]
    timestamp: Annotated[int, Field(ge=0)]
    collateral_price_usd8: Units
    par_price_usd8: Units
    par_decimals: Annotated[int, Field(ge=0, le=36)]
    lending: LendingTerms
    pool: PoolSnapshot
    redemption: RedemptionTerms
    gas_price_wei: Units
    gas_fee_cap_wei: Units
    """The highest price that transactions prepared now may have to bid."""
    treasury_wei: Units
