"""ERC-20 tokens."""

from typing import Final

from activities.protocols.abi import Function, event_topic

APPROVE: Final = Function("approve(address,uint256)", ("bool",))
ALLOWANCE: Final = Function("allowance(address,address)", ("uint256",))
TRANSFER: Final = Function("transfer(address,uint256)", ("bool",))
BALANCE_OF: Final = Function("balanceOf(address)", ("uint256",))
DECIMALS: Final = Function("decimals()", ("uint8",))
TRANSFER_TOPIC: Final = event_topic("Transfer(address,address,uint256)")
