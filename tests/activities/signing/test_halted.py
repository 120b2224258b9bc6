"""A halt reaches the signer as well: nothing that adds risk is signed for the first time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from activities.signing.signer import Signer
from domain.deals import Step
from domain.errors import Halted
from tests.activities.signing.samples import CHAIN, HIGHER, Batches, with_fees
from tests.support.halting import forget_halts, put_halt
from tests.support.postgres import Database

Halting = Callable[..., None]
Owner = Callable[..., list[tuple[Any, ...]]]


@pytest.fixture
def halting(database: Database) -> Iterator[Halting]:
    """Changes a halt at once; in the end there was none."""

    def put(scope: str = "desk", state: str = "HALTED", who: str = "risk-1") -> None:
        put_halt(database.role("deal_control"), scope, state, who)

    yield put
    forget_halts(database.owner)


@pytest.mark.parametrize("scope", ["desk", f"chain={CHAIN}", "bank=any", "module=any"])
async def test_what_adds_risk_is_not_signed_until_the_release(
    signer: Signer, batches: Batches, as_owner: Owner, halting: Halting, scope: str
) -> None:
    """Of a deal without a record every bank's and every module's halt counts."""
    order = batches.order(Step.BORROW)
    halting(scope)
    with pytest.raises(Halted) as refused:
        await signer.sign_batch(order)
    assert not refused.value.retryable
    assert str(refused.value) == f"{scope} halted by risk-1: the market moves"
    assert as_owner("SELECT count(*) FROM signing.journal") == [(0,)]
    halting(scope, "ACTIVE", "risk-2")
    assert (await signer.sign_batch(order)).transactions


async def test_a_higher_bid_is_not_signed_but_the_same_bytes_and_a_no_op_are(
    signer: Signer, batches: Batches, halting: Halting
) -> None:
    order = batches.order(Step.BORROW)
    before = await signer.sign_batch(order)
    halting()
    assert await signer.sign_batch(order) == before
    with pytest.raises(Halted):
        await signer.sign_batch(with_fees(order, HIGHER))
    assert (await signer.sign_batch(batches.no_op(Step.BORROW))).transactions


@pytest.mark.parametrize("step", [Step.REDEEM, Step.SETTLE, Step.SWEEP])
async def test_every_way_out_is_signed(
    signer: Signer, batches: Batches, halting: Halting, step: Step
) -> None:
    halting()
    assert (await signer.sign_batch(batches.order(step))).transactions


async def test_another_chains_halt_stops_nothing(
    signer: Signer, batches: Batches, halting: Halting
) -> None:
    halting(f"chain={CHAIN + 1}")
    assert (await signer.sign_batch(batches.order(Step.SWAP))).transactions


async def test_what_was_promised_never_to_be_signed_stays_so(
    signer: Signer, batches: Batches, halting: Halting
) -> None:
    order = batches.order(Step.SWAP)
    halting()
    assert (await signer.withhold_batch(order.batch)).signed == ()
