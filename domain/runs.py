"""The amounts of a pipelined deal, all of them known before its first call is mined.

A run wraps and supplies the whole working liquidity, borrows once what one cycle may spend, and
then in every cycle buys an exact number of discount tokens for at most that much and redeems
exactly those. So only what the cycles cost less than they may is left to the market, and it can
only be a gain: it stays in par tokens, which are counted when the account is swept.

That the limits hold after every call follows from the amounts:

    max_ltv    the debt is the loan from the borrowing to the repayment, which is at most what the
               limit allows for the collateral supplied; nothing else is owed, and no collateral is
               withdrawn before it is repaid. Aave's health factor is the liquidation threshold
               over the loan to value, so it stays above its value at the limit.
    exposure   a purchase never holds more than its exact number of tokens, and the net asset value
               they are compared with is taken at the most that they may have cost.
    profit     what is bought redeems for more than the most it may cost, in every cycle by itself.
    price      the most that a purchase may cost is within the slippage of the quote and within the
               module's deviation from the feeds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from domain.amounts import ETHER_DECIMALS, Units, value_usd8
from domain.errors import LimitExceeded, RedemptionFrozen
from domain.market import RedemptionTerms
from domain.positions import Position
from domain.prices import PriceGuard
from domain.swaps import ensure_exposure, ensure_redeemable, fitting, least_received

_ROUNDING = 1
"""Units by which Aave's scaled balances may be smaller, and its debts larger."""


class Run(BaseModel):
    """What a run borrows, and the discount tokens bought in each cycle for at most that much."""

    model_config = ConfigDict(frozen=True)

    loan: Units
    bought: Annotated[tuple[Units, ...], Field(min_length=1)]


def supplied(position: Position, wei: int) -> Position:
    """The account once it has wrapped and supplied so much of its ether, at the least."""
    collateral = position.collateral + wei - _ROUNDING
    more = {
        "wei": position.wei - wei,
        "collateral": collateral,
        "collateral_usd8": value_usd8(collateral, ETHER_DECIMALS, position.ether_price_usd8),
    }
    return position.model_copy(update=more)


@dataclass(frozen=True, slots=True)
class RunMarket:
    """What a run meets, as of one block; `slippage_bps` is the request's."""

    terms: RedemptionTerms
    prices: PriceGuard
    slippage_bps: int
    quotes: Sequence[int]
    """Discount tokens that once, twice, ... the loan buys altogether, one for each cycle."""

    def bought(self, loan: int, quote: int) -> int:
        """What a purchase for at most the loan has to buy; raises `LimitExceeded`."""
        return max(
            self.prices.buying(loan, quote),
            least_received(self.terms, loan, quote, self.slippage_bps),
        )


def fitting_run(position: Position, loan: int, market: RunMarket) -> int:
    """The part of a loan with which the first purchase keeps the exposure within its limit.

    `position` is the account after supplying. Raises `LimitExceeded` for profit or price.
    """
    bought = market.bought(loan, market.quotes[0])
    return fitting(_borrowed(position, loan), loan, bought)


def plan_run(position: Position, loan: int, market: RunMarket) -> Run:
    """The run with this loan, in as many of the cycles as keep every limit.

    `position` is the account after supplying. That only a later cycle breaks a limit is no failure:
    there is none then. Raises `LimitExceeded` and `RedemptionFrozen` for the first one.
    """
    position, bought = _borrowed(position, loan), list[int]()
    for before, quote in pairwise((0, *market.quotes)):
        try:
            amount = market.bought(loan, quote - before)
            ensure_exposure(position, loan, amount)
            ensure_redeemable(market.terms, sum(bought) + amount)
        except (LimitExceeded, RedemptionFrozen):
            if not bought:
                raise
            break
        bought.append(amount)
        position = _gained(position, market.terms.paid(amount) - loan)
    return Run(loan=loan, bought=tuple(bought))


def _borrowed(position: Position, loan: int) -> Position:
    """The account once it has borrowed so much more, at the worst."""
    debt = position.debt + loan + _ROUNDING
    more = {
        "par": position.par + loan,
        "debt": debt,
        "debt_usd8": value_usd8(debt, position.par_decimals, position.par_price_usd8),
    }
    return position.model_copy(update=more)


def _gained(position: Position, par: int) -> Position:
    return position.model_copy(update={"par": position.par + par})
