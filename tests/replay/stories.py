"""The deals and operations whose histories are kept and replayed, each told on a real stack."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Final
from uuid import uuid4

from domain.deals import Command, DealStatus, Step
from domain.identifiers import DealId
from domain.operations import OperationId, OperationStatus
from tests.support.desk import Desk
from tests.support.owners import KEYS, sign
from tests.support.timelocks import Office
from workflows.deal.messages import CommandMessage, OwnerMessage

LARGE: Final = "400"
"""Ether worth more than the treasury may pay without the owners of the Safe."""


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


async def approved(desk: Desk) -> DealId:
    """A deal that waits for two owners of the Safe, and goes well."""
    view = await desk.start(working_liquidity=LARGE)
    deal_id, approval = view.request.deal_id, view.approval
    assert approval is not None, view.problem
    transaction_hash = approval.proposal.transaction_hash
    for owner in tuple(KEYS)[: approval.proposal.threshold]:
        message = OwnerMessage(
            owner=owner,
            transaction_hash=transaction_hash,
            signature=sign(owner, transaction_hash),
            who="an owner",
        )
        await desk.deals.hear_owner(deal_id, message, uuid4().hex)
    await desk.end(deal_id)
    return deal_id


async def operation_done(office: Office) -> OperationId:
    """A change that is scheduled, waited for and executed."""
    view = await office.propose(kind="redemption_fee", fee_bps=7)
    await office.end(view)
    return view.request.operation_id


async def operation_cancelled(office: Office) -> OperationId:
    """A change that is cancelled while it waits for the timelock's delay."""
    view = await office.propose(kind="redemption_fee", fee_bps=9)
    await office.until(view, OperationStatus.WAITING)
    message = CommandMessage(who="a risk manager", why="a test")
    await office.operations.cancel(view.request.operation_id, message, uuid4().hex)
    return view.request.operation_id


STORIES: Final[Mapping[str, Callable[[Desk], Awaitable[DealId]]]] = {
    "completed": completed,
    "cancelled": cancelled,
    "frozen": frozen,
    "pipelined": pipelined,
    "pipelined-frozen": pipelined_frozen,
    "approved": approved,
}
OPERATIONS: Final[Mapping[str, Callable[[Office], Awaitable[OperationId]]]] = {
    "operation-done": operation_done,
    "operation-cancelled": operation_cancelled,
}
