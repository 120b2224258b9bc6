"""The parts that batches are made of: calls, and what is promised of them.

A step is one of them as a batch of its own; a run joins them.
"""

from typing import Final

from activities.protocols import erc20
from activities.protocols.calls import DealCalls
from activities.protocols.drafts import Call, approval, exactly
from activities.protocols.reader import Look
from domain.exits import debt_bound, part_of
from domain.transactions import Asset, Bound

Segment = tuple[list[Call], list[Bound]]
Allowed = tuple[object, ...]
"""What a spender is allowed already, as it was read."""

ROUNDING: Final = 1
"""Aave keeps scaled balances: what is supplied or owed may come out one unit larger or smaller."""


def wrapping(calls: DealCalls, wei: int) -> Segment:
    """Ether to WETH."""
    return [calls.wrap(wei)], [exactly(Asset.WETH, wei), exactly(Asset.ETHER, -wei)]


def supplying(calls: DealCalls, wei: int, allowed: Allowed) -> Segment:
    """WETH to collateral."""
    return [
        *approval(calls.collateral, calls.pool, wei, allowed, "Allow Aave to take the WETH"),
        calls.supply(wei),
    ], [
        exactly(Asset.WETH, -wei),
        Bound(asset=Asset.COLLATERAL, minimum=wei - ROUNDING, maximum=wei + ROUNDING),
    ]


def borrowing(calls: DealCalls, loan: int) -> Segment:
    """A debt for par tokens."""
    return [calls.borrow(loan)], [
        exactly(Asset.PAR, loan),
        Bound(asset=Asset.DEBT, minimum=loan - ROUNDING, maximum=debt_bound(loan)),
    ]


def buying(calls: DealCalls, bought: int, maximum: int, now: int, allowed: Allowed) -> Segment:
    """Exactly so many discount tokens, and what that has not used of its allowance taken back."""
    take_back = erc20.APPROVE.encode(calls.router, 0)
    return [
        *approval(calls.par, calls.router, maximum, allowed, "Allow the router to swap"),
        calls.buy(bought, maximum, now),
        Call(calls.par, "Take back the rest of the router's allowance", take_back),
    ], [
        exactly(Asset.DISCOUNT, bought),
        Bound(asset=Asset.PAR, minimum=-maximum, maximum=-1),
    ]


def redeeming(calls: DealCalls, amount: int, paid: int, allowed: Allowed) -> Segment:
    """Discount tokens for exactly so many par tokens."""
    return [
        *approval(calls.discount, calls.redemption, amount, allowed, "Allow the redemption"),
        calls.redeem(amount),
    ], [exactly(Asset.DISCOUNT, -amount), exactly(Asset.PAR, paid)]


def repaying_part(calls: DealCalls, look: Look, part_bps: int) -> Segment:
    """So many basis points of the debt, as far as the par tokens held go; nothing is withdrawn.

    Aave's debt token logs only what goes beyond the interest that it is given with the same call.
    """
    owed = look.position.debt
    amount = min(part_of(owed, part_bps), look.position.par)
    if not amount:
        return [], []
    return [
        *approval(calls.par, calls.pool, amount, look.values[0], "Allow Aave to take the part"),
        calls.repay(amount),
    ], [
        exactly(Asset.PAR, -amount),
        Bound(asset=Asset.DEBT, minimum=-amount - ROUNDING, maximum=debt_bound(owed) - owed),
    ]


def repayment(calls: DealCalls, debt: int, allowed: Allowed) -> list[Call]:
    """Repay all, allowing what the debt may grow to until then."""
    bound = debt_bound(debt)
    return [
        *approval(calls.par, calls.pool, bound, allowed, "Allow Aave to take the debt"),
        calls.repay(),
    ]
