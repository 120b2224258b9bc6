"""What may be borrowed and bought: the limits that hold whichever way the steps reach the chain.

Amounts are token units, the discount token counted at par; each refusal names the limit it keeps.
"""

from collections.abc import Iterable, Mapping

from domain.amounts import BASIS_POINTS, ETHER_DECIMALS, UINT256_MAX, ceil_div, one_token
from domain.errors import LimitExceeded, RedemptionFrozen
from domain.limits import MAX_EXPOSURE_BPS
from domain.market import RedemptionTerms
from domain.positions import Position
from domain.transactions import Asset


def least_size(sized: int, slippage_bps: int) -> int:
    """The smallest loan or swap that still is the deal that was sized: less its slippage."""
    return sized - sized * slippage_bps // BASIS_POINTS


def loan_within(position: Position, sized: int, limit_bps: int, least: int) -> int:
    """Par tokens to borrow: as sized, or less where the collateral has lost a little value.

    Raises `LimitExceeded` for ``max_ltv`` if the limit leaves less than `least`.
    """
    amount = min(sized, _borrowable(position, limit_bps))
    if amount < least:
        raise _limit(
            "max_ltv",
            "loan to value would be above the deal's limit",
            limit_bps,
            _ltv_bps_with(position, sized),
        )
    return amount


def ensure_ltv(position: Position, changes: Iterable[Mapping[Asset, int]], limit_bps: int) -> None:
    """Raise `LimitExceeded` for ``max_ltv`` if a call that borrows would leave more than that.

    `changes` has what each call changes, one after the other, of the account as it stands.
    """
    for change in changes:
        position = _changed(position, change)
        if change.get(Asset.DEBT, 0) > 0 and position.ltv_bps > limit_bps:
            raise _limit(
                "max_ltv",
                "loan to value would be above the deal's limit",
                limit_bps,
                position.ltv_bps,
            )


def least_received(terms: RedemptionTerms, spent: int, quote: int, slippage_bps: int) -> int:
    """Fewest discount tokens that are worth `spent`: within the slippage, and at a profit.

    Raises `LimitExceeded` for ``profit`` if the quote itself would not redeem for more.
    """
    least = least_worth(terms, spent, quote, slippage_bps)
    if least > quote:
        raise _limit(
            "profit",
            "the swap would not redeem for more than it costs",
            f"at least {least} units out",
            quote,
        )
    return least


def least_worth(terms: RedemptionTerms, spent: int, quote: int, slippage_bps: int) -> int:
    """The same, although it may be more than the quote."""
    within = quote - ceil_div(quote * slippage_bps, BASIS_POINTS)
    return max(within, break_even(terms, spent))


def break_even(terms: RedemptionTerms, spent: int) -> int:
    """Fewest discount tokens that redeem for more than was spent."""
    kept = BASIS_POINTS - terms.fee_bps
    return ceil_div((spent + 1) * BASIS_POINTS, kept) if kept else UINT256_MAX


def after_swap(position: Position, spent: int, received: int) -> Position:
    """The account after swapping par tokens for discount tokens."""
    after = {"discount": position.discount + received, "par": max(0, position.par - spent)}
    return position.model_copy(update=after)


def fitting(position: Position, amount: int, received: int) -> int:
    """The part of a swap that the account can pay and that keeps the exposure within its limit.

    What is received is nearly proportional to so small a difference; what is left over is checked
    again.
    """
    affordable = min(amount, position.par)
    exposure = after_swap(position, amount, received).exposure_bps
    if exposure <= MAX_EXPOSURE_BPS:
        return affordable
    return min(affordable, amount * (MAX_EXPOSURE_BPS - 1) // exposure)


def ensure_exposure(position: Position, spent: int, received: int) -> None:
    """Raise `LimitExceeded` for ``exposure`` if a swap would leave the account too exposed."""
    exposure = after_swap(position, spent, received).exposure_bps
    if exposure > MAX_EXPOSURE_BPS:
        raise _limit(
            "exposure",
            "the discount tokens would be too large a part of the deal",
            MAX_EXPOSURE_BPS,
            exposure,
        )


def ensure_redeemable(terms: RedemptionTerms, amount: int) -> None:
    """Raise `RedemptionFrozen` unless so many discount tokens can be redeemed now."""
    if terms.frozen:
        raise RedemptionFrozen(
            "redemption is frozen by its operator",
            field="redemption",
            actual="frozen",
            next_action="wait for it to reopen, or cancel the deal to sell the tokens back",
        )
    if terms.remaining_today < amount:
        raise RedemptionFrozen(
            "the redemption module's daily cap is used up",
            field="redemption_cap",
            limit=terms.remaining_today,
            actual=amount,
            next_action="wait for the next day (UTC), or cancel the deal to sell the tokens back",
        )
    if terms.redeemable < amount:
        raise RedemptionFrozen(
            "the redemption module does not hold enough to pay",
            field="redemption_reserve",
            limit=terms.reserve,
            actual=terms.paid(amount),
            next_action="wait for its reserve to be filled, or cancel to sell the tokens back",
        )


def _borrowable(position: Position, limit_bps: int) -> int:
    """Par-token units that may be borrowed more until the loan to value is at the limit."""
    room_usd8 = position.collateral_usd8 * limit_bps // BASIS_POINTS - position.debt_usd8
    return max(0, room_usd8 * one_token(position.par_decimals) // position.par_price_usd8)


def _changed(position: Position, change: Mapping[Asset, int]) -> Position:
    """The account after this much more collateral and debt, at today's prices."""
    collateral, debt = change.get(Asset.COLLATERAL, 0), change.get(Asset.DEBT, 0)
    more_usd8 = collateral * position.ether_price_usd8 // one_token(ETHER_DECIMALS)
    owed_usd8 = ceil_div(debt * position.par_price_usd8, one_token(position.par_decimals))
    return position.model_copy(
        update={
            "collateral_usd8": max(0, position.collateral_usd8 + more_usd8),
            "debt_usd8": max(0, position.debt_usd8 + owed_usd8),
        }
    )


def _ltv_bps_with(position: Position, amount: int) -> int:
    """Loan to value after borrowing `amount` more, rounded up."""
    more = ceil_div(amount * position.par_price_usd8, one_token(position.par_decimals))
    debt_usd8 = position.debt_usd8 + more
    return ceil_div(debt_usd8 * BASIS_POINTS, max(1, position.collateral_usd8))


def _limit(field: str, message: str, limit: object, actual: object) -> LimitExceeded:
    return LimitExceeded(
        message,
        field=field,
        limit=limit,
        actual=actual,
        next_action="the deal unwinds by itself; start a new one when the market allows",
    )
