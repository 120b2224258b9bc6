"""How an account fared between the calls of a batch, reckoned back from where the batch left it.

Within a batch prices and interest are those of its end: its calls are mined in one block, or in a
few that follow each other.
"""

from collections.abc import Mapping, Sequence

from domain.amounts import ETHER_DECIMALS, ceil_div, one_token
from domain.positions import Position
from domain.transactions import Asset, Course, Swap

_BALANCES = {
    Asset.ETHER: "wei",
    Asset.WETH: "weth",
    Asset.PAR: "par",
    Asset.DISCOUNT: "discount",
    Asset.COLLATERAL: "collateral",
    Asset.DEBT: "debt",
}


def course_of(
    after: Position, changes: Sequence[Mapping[Asset, int]], *, with_pool: Sequence[bool]
) -> Course:
    """The course of a batch after which the account is this.

    `changes` has what each call changed, in their order, `with_pool` whether it was one to the
    pool's router: a redemption changes the same tokens.
    """
    positions = [after]
    for change in reversed(changes[1:]):
        positions.append(before(positions[-1], change))
    swaps = [
        _swap(change)
        for change, is_swap in zip(changes, with_pool, strict=True)
        if is_swap and change.get(Asset.DISCOUNT, 0)
    ]
    return Course(
        max_ltv_bps=max(position.ltv_bps for position in positions),
        max_exposure_bps=max(position.exposure_bps for position in positions),
        swaps=tuple(swaps),
    )


def before(position: Position, change: Mapping[Asset, int]) -> Position:
    """The account before a call changed it by this much.

    A balance that this would make negative was never so: Aave's tokens grow without a call.
    """
    balances = {
        name: max(0, getattr(position, name) - change.get(asset, 0))
        for asset, name in _BALANCES.items()
    }
    collateral, debt = balances["collateral"], balances["debt"]
    values = {
        "collateral_usd8": collateral * position.ether_price_usd8 // one_token(ETHER_DECIMALS),
        "debt_usd8": ceil_div(debt * position.par_price_usd8, one_token(position.par_decimals)),
    }
    return position.model_copy(update=balances | values)


def _swap(change: Mapping[Asset, int]) -> Swap:
    par, discount = change.get(Asset.PAR, 0), change[Asset.DISCOUNT]
    if discount > 0:
        return Swap(spent=max(0, -par), received=discount)
    return Swap(spent=-discount, received=max(0, par), selling=True)
