"""WETH9: ether as a token. It logs Deposit and Withdrawal where others log Transfer."""

from typing import Final

from activities.protocols.abi import Function, event_topic

DEPOSIT: Final = Function("deposit()")
WITHDRAW: Final = Function("withdraw(uint256)")
DEPOSIT_TOPIC: Final = event_topic("Deposit(address,uint256)")
WITHDRAWAL_TOPIC: Final = event_topic("Withdrawal(address,uint256)")
