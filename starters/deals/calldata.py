"""Calldata in words: the function that is called and its arguments, addresses by their names."""

from collections.abc import Mapping
from itertools import chain
from typing import Final

from eth_abi.exceptions import DecodingError

from activities.protocols import aave, erc20, redemption, uniswap, weth
from activities.protocols.abi import SELECTOR_BYTES, Function

_FUNCTIONS: Final = {
    found.selector: found
    for found in chain.from_iterable(
        vars(module).values() for module in (aave, erc20, redemption, uniswap, weth)
    )
    if isinstance(found, Function)
}


def call_text(data: str, names: Mapping[str, str]) -> str | None:
    """Write calldata (0x-hexadecimal) as a call; None if it is empty or of no function we know.

    `names` gives the names of addresses, which are in lower case.
    """
    calldata = bytes.fromhex(data.removeprefix("0x"))
    function = _FUNCTIONS.get(calldata[:SELECTOR_BYTES])
    if function is None:
        return None
    try:
        arguments = function.decode_arguments(calldata)
    except (ValueError, DecodingError):
        return None
    return f"{function.name}({', '.join(_text(argument, names) for argument in arguments)})"


def _text(argument: object, names: Mapping[str, str]) -> str:
    if isinstance(argument, tuple | list):
        return f"({', '.join(_text(part, names) for part in argument)})"
    if isinstance(argument, bytes):
        return f"0x{argument.hex()}"
    return names.get(str(argument), str(argument))
