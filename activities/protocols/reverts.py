"""Why a call reverted, in words: Solidity's own errors, our modules', OpenZeppelin's and Aave's."""

from collections.abc import Mapping
from typing import Final

from eth_abi.abi import decode
from eth_abi.exceptions import DecodingError

from activities.protocols.abi import SELECTOR_BYTES, Function

_ERROR: Final = Function("Error(string)")
_PANIC: Final = Function("Panic(uint256)")
_CUSTOM: Final[Mapping[bytes, Function]] = {
    error.selector: error
    for error in (
        _ERROR,
        _PANIC,
        Function("Frozen(uint8)"),
        Function("DailyCapExceeded(uint256,uint256)"),
        Function("InsufficientReserve(uint256,uint256)"),
        Function("ZeroAmount()"),
        Function("NotMinter(address)"),
        Function("AllowanceNotZero(address,uint256,uint256)"),
        Function("ERC20InsufficientBalance(address,uint256,uint256)"),
        Function("ERC20InsufficientAllowance(address,uint256,uint256)"),
        Function("OwnableUnauthorizedAccount(address)"),
    )
}
_AAVE: Final[Mapping[str, str]] = {
    "26": "the amount is zero",
    "27": "the reserve is not active",
    "28": "the reserve is frozen",
    "29": "the reserve is paused",
    "30": "borrowing is not enabled",
    "32": "the account does not hold that much",
    "34": "there is no collateral",
    "35": "the health factor would fall below 1",
    "36": "the collateral does not cover a new loan",
    "39": "there is no debt of that kind",
    "43": "there is nothing of it to withdraw",
    "50": "the borrow cap is exceeded",
    "51": "the supply cap is exceeded",
    "57": "the loan to value would be too high",
    "59": "the price oracle's sentinel does not allow borrowing",
}
"""Aave's numeric reasons, from the list of codes in its Errors library."""


def reason_of(data: object) -> str | None:
    """Words for revert data (0x-hexadecimal); None if there is none or it is not understood."""
    raw = _bytes_of(data)
    if len(raw) < SELECTOR_BYTES:
        return None
    error = _CUSTOM.get(raw[:SELECTOR_BYTES])
    if error is None:
        return f"error 0x{raw[:SELECTOR_BYTES].hex()}"
    try:
        arguments = decode(error.types, raw[SELECTOR_BYTES:])
    except (DecodingError, ValueError, OverflowError):
        # A contract may revert with anything: text that is no UTF-8, lengths without end.
        return error.name
    if error is _ERROR:
        text = str(arguments[0])
        return f"Aave error {text}: {_AAVE[text]}" if text in _AAVE else text
    return f"{error.name}({', '.join(str(argument) for argument in arguments)})"


def _bytes_of(data: object) -> bytes:
    """What the hexadecimal text stands for; nothing if it is none."""
    try:
        return bytes.fromhex(data.removeprefix("0x")) if isinstance(data, str) else b""
    except ValueError:
        return b""
