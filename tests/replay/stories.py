"""The deals whose histories are kept and replayed, each told on a real stack."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from domain.deals import Command, DealStatus, Step
from domain.identifiers import DealId
from tests.support.desk import Desk


async def completed(desk: Desk) -> DealId:
    """A deal that goes well."""
    return (await desk.run()).request.deal_id


async def cancelled(desk: Desk) -> DealId:
    """A deal that is paused and resumed, and cancelled when it is in debt."""
    node = desk.node()
    with node.held():
        deal_id = (await desk.start()).request.deal_id
        await desk.sent(deal_id, Step.FUND)
        await desk.command(deal_id, Command.PAUSE)
        node.mine()
        await desk.status(deal_id, DealStatus.PAUSED)
        await desk.command(deal_id, Command.RESUME)
        for step in (Step.WRAP, Step.COLLATERALIZE, Step.BORROW):
            await desk.sent(deal_id, step)
            if step is not Step.BORROW:
                node.mine()
        await desk.command(deal_id, Command.CANCEL)
    await desk.end(deal_id)
    return deal_id


async def frozen(desk: Desk) -> DealId:
    """A deal that holds discount tokens while redemption is frozen, and completes after it."""
    node = desk.node()
    try:
        with node.held():
            deal_id = (await desk.start()).request.deal_id
            for step in (Step.FUND, Step.WRAP, Step.COLLATERALIZE, Step.BORROW, Step.SWAP):
                await desk.sent(deal_id, step)
                if step is not Step.SWAP:
                    node.mine()
            node.freeze()
        await desk.status(deal_id, DealStatus.FROZEN)
    finally:
        node.thaw()
    await desk.end(deal_id)
    return deal_id


async def pipelined(desk: Desk) -> DealId:
    """A pipelined deal that goes well."""
    return (await desk.run(mode="pipelined", cycles=2)).request.deal_id


async def pipelined_frozen(desk: Desk) -> DealId:
    """A pipelined deal whose run could not redeem, and that completes after it."""
    node = desk.node()
    try:
        with node.held():
            deal_id = (await desk.start(mode="pipelined")).request.deal_id
            await desk.sent(deal_id, Step.FUND)
            node.mine()
            await desk.sent(deal_id, Step.RUN)
            node.freeze_first()
        await desk.status(deal_id, DealStatus.FROZEN)
    finally:
        node.thaw()
    await desk.end(deal_id)
    return deal_id


STORIES: Final[Mapping[str, Callable[[Desk], Awaitable[DealId]]]] = {
    "completed": completed,
    "cancelled": cancelled,
    "frozen": frozen,
    "pipelined": pipelined,
    "pipelined-frozen": pipelined_frozen,
}
