"""The redemption module: the discount token at par less a fee, unless it is frozen."""

from typing import Final

from activities.protocols.abi import Function

REDEEM: Final = Function("redeem(uint256,address)", ("uint256",))
QUOTE_REDEEM: Final = Function("quoteRedeem(uint256)", ("uint256",))
FEE_BPS: Final = Function("feeBps()", ("uint256",))
REDEEM_FROZEN: Final = Function("redeemFrozen()", ("bool",))
REMAINING_TODAY: Final = Function("remainingToday()", ("uint256",))
RESERVE: Final = Function("reserve()", ("uint256",))
"""Par tokens held to pay redemptions."""
