"""The rules of what is told to a timelock; `test_timelock` refuses by each."""

from typing import Final

from activities.signing.findings import Rule

TIMELOCK_RULES: Final = frozenset(
    {
        Rule.OPERATION,
        Rule.OPERATION_CALL,
        Rule.OPERATION_ARGUMENT,
        Rule.OPERATION_SALT,
        Rule.OPERATION_DELAY,
        Rule.OPERATION_EARLY,
        Rule.OPERATION_CANCELLED,
    }
)
