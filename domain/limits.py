"""Hard limits of every deal, in basis points unless named otherwise; a request may be tighter."""

from typing import Final

MAX_LTV_BPS: Final = 3_000
"""Loan to value: debt over collateral value, 0.30."""

MAX_EXPOSURE_BPS: Final = 2_500
"""Value of the discount token at par over the deal's net asset value, 0.25."""

MAX_SLIPPAGE_BPS: Final = 500
"""Shortfall of a swap against its quote that a request may allow, 0.05."""

MAX_CYCLES: Final = 20
"""Swap and redeem rounds of one deal."""

MAX_PIPELINED_CYCLES: Final = 10
"""The same of a pipelined deal: nodes hold 64 of an account's transactions that arrived before the
ones they follow, and all of a run may have to be held."""

MAX_WORKING_LIQUIDITY_WEI: Final = 10**24
"""One million ETH: above this a typing mistake is likelier than a deal."""

SENIOR_TRADER_ABOVE_USD8: Final = 5_000_000 * 10**8
"""What only a senior trader may start: more than five million US dollars, in units of 1e-8."""
