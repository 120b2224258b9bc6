"""Multicall3: many reads in one call, all of the same block."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from activities.protocols.abi import Function
from domain.identifiers import Address

AGGREGATE3: Final = Function("aggregate3((address,bool,bytes)[])", ("(bool,bytes)[]",))
GET_ETH_BALANCE: Final = Function("getEthBalance(address)", ("uint256",))
GET_BLOCK_NUMBER: Final = Function("getBlockNumber()", ("uint256",))
GET_TIMESTAMP: Final = Function("getCurrentBlockTimestamp()", ("uint256",))


@dataclass(frozen=True, slots=True)
class Read:
    """One function to read on one contract."""

    target: Address
    function: Function
    arguments: tuple[object, ...] = ()
    optional: bool = False
    """One that fails returns nothing, and does not fail the others."""


def encode_reads(reads: list[Read]) -> str:
    """Calldata that reads them all; any one failing fails the whole, unless it is optional."""
    return _encoded(tuple(reads))


@lru_cache(maxsize=1_000)
def _encoded(reads: tuple[Read, ...]) -> str:
    """Encode once what is read again and again: a deal's position, at every look."""
    calls = [
        (read.target, read.optional, bytes.fromhex(read.function.encode(*read.arguments)[2:]))
        for read in reads
    ]
    return AGGREGATE3.encode(calls)


def decode_reads(reads: list[Read], result: str) -> list[tuple[Any, ...]]:
    """The values that each read returned, in order; none for an optional one that failed."""
    (answers,) = AGGREGATE3.decode_result(bytes.fromhex(result[2:]))
    return [
        read.function.decode_result(raw) if succeeded else ()
        for read, (succeeded, raw) in zip(reads, answers, strict=True)
    ]
