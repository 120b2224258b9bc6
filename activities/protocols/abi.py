"""Encoding and decoding of calls, results and event topics, by their Solidity signatures."""

from functools import cached_property
from typing import Any, Final

from eth_abi.abi import decode, encode
from eth_abi.grammar import TupleType, parse

from domain.hashing import keccak
from domain.identifiers import Address

SELECTOR_BYTES: Final = 4
_WORD_BYTES: Final = 32


class Function:
    """A contract function: ``name(types)`` as in the selector, and the types it returns.

    Addresses go in and come out as lower-case hexadecimal text; use `Address.from_bytes` or
    `address_of` to get a checked one.
    """

    def __init__(self, signature: str, returns: tuple[str, ...] = ()) -> None:
        """Take the canonical signature, such as ``approve(address,uint256)``."""
        self.signature = signature
        self.name = signature.partition("(")[0]
        self.returns = returns
        self.types = types_of(signature)

    @cached_property
    def selector(self) -> bytes:
        """The first four bytes of the signature's keccak-256."""
        return keccak(self.signature.encode())[:SELECTOR_BYTES]

    def encode(self, *arguments: object) -> str:
        """Calldata as 0x-hexadecimal text."""
        return "0x" + (self.selector + encode(self.types, arguments)).hex()

    def decode_arguments(self, calldata: bytes) -> tuple[Any, ...]:
        """Arguments of calldata for this function; strict, so trailing or dirty bytes raise.

        Raises `ValueError` unless encoding the arguments again gives the very same bytes.
        """
        if calldata[:SELECTOR_BYTES] != self.selector:
            msg = f"calldata is not for {self.signature}"
            raise ValueError(msg)
        try:
            arguments = decode(self.types, calldata[SELECTOR_BYTES:])
        except OverflowError:  # of an offset that no calldata is long enough for
            msg = f"calldata for {self.signature} points beyond its end"
            raise ValueError(msg) from None
        if encode(self.types, arguments) != calldata[SELECTOR_BYTES:]:
            msg = f"calldata for {self.signature} is not canonically encoded"
            raise ValueError(msg)
        return arguments

    def decode_result(self, raw: bytes) -> tuple[Any, ...]:
        """Values returned by the function."""
        return decode(self.returns, raw)


def types_of(signature: str) -> tuple[str, ...]:
    """The argument types of a canonical signature."""
    if signature.endswith("()"):
        return ()
    parsed = parse(signature[signature.index("(") :])
    if not isinstance(parsed, TupleType):
        msg = f"{signature} has no argument list"
        raise TypeError(msg)
    return tuple(component.to_type_str() for component in parsed.components)


def event_topic(signature: str) -> str:
    """Topic 0 of an event, 0x-hexadecimal."""
    return "0x" + keccak(signature.encode()).hex()


def address_of(word: str | bytes) -> Address:
    """The address in an ABI word, a log topic or decoded text."""
    raw = bytes.fromhex(word.removeprefix("0x")) if isinstance(word, str) else word
    return Address.from_bytes(raw[-20:])
