"""Which block of a chain cannot be undone any more."""

from typing import Any, Final

from activities.rpc.client import Rpc
from domain.chains import ChainProfile

NO_BLOCK: Final = -1


async def final_head(rpc: Rpc, profile: ChainProfile) -> int:
    """The newest block that cannot be undone, -1 if there is none; raises `Unavailable`."""
    finality = profile.finality
    if finality.kind == "tag":
        block: dict[str, Any] | None = await rpc.call(
            "eth_getBlockByNumber",
            "finalized",
            False,  # noqa: FBT003 - JSON-RPC positional
        )
        # A young chain, and a node that has just started, know of no such block.
        return int(block["number"], 16) if block else NO_BLOCK
    return int(await rpc.call("eth_blockNumber"), 16) - finality.depth
