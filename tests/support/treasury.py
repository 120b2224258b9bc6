"""What deals brought home, as the chain has it and as they tell it."""

from __future__ import annotations

from dataclasses import dataclass

from domain.views import DealView
from tests.support.desk import Desk
from tests.support.node import Node


@dataclass(frozen=True)
class Treasury:
    """What the treasury holds: wei, and units of USDT."""

    wei: int
    par: int

    @classmethod
    def of(cls, node: Node, desk: Desk) -> Treasury:
        """What it holds on one chain now."""
        treasury = desk.treasury
        return cls(node.wei(treasury), node.token("usdt", treasury))

    def __sub__(self, before: Treasury) -> Treasury:
        return Treasury(self.wei - before.wei, self.par - before.par)


def total(views: list[DealView]) -> Treasury:
    """The sum of the deals' settlements."""
    settlements = [view.settlement for view in views if view.settlement is not None]
    assert len(settlements) == len(views)
    return Treasury(sum(s.ether_wei for s in settlements), sum(s.par for s in settlements))


def check_home(desk: Desk, before: Treasury, *views: DealView) -> None:
    """Every wei and token of these deals of a chain is with the treasury, as they tell it.

    Nothing is in their accounts, and each of their transactions happened once.
    """
    node = desk.node(views[0].request.chain_id)
    for view in views:
        assert view.account is not None
        assert node.holdings(view.account) == {}
        desk.books.check_exactly_once(view, node)
    assert total(list(views)) == Treasury.of(node, desk) - before
