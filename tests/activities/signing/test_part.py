"""A part of a debt may be repaid, in a batch that does nothing else."""

from __future__ import annotations

import time

import pytest

from activities.protocols.aave import REPAY, VARIABLE_RATE
from activities.protocols.erc20 import APPROVE
from activities.protocols.uniswap import EXACT_INPUT_SINGLE
from activities.signing.findings import Finding, Rule
from activities.signing.policy import Accepted, review
from domain.amounts import ceil_div
from domain.deals import Step
from domain.transactions import Asset, Bound, PreparedBatch
from tests.activities.signing.refusals import ACCOUNT, ACCOUNTS, DEAL_RECORD
from tests.activities.signing.samples import DEBT, POLICY, POOL, USDT, Batches, order_of

PART = DEBT // 4


def repaying(amount: int, allowed: int, *, alone: bool) -> PreparedBatch:
    """A settlement that repays so much."""
    batch = Batches(ACCOUNTS).batch(Step.SETTLE)
    data = [
        APPROVE.encode(POOL, allowed),
        REPAY.encode(USDT, amount, VARIABLE_RATE, ACCOUNT),
    ]
    first = [
        intent.model_copy(update={"data": each})
        for intent, each in zip(batch.intents, data, strict=False)
    ]
    if not alone:
        return batch.model_copy(update={"intents": (*first, *batch.intents[2:])})
    changes = {Asset.PAR: -amount, Asset.DEBT: -amount}
    bounds = tuple(Bound(asset=asset, minimum=by, maximum=by) for asset, by in changes.items())
    update = {"intents": tuple(first), "bounds": bounds, "simulated_changes": changes}
    return batch.model_copy(update=update)


def reviewed(batch: PreparedBatch) -> Finding | Accepted:
    return review(order_of(batch), POLICY, DEAL_RECORD, int(time.time()))


def test_a_part_that_is_repaid_by_itself_is_signed_and_no_rate_counts_it() -> None:
    accepted = reviewed(repaying(PART, PART, alone=True))
    assert isinstance(accepted, Accepted), accepted
    assert accepted.rated == (False, False)


@pytest.mark.parametrize(
    ("amount", "allowed", "alone", "rule"),
    [
        (PART, PART, False, Rule.AMOUNT),
        (PART, PART + 1, True, Rule.APPROVED_AMOUNT),
        (0, 0, True, Rule.AMOUNT),
        (2**128, PART, True, Rule.AMOUNT),
    ],
)
def test_nothing_is_withdrawn_upon_a_part_and_nothing_is_allowed_beyond_it(
    amount: int, allowed: int, *, alone: bool, rule: Rule
) -> None:
    finding = reviewed(repaying(amount, allowed, alone=alone))
    assert isinstance(finding, Finding)
    assert finding.rule is rule


@pytest.mark.parametrize(("bps", "signed"), [(0, True), (500, True), (501, False), (9_000, False)])
def test_a_sale_never_takes_far_less_than_it_was_simulated_to_get(
    bps: int, *, signed: bool
) -> None:
    batch = Batches(ACCOUNTS).batch(Step.UNWIND, selling=True)
    got = 7_654_321
    least = got - ceil_div(got * bps, 10_000)
    sale = batch.intents[-1].model_copy(update={"data": sale_data(batch, least)})
    changed = {
        "intents": (*batch.intents[:-1], sale),
        "simulated_changes": {Asset.PAR: got},
        "bounds": (Bound(asset=Asset.PAR, minimum=least, maximum=2**256 - 1),),
    }
    answer = reviewed(batch.model_copy(update=changed))
    if signed:
        assert isinstance(answer, Accepted), answer
    else:
        assert isinstance(answer, Finding)
        assert answer.rule is Rule.MINIMUM_OUT


def sale_data(batch: PreparedBatch, least: int) -> str:
    """The sale of the batch with another minimum."""
    (arguments,) = EXACT_INPUT_SINGLE.decode_arguments(bytes.fromhex(batch.intents[-1].data[2:]))
    return EXACT_INPUT_SINGLE.encode((*arguments[:6], least, arguments[7]))
