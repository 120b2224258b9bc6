"""The way out, computed from what the account holds and owes now, never from memory."""

from domain.amounts import BASIS_POINTS, ceil_div
from domain.deals import Step
from domain.positions import Position

DEBT_BUFFER_BPS = 1
"""Interest that may accrue between looking and repaying, over the debt: one basis point."""


def debt_bound(debt: int) -> int:
    """The most that `debt` token units may have grown to when the repayment is mined."""
    return debt + ceil_div(debt * DEBT_BUFFER_BPS, BASIS_POINTS) + 1 if debt else 0


def topped_up(debt: int) -> int:
    """Par tokens the account is given so that it can repay.

    The debt grows while the top up is mined as well. With no more than `debt_bound` the account
    would be short again by the time it is looked at, and would be topped up for ever.
    """
    return debt_bound(debt_bound(debt))


def part_of(units: int, part_bps: int | None) -> int:
    """That many basis points of it, rounded up, so that there is always something; None: all."""
    return units if part_bps is None else ceil_div(units * part_bps, BASIS_POINTS)


def next_exit_step(position: Position, danger_wad: int = 0) -> Step | None:
    """The next batch on the way to an empty account; None when it is empty.

    Discount tokens are turned into the par token first, a shortfall of the par token is made up
    from the treasury, then one batch repays, withdraws and unwraps. The last sends everything that
    is left to the treasury: only then is it known how much the interest was.

    Where the loan is less healthy than `danger_wad` (a health factor in 1e-18), the treasury pays
    first and the discount tokens are sold last: a sale may take long, and a liquidation costs more.
    """
    if position.discount and not position.in_danger(danger_wad):
        return Step.UNWIND
    if position.debt and position.par < debt_bound(position.debt):
        return Step.TOP_UP
    if position.debt or position.collateral or position.weth:
        return Step.SETTLE
    if position.par or position.wei:
        return Step.SWEEP
    return None
