"""What answers tell in passing about a node's newest block, and which nodes lag behind."""

from collections.abc import Callable, Sequence
from typing import Any, Final

from activities.rpc.calls import RpcCall, RpcError

_MAJORITY: Final = 3
"""From that many endpoints on, one that is far ahead of all others is not believed."""


def head_in(calls: Sequence[RpcCall], answers: Sequence[Any]) -> int | None:
    """The newest block that these answers know of, if any of them tells."""
    told = [_told(call, answer) for call, answer in zip(calls, answers, strict=True)]
    return max((head for head in told if head is not None), default=None)


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


def _told(call: RpcCall, answer: Any) -> int | None:  # noqa: ANN401 - JSON of any shape
    if answer is None or isinstance(answer, RpcError):
        return None
    try:
        return _READINGS[call.method](call.params, answer)
    except (IndexError, KeyError, TypeError, ValueError):
        return None


def _of_block(params: tuple[Any, ...], block: dict[str, str]) -> int | None:
    return int(block["number"], 16) if params[0] == "latest" else None


def _of_history(params: tuple[Any, ...], history: dict[str, Any]) -> int | None:
    """The last base fee is that of the block after the newest."""
    newest = int(history["oldestBlock"], 16) + len(history["baseFeePerGas"]) - 2
    return newest if params[1] == "latest" else None


_READINGS: Final[dict[str, Callable[[tuple[Any, ...], Any], int | None]]] = {
    "eth_blockNumber": lambda _, answer: int(answer, 16),
    "eth_getBlockByNumber": _of_block,
    "eth_getTransactionReceipt": lambda _, receipt: int(receipt["blockNumber"], 16),
    "eth_feeHistory": _of_history,
}
