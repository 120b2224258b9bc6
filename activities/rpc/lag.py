"""What answers tell in passing about a node's newest block, and which nodes lag behind."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from activities.rpc.calls import RpcCall, RpcError

_MAJORITY: Final = 3
"""From that many endpoints on, one that is far ahead of all others is not believed."""

Reading = Callable[[tuple[Any, ...], Any], int | None]
"""Takes a call's parameters and its answer, and returns a block number."""


@dataclass(frozen=True, slots=True)
class HeadHint:
    """What the answers of one request tell of the newest block."""

    exact: int | None = None
    """Its number, if any of the calls asked for that."""
    at_least: int | None = None
    """A block that the node has, such as that of a receipt; never less than `exact`."""


def head_in(calls: Sequence[RpcCall], answers: Sequence[Any]) -> HeadHint:
    """What these answers tell of the newest block."""
    exact = _highest(_EXACT, calls, answers)
    reached = [block for block in (exact, _highest(_REACHED, calls, answers)) if block is not None]
    return HeadHint(exact, max(reached, default=None))


def reference_head(heads: Sequence[int], tolerance: int) -> int | None:
    """The block that the others are measured by: the highest, unless one alone is far ahead.

    One of three that lies about its head would otherwise make laggards of two that do not.
    """
    if not heads:
        return None
    highest, *others = sorted(heads, reverse=True)
    if len(heads) >= _MAJORITY and highest - others[0] > tolerance:
        return others[0]
    return highest


def _highest(
    readings: dict[str, Reading], calls: Sequence[RpcCall], answers: Sequence[Any]
) -> int | None:
    found: list[int] = []
    for call, answer in zip(calls, answers, strict=True):
        reading = readings.get(call.method)
        if reading is None or answer is None or isinstance(answer, RpcError):
            continue
        try:
            block = reading(call.params, answer)
        except (IndexError, KeyError, TypeError, ValueError):
            continue
        if block is not None:
            found.append(block)
    return max(found, default=None)


def _of_block(params: tuple[Any, ...], block: dict[str, str]) -> int | None:
    return int(block["number"], 16) if params[0] == "latest" else None


def _of_history(_: tuple[Any, ...], history: dict[str, Any]) -> int:
    """The last base fee is that of a block that is still to come; some nodes leave blocks out."""
    return int(history["oldestBlock"], 16) + len(history["baseFeePerGas"]) - 2


_EXACT: Final[dict[str, Reading]] = {
    "eth_blockNumber": lambda _, answer: int(answer, 16),
    "eth_getBlockByNumber": _of_block,
}
_REACHED: Final[dict[str, Reading]] = {
    "eth_getTransactionReceipt": lambda _, receipt: int(receipt["blockNumber"], 16),
    "eth_feeHistory": _of_history,
}
