"""Repeats the answers of a local chain's price feeds, as a reporter does when a price stands still.

Nobody else would: after a day every feed would be older than a deal accepts.
"""

from __future__ import annotations

from typing import Any, Final

from activities.protocols.abi import Function
from activities.protocols.chainlink import LATEST_ROUND_DATA
from starters.local.chain_source import addresses
from starters.local.probes import rpc

_HEARTBEAT: Final = 12 * 3_600
"""In seconds of the chain's clock: half the age at which the profiles refuse a price."""
_FEED_SUFFIX: Final = "_usd_feed"
_OWNER: Final = Function("owner()", ("address",))
_SET_ANSWER: Final = Function("setAnswer(int192)")


def repeat_old_answers(port: int) -> list[str]:
    """Set every feed whose answer is old to that answer again; return the names of those feeds.

    Raises:
        RpcError: the node answered with an error.
        OSError: no node answered.

    """
    contracts = addresses(int(rpc(port, "eth_chainId"), 16))
    # The newest block may be of long ago: what counts is the time that the next one would have.
    now = int(rpc(port, "eth_getBlockByNumber", "pending", False)["timestamp"], 16)  # noqa: FBT003
    repeated = []
    for name, feed in contracts.items():
        if not name.endswith(_FEED_SUFFIX):
            continue
        _, answer, _, updated_at, _ = _read(port, feed, LATEST_ROUND_DATA)
        if now - updated_at >= _HEARTBEAT:
            (owner,) = _read(port, feed, _OWNER)
            order = {"from": owner, "to": feed, "data": _SET_ANSWER.encode(answer)}
            rpc(port, "eth_sendTransaction", order)
            repeated.append(name)
    return repeated


def _read(port: int, target: str, function: Function) -> tuple[Any, ...]:
    """Call a function without arguments."""
    answer = rpc(port, "eth_call", {"to": target, "data": function.encode()}, "latest")
    return function.decode_result(bytes.fromhex(answer[2:]))
