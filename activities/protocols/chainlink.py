"""Price feeds that answer as Chainlink's aggregators do.

Source: AggregatorV3Interface of @chainlink/contracts.
"""

from typing import Final

from activities.protocols.abi import Function

LATEST_ROUND_DATA: Final = Function(
    "latestRoundData()", ("uint80", "int256", "uint256", "uint256", "uint80")
)
"""Round, answer, started at, updated at (Unix seconds), answered in round."""
