"""What is refused is refused before anything is signed, with what was wrong and what to do."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from domain.deals import DealStatus
from domain.views import DealView
from tests.support.desk import Desk
from tests.support.node import Node
from tests.support.treasury import Treasury


class Untouched:
    """Before and after: nothing signed, no nonce given out, no balance moved."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._before = self._look()

    def _look(self) -> tuple[Any, ...]:
        node, treasury = self._desk.node(), self._desk.treasury
        return (
            Treasury.of(node, self._desk),
            node.nonce(treasury, "pending"),
            self._desk.books.next_nonce(treasury, 138),
        )

    def check(self, view: DealView) -> None:
        """The deal was denied and left nothing but its record."""
        deal_id = view.request.deal_id
        assert view.status is DealStatus.DENIED
        assert self._look() == self._before
        assert self._desk.books.intents(deal_id) == []
        assert self._desk.books.journal(deal_id) == []
        recorded = "SELECT status, problem ->> 'code' FROM deals.deals WHERE deal_id = %s"
        assert view.problem is not None
        assert self._desk.books.rows(recorded, deal_id) == [("DENIED", view.problem.code)]


@pytest.fixture
def node(desk: Desk) -> Node:
    return desk.node()


@pytest.mark.parametrize(
    ("changes", "code", "field"),
    [
        ({"module": "usdx"}, "not_found", "module"),
        ({"mode": "pipelined", "cycles": 11}, "invalid_input", "cycles"),
        ({"working_liquidity": "999999"}, "policy_size", "value"),
        ({"working_liquidity": "0.001"}, "sizing_refused", "profit"),
    ],
    ids=["unknown module", "too many at once", "more than anybody may start", "too small to pay"],
)
async def test_a_request_that_cannot_be_run_is_denied(
    desk: Desk, node: Node, changes: dict[str, Any], code: str, field: str
) -> None:
    # On a chain that has had nearly empty blocks for long gas costs nothing, and any size pays.
    node.ask("anvil_setNextBlockBaseFeePerGas", hex(10**9))
    node.mine()
    untouched = Untouched(desk)
    view = await desk.end((await desk.start(**changes)).request.deal_id)
    untouched.check(view)
    assert view.problem is not None
    assert (view.problem.code, view.problem.field) == (code, field)
    assert view.problem.next_action


async def test_more_than_the_treasury_has_is_denied(desk: Desk, node: Node) -> None:
    before = node.ask("eth_getBalance", desk.treasury, "latest")
    node.ask("anvil_setBalance", desk.treasury, hex(10**18))
    try:
        untouched = Untouched(desk)
        view = await desk.end((await desk.start()).request.deal_id)
        untouched.check(view)
    finally:
        node.ask("anvil_setBalance", desk.treasury, before)
    assert view.problem is not None
    assert (view.problem.code, view.problem.field) == ("sizing_refused", "treasury")


async def test_a_deal_that_would_not_pay_is_denied(desk: Desk, node: Node) -> None:
    with node.redemption_fee(200):  # the pool is 150 basis points below par
        untouched = Untouched(desk)
        view = await desk.end((await desk.start()).request.deal_id)
        untouched.check(view)
    assert view.problem is not None
    assert (view.problem.code, view.problem.field) == ("sizing_refused", "profit")


async def test_a_deal_is_denied_while_redemption_is_frozen(desk: Desk, node: Node) -> None:
    with node.frozen():
        untouched = Untouched(desk)
        view = await desk.end((await desk.start()).request.deal_id)
        untouched.check(view)
    assert view.problem is not None
    assert view.problem.field == "redemption_frozen"
    assert view.problem.next_action == "wait until redemption reopens"


async def test_the_first_of_many_identical_requests_that_are_denied_answers_for_all(
    desk: Desk,
) -> None:
    request = desk.request(module="usdx")
    answers = await asyncio.gather(*(desk.begin(request) for _ in range(50)))
    assert {answer.status for answer in answers} == {DealStatus.DENIED}
    assert len({answer.model_dump_json() for answer in answers}) == 1
