"""Which block of a chain cannot be undone any more: the one place that says so."""

from typing import Any, Final

from activities.rpc.client import Questions, RpcCall
from domain.chains import ChainProfile

NO_BLOCK: Final = -1


def newest_final(profile: ChainProfile, head: int, tagged: int | None = None) -> int:
    """The newest block that cannot be undone when `head` is the newest; -1 if there is none.

    `tagged` is the node's own ``finalized`` block, where the profile goes by it: a young chain, a
    node that has just started, and whoever has not asked know of none.
    """
    if profile.finality.kind == "tag":
        return NO_BLOCK if tagged is None else tagged
    return head - profile.finality.depth


def final_block_call(profile: ChainProfile) -> RpcCall:
    """Asks for the block that the profile goes by: the node's own, or the newest."""
    which = "finalized" if profile.finality.kind == "tag" else "latest"
    return RpcCall("eth_getBlockByNumber", (which, False))


async def final_head(rpc: Questions, profile: ChainProfile) -> int:
    """The newest block that cannot be undone, -1 if there is none; raises `Unavailable`."""
    call = final_block_call(profile)
    block: dict[str, Any] | None = await rpc.call(call.method, *call.params)
    number = NO_BLOCK if block is None else int(block["number"], 16)
    return newest_final(profile, number, None if block is None else number)
