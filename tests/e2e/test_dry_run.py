"""Dry runs on a whole stack: as asked for, and beside every real deal."""

from __future__ import annotations

import time

import pytest

from domain.deals import DealStatus, ExecutionMode
from domain.errors import DealError, NoPrediction, SizingRefused
from starters.deals.database import single_connection
from starters.deals.dry_runs import dry_run
from starters.deals.reading import RecordsReader
from starters.local.state import load_environment
from tests.support.desk import Desk
from tests.support.treasury import Treasury

MODES = list(ExecutionMode)
ETHER = 10**18
ETHER_USD8 = 3_000 * 10**8


@pytest.mark.parametrize("chain_id", [138, 651940])
@pytest.mark.parametrize("mode", MODES)
async def test_what_is_asked_for_is_what_the_deal_then_does(
    desk: Desk, chain_id: int, mode: ExecutionMode
) -> None:
    node = desk.node(chain_id)
    request = desk.request(chain_id=chain_id, mode=mode)
    before = Treasury.of(node, desk), node.nonce(desk.treasury, "pending")
    began = time.perf_counter()
    foreseen = await dry_run(desk.client, request, desk.caller)
    took = time.perf_counter() - began
    assert took < 5  # a fraction of a second where nothing else runs
    assert (Treasury.of(node, desk), node.nonce(desk.treasury, "pending")) == before
    assert desk.books.rows("SELECT 1 FROM deals.deals WHERE deal_id = %s", request.deal_id) == []
    assert desk.books.intents(request.deal_id) == []

    await desk.begin(request)
    ended = await desk.end(request.deal_id)
    assert ended.status is DealStatus.COMPLETED
    assert ended.sizing is not None
    comparison = ended.comparison
    assert comparison is not None
    for predicted in (foreseen.prediction, comparison.predicted):
        actual = comparison.realised
        assert [(s.step, s.transactions) for s in predicted.steps] == [
            (s.step, s.transactions) for s in actual.steps
        ]
        # The account is a throwaway one: its zero bytes, and those of amounts, are other ones. And
        # a deal whose blocks are of the same second owes no interest yet, which Aave then has not
        # to write: 32,000 gas of 1,333,000 less than what is predicted.
        assert -0.01 < (predicted.gas - actual.gas) / actual.gas < 0.03
        assert abs(predicted.max_ltv_bps - actual.max_ltv_bps) <= 2
        assert abs(predicted.max_exposure_bps - actual.max_exposure_bps) <= 2
        # The price of gas is each block's own, and falls where blocks are empty; what is left is
        # interest and rounding, 0.05 USD of a hundred.
        cheaper = (predicted.gas_cost_wei - actual.gas_cost_wei) * ETHER_USD8 // ETHER
        assert abs(predicted.profit_usd8 + cheaper - actual.profit_usd8) < 5 * 10**6
    reader = RecordsReader(
        single_connection(load_environment(desk.stack.folder)["DEAL_DATABASE_URL"])
    )
    recorded = await reader.find(request.deal_id)
    assert recorded is not None
    assert recorded.comparison == comparison


async def test_what_a_deal_would_be_refused_for_is_what_the_dry_run_says(desk: Desk) -> None:
    request = desk.request()
    with desk.node().redemption_fee(200):  # the pool is 150 basis points below par
        with pytest.raises(SizingRefused) as caught:
            await dry_run(desk.client, request, desk.caller)
        denied = await desk.begin(request)
    assert denied.status is DealStatus.DENIED
    assert denied.problem is not None
    assert (caught.value.problem.code, caught.value.problem.field) == (
        denied.problem.code,
        denied.problem.field,
    )
    assert denied.prediction is None


async def test_a_frozen_redemption_is_told_before_the_deal(desk: Desk) -> None:
    node = desk.node()
    with node.frozen(), pytest.raises(DealError) as caught:
        await dry_run(desk.client, desk.request(), desk.caller)
    assert caught.value.problem.field == "redemption_frozen"
    assert not isinstance(caught.value, NoPrediction)
