"""An account's balances as reads, whose differences are the changes that the logs would tell.

Aave's tokens grow between their events. Scaled to the index of the account's own last event, as
they are here, they only change with events: by what `EffectReader` counts, give or take the
rounding of one unit.
"""

from typing import Any, Final

from activities.protocols import aave, erc20, multicall
from activities.protocols.multicall import Read
from domain.chains import ChainProfile, ModuleProfile
from domain.identifiers import Address
from domain.market import RAY
from domain.transactions import Asset

_HALF_RAY: Final = RAY // 2


class BalanceReader:
    """The balances of one account in a module's assets."""

    def __init__(self, profile: ChainProfile, module: ModuleProfile, account: Address) -> None:
        """Take where the assets are, and whose balances are wanted."""
        contract = profile.contract
        held = (module.collateral, module.par_token, module.discount_token)
        lent = (module.collateral_receipt, module.debt_token)
        self.reads: tuple[Read, ...] = (
            Read(contract("multicall3"), multicall.GET_ETH_BALANCE, (account,)),
            *(Read(contract(token), erc20.BALANCE_OF, (account,)) for token in held),
            *(
                Read(contract(token), function, (account,))
                for token in lent
                for function in (aave.SCALED_BALANCE_OF, aave.GET_PREVIOUS_INDEX)
            ),
        )

    def balances(self, values: list[bytes]) -> dict[Asset, int]:
        """In smallest units, from what the reads returned."""
        numbers = [self._number(read, raw) for read, raw in zip(self.reads, values, strict=True)]
        ether, weth, par, discount, collateral, at_collateral, debt, at_debt = numbers
        return {
            Asset.ETHER: ether,
            Asset.WETH: weth,
            Asset.PAR: par,
            Asset.DISCOUNT: discount,
            Asset.COLLATERAL: _ray_mul(collateral, at_collateral),
            Asset.DEBT: _ray_mul(debt, at_debt),
        }

    @staticmethod
    def _number(read: Read, raw: bytes) -> int:
        result: tuple[Any, ...] = read.function.decode_result(raw)
        return int(result[0])


def _ray_mul(amount: int, ray: int) -> int:
    """Rounded half up, as WadRayMath.rayMul of Aave does."""
    return (amount * ray + _HALF_RAY) // RAY
