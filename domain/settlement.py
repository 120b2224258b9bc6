"""What a deal brought home: the treasury's balance changes, and their value."""

from collections.abc import Iterable

from pydantic import BaseModel, ConfigDict

from domain.amounts import ETHER_DECIMALS, SignedUnits, Usd8, value_usd8
from domain.positions import Position
from domain.transactions import Asset, StepOutcome


class Settlement(BaseModel):
    """Changes of the treasury's balances over the whole deal, to the smallest unit.

    `ether_wei` includes every gas payment, the treasury's own and the deal account's.
    """

    model_config = ConfigDict(frozen=True)

    ether_wei: SignedUnits
    par: SignedUnits
    profit_usd8: Usd8


def settle(outcomes: Iterable[StepOutcome], last: Position) -> Settlement:
    """Add up the treasury's changes and value them at the prices of the last position."""
    ether = par = 0
    for outcome in outcomes:
        ether += outcome.treasury_changes.get(Asset.ETHER, 0)
        par += outcome.treasury_changes.get(Asset.PAR, 0)
    return valued(ether, par, last)


def valued(ether: int, par: int, last: Position) -> Settlement:
    """These changes of the treasury's balances, valued at the prices of a position."""
    profit = value_usd8(ether, ETHER_DECIMALS, last.ether_price_usd8)
    profit += value_usd8(par, last.par_decimals, last.par_price_usd8)
    return Settlement(ether_wei=ether, par=par, profit_usd8=profit)
