"""A part of a debt may be repaid, in a batch that does nothing else."""

from __future__ import annotations

import time

import pytest

from activities.protocols.aave import REPAY, VARIABLE_RATE
from activities.protocols.erc20 import APPROVE
from activities.signing.findings import Finding, Rule
from activities.signing.policy import Accepted, review
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
