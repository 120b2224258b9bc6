"""Aave v3: the pool, its oracle and its data provider.

Source: Aave v3 technical paper and the interfaces of aave-v3-core 1.19.3.
"""

from typing import Final

from activities.protocols.abi import Function

VARIABLE_RATE: Final = 2
NO_REFERRAL: Final = 0
ALL: Final = 2**256 - 1
"""Repay or withdraw everything there is at the time of execution."""

SUPPLY: Final = Function("supply(address,uint256,address,uint16)")
BORROW: Final = Function("borrow(address,uint256,uint256,uint16,address)")
REPAY: Final = Function("repay(address,uint256,uint256,address)", ("uint256",))
WITHDRAW: Final = Function("withdraw(address,uint256,address)", ("uint256",))
GET_USER_ACCOUNT_DATA: Final = Function(
    "getUserAccountData(address)",
    ("uint256", "uint256", "uint256", "uint256", "uint256", "uint256"),
)
"""Collateral, debt and room to borrow (1e-8 USD), threshold and LTV (bps), health (1e18)."""

SCALED_BALANCE_OF: Final = Function("scaledBalanceOf(address)", ("uint256",))
GET_PREVIOUS_INDEX: Final = Function("getPreviousIndex(address)", ("uint256",))
"""Of aTokens and debt tokens: balance without interest, and index (ray) of its last change."""

GET_RESERVE_NORMALIZED_INCOME: Final = Function("getReserveNormalizedIncome(address)", ("uint256",))
"""What one unit supplied at the beginning has become, in ray."""

GET_ASSET_PRICE: Final = Function("getAssetPrice(address)", ("uint256",))
GET_RESERVE_CONFIGURATION: Final = Function(
    "getReserveConfigurationData(address)",
    (
        *("uint256",) * 5,
        *("bool",) * 5,
    ),
)
"""Decimals, LTV and threshold (bps), bonus, factor, then five flags."""

GET_RESERVE_DATA: Final = Function(
    "getReserveData(address)",
    (*("uint256",) * 11, "uint40"),
)
"""Of the data provider; index 6 is the variable borrow rate in ray."""
