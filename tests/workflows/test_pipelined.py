"""A pipelined deal: which way it takes after a run that did not do all it promised."""

from __future__ import annotations

import pytest

from domain.deals import Command, DealStatus
from domain.errors import (
    DealError,
    LimitExceeded,
    PostConditionFailed,
    RedemptionFrozen,
    SigningRefused,
    SimulationFailed,
    TransactionReplaced,
    TransactionReverted,
)
from domain.positions import Position
from domain.views import DealView
from tests.workflows.conftest import Theatre
from tests.workflows.fakes import OUTBIDDING, Script, expected_profit
from tests.workflows.test_deal import error, keys

DOLLAR = 10**6
WHOLE = ["fund/1/1", "run/1/1", "sweep/1/1"]


async def run(theatre: Theatre, script: Script) -> DealView:
    return await theatre.run(script, mode="pipelined")


def stuck_with(discount: int, debt: int) -> Position:
    """The account of a run that stopped short: collateral, discount tokens, and what it owes."""
    return Script().position.model_copy(
        update={
            "wei": 10**18,
            "collateral": 9 * 10**18,
            "collateral_usd8": 27_000 * 10**8,
            "discount": discount,
            "debt": debt,
            "debt_usd8": debt * 100,
        }
    )


async def test_it_is_funded_run_and_swept(theatre: Theatre) -> None:
    view = await run(theatre, Script())
    assert view.status is DealStatus.COMPLETED
    assert keys(view) == WHOLE
    assert view.sizing is not None
    assert view.settlement is not None
    assert view.settlement.par == expected_profit(view.sizing)


@pytest.mark.parametrize("kind", [SimulationFailed, SigningRefused])
async def test_a_run_that_was_never_sent_is_built_anew(
    theatre: Theatre, kind: type[DealError]
) -> None:
    activity = "prepare" if kind is SimulationFailed else "sign"
    script = Script(refused={(activity, "run/1/1"): [error(kind)]})
    view = await run(theatre, script)
    assert view.status is DealStatus.COMPLETED
    assert keys(view) == ["fund/1/1", "run/1/2", "sweep/1/1"]


async def test_so_is_one_whose_nonces_were_filled(theatre: Theatre) -> None:
    script = Script(refused={("sign", "run/1/1"): [error(SigningRefused)]}, gaps={"run/1/1"})
    view = await run(theatre, script)
    assert view.status is DealStatus.COMPLETED
    assert keys(view) == ["fund/1/1", "run/1/1/fill", "run/1/2", "sweep/1/1"]


async def test_so_is_one_that_only_no_ops_were_mined_of(theatre: Theatre) -> None:
    """The pool has moved before it was sent, as it does where many deals swap at once."""
    script = Script(
        displaced={"run/1/1": OUTBIDDING}, outcomes={"run/1/1": error(TransactionReplaced)}
    )
    view = await run(theatre, script)
    assert view.status is DealStatus.COMPLETED
    assert keys(view) == ["fund/1/1", "run/1/1", "run/1/2", "sweep/1/1"]
    assert [i.no_op for i in view.steps[1].outcome.inclusions] == [True]


@pytest.mark.parametrize("kind", [TransactionReverted, PostConditionFailed])
async def test_a_run_that_was_mined_is_never_repeated(
    theatre: Theatre, kind: type[DealError]
) -> None:
    script = Script(outcomes={"run/1/1": error(kind)})
    view = await run(theatre, script)
    assert view.status is DealStatus.UNWOUND
    assert keys(view) == WHOLE
    assert view.problem is not None
    assert view.problem.code == kind.code


@pytest.mark.parametrize("kind", [LimitExceeded, RedemptionFrozen])
async def test_what_a_limit_or_a_freeze_forbids_is_not_begun(
    theatre: Theatre, kind: type[DealError]
) -> None:
    script = Script(refused={("prepare", "run/1/1"): [error(kind)]})
    view = await run(theatre, script)
    assert view.status is DealStatus.UNWOUND
    assert keys(view) == ["fund/1/1", "sweep/1/1"]
    assert "prepare run/1/2" not in script.calls


class TestStoppedShort:
    """The way out is decided by what the account holds."""

    async def test_with_a_debt_alone_it_unwinds(self, theatre: Theatre) -> None:
        script = Script(
            outcomes={"run/1/1": error(TransactionReverted)},
            stopped_short={"run/1/1": stuck_with(0, 7_000 * DOLLAR)},
        )
        view = await run(theatre, script)
        assert view.status is DealStatus.UNWOUND
        assert keys(view)[2:] == ["top_up/1/1", "settle/1/1", "sweep/1/1"]

    async def test_with_discount_tokens_it_redeems_them_and_completes(
        self, theatre: Theatre
    ) -> None:
        script = Script(
            outcomes={"run/1/1": error(TransactionReverted)},
            stopped_short={"run/1/1": stuck_with(7_100 * DOLLAR, 7_000 * DOLLAR)},
        )
        view = await run(theatre, script)
        assert view.status is DealStatus.COMPLETED
        assert keys(view)[2:] == ["redeem/1/1", "settle/1/1", "sweep/1/1"]

    async def test_it_waits_frozen_until_redemption_reopens(self, theatre: Theatre) -> None:
        script = Script(
            outcomes={"run/1/1": error(TransactionReverted)},
            stopped_short={"run/1/1": stuck_with(7_100 * DOLLAR, 7_000 * DOLLAR)},
            refused={("prepare", "redeem/1/1"): [error(RedemptionFrozen)]},
        )
        view = await run(theatre, script)
        assert view.status is DealStatus.COMPLETED
        assert DealStatus.FROZEN in {record.view.status for record in script.records}
        assert keys(view)[2:] == ["redeem/2/1", "settle/1/1", "sweep/1/1"]

    async def test_cancelled_while_it_waits_it_unwinds(self, theatre: Theatre) -> None:
        script = Script(
            outcomes={"run/1/1": error(TransactionReverted)},
            stopped_short={"run/1/1": stuck_with(7_100 * DOLLAR, 7_000 * DOLLAR)},
            refused={("prepare", "redeem/1/1"): [error(RedemptionFrozen)]},
            frozen=True,
        )
        deal_id = (await theatre.start(script, mode="pipelined")).request.deal_id
        await theatre.until(deal_id, lambda view: view.status is DealStatus.FROZEN)
        await theatre.command(deal_id, Command.CANCEL)
        view = await theatre.end(deal_id)
        assert view.status is DealStatus.UNWOUND
        assert keys(view)[2:] == ["unwind/1/1", "settle/1/1", "sweep/1/1"]
