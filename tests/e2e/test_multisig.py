"""Deals that owners must approve, on the real chain with a real Safe of two out of three."""

from __future__ import annotations

from typing import Any, Final
from uuid import uuid4

from domain.approvals import Approval
from domain.deals import DealStatus, Step
from domain.identifiers import Address
from domain.views import DealView
from tests.support.desk import Desk
from tests.support.owners import KEYS, sign
from workflows.deal.messages import OwnerMessage

LARGE: Final = "400"
"""Ether worth 1,200,000 USD."""


async def approve(desk: Desk, view: DealView, owner: Address, **changes: Any) -> Approval:
    """Sign as this owner, with a signature made by nothing of ours."""
    assert view.approval is not None
    proposal = view.approval.proposal
    fields = {
        "owner": owner,
        "signature": sign(owner, proposal.transaction_hash),
        "transaction_hash": proposal.transaction_hash,
        "who": "an owner",
    }
    message = OwnerMessage.model_validate(fields | changes)
    return await desk.deals.hear_owner(view.request.deal_id, message, uuid4().hex)


async def test_a_large_deal_is_funded_by_the_safe_and_settles_into_it(desk: Desk) -> None:
    node = desk.node()
    safe = node.contracts["treasury_safe"]
    before, par_before = node.wei(safe), node.token("usdt", safe)
    view = await desk.start(working_liquidity=LARGE)
    assert view.status is DealStatus.AWAITING_APPROVAL, view.problem
    first, second, _ = KEYS
    await approve(desk, view, second)
    await approve(desk, view, first)

    ended = await desk.end(view.request.deal_id)
    assert ended.status is DealStatus.COMPLETED, ended.problem
    assert ended.treasury == safe
    assert ended.settlement is not None
    fund = ended.steps[0].outcome
    assert fund.key.step is Step.FUND
    gas = fund.inclusions[0].gas_cost_wei
    assert node.wei(safe) - before == ended.settlement.ether_wei + gas
    assert node.token("usdt", safe) - par_before == ended.settlement.par > 0
    assert ended.account is not None
    assert node.holdings(ended.account) == {}
    desk.books.check_exactly_once(ended, node)
