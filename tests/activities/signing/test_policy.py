"""Each step's batch is signed; with one thing changed it is not, and the refusal names the rule."""

from typing import Any

import pytest

from activities.protocols.erc20 import APPROVE
from activities.signing.findings import Finding
from activities.signing.interface import SignBatch
from activities.signing.policy import check_batch, review, review_withholding
from activities.signing.records import DealRecord
from domain.deals import Step
from domain.errors import SigningRefused
from domain.identifiers import ChainId
from domain.limits import MAX_PIPELINED_CYCLES
from tests.activities.signing.refusals import (
    ACCOUNTS,
    BATCHES,
    DEAL_RECORD,
    NOW,
    REFUSALS,
    SAFE_ACCOUNTS,
    TREASURY,
    Refusal,
    called,
    changed,
    fees,
    funded_from_safe,
    of,
    order,
)
from tests.activities.signing.samples import (
    DEAL_STEPS,
    POLICY,
    POOL,
    PROFILE,
    STRANGER,
    spoil,
)


def rule_of(order: SignBatch, now: int = NOW, deal: DealRecord = DEAL_RECORD) -> str | None:
    reviewed = review(order, POLICY, deal, now)
    return reviewed.rule if isinstance(reviewed, Finding) else None


@pytest.mark.parametrize("step", DEAL_STEPS)
def test_every_step_is_signed(step: Step) -> None:
    check_batch(order(step), POLICY, DEAL_RECORD, NOW)


@pytest.mark.parametrize("step", DEAL_STEPS)
def test_a_request_that_came_over_the_wire_is_signed(step: Step) -> None:
    received = SignBatch.model_validate_json(order(step).model_dump_json())
    check_batch(received, POLICY, DEAL_RECORD, NOW)


def test_owners_may_fund_a_deal_from_their_safe() -> None:
    assert rule_of(funded_from_safe(), deal=DealRecord(SAFE_ACCOUNTS)) is None


def test_an_unwind_may_also_sell() -> None:
    assert rule_of(order(Step.UNWIND, selling=True)) is None


@pytest.mark.parametrize(
    "positions", [(0, 1), (1, 2, 3), (2, 3), (3,), (4,), (1,), (2, 4), (0, 1, 2, 3)]
)
def test_settle_may_be_any_part_of_itself_in_order(positions: tuple[int, ...]) -> None:
    assert rule_of(of(Step.SETTLE, *positions)()) is None


def test_a_sweep_may_be_of_ether_alone() -> None:
    assert rule_of(of(Step.SWEEP, 1)()) is None


@pytest.mark.parametrize("step", [Step.FUND, Step.SWAP])
def test_a_no_op_of_the_steps_sender_is_signed(step: Step) -> None:
    assert rule_of(BATCHES.no_op(step)) is None


def test_a_swap_whose_deadline_has_passed_can_still_be_replaced() -> None:
    assert rule_of(order(Step.SWAP), now=NOW + 3600) is None


def test_an_approval_may_be_smaller_than_what_follows() -> None:
    smaller = called(Step.COLLATERALIZE, 0, APPROVE, POOL, 1)
    assert rule_of(smaller()) is None


@pytest.mark.parametrize(
    "refusal", REFUSALS, ids=[f"{each.rule}-{i}" for i, each in enumerate(REFUSALS)]
)
def test_each_rule_refuses_what_breaks_it(refusal: Refusal) -> None:
    with pytest.raises(SigningRefused) as caught:
        check_batch(refusal.order(), refusal.policy, refusal.deal, NOW)
    problem = caught.value.problem
    assert problem.field == refusal.rule
    assert problem.limit
    assert problem.next_action
    assert problem.code == "signing_refused"


RUN = range(len(order(Step.RUN).batch.intents))
APPROVALS = {1, 4, 7, 9}
"""The approvals of a run of one cycle; the one that takes back is not among them."""


@pytest.mark.parametrize("cycles", [1, 2, MAX_PIPELINED_CYCLES])
def test_a_run_of_any_number_of_cycles_is_signed(cycles: int) -> None:
    assert rule_of(BATCHES.run(cycles)) is None


@pytest.mark.parametrize("missing", RUN)
def test_nothing_of_a_run_may_be_missing_but_what_was_approved_before(missing: int) -> None:
    found = rule_of(of(Step.RUN, *(number for number in RUN if number != missing))())
    assert found == (None if missing in APPROVALS else "sequence")


@pytest.mark.parametrize("first", RUN[:-1])
def test_no_two_calls_of_a_run_may_change_places(first: int) -> None:
    places = list(RUN)
    places[first : first + 2] = first + 1, first
    assert rule_of(of(Step.RUN, *places)()) is not None


@pytest.mark.parametrize("twice", set(RUN) - APPROVALS)
def test_no_call_of_a_run_may_come_twice(twice: int) -> None:
    places = [*RUN[: twice + 1], twice, *RUN[twice + 1 :]]
    assert rule_of(of(Step.RUN, *places)()) is not None


@pytest.mark.parametrize("index", RUN)
@pytest.mark.parametrize(
    "change",
    [
        {"to": STRANGER},
        {"to": TREASURY},
        {"sender": STRANGER},
        {"sender": TREASURY},
        {"chain_id": ChainId(1)},
        {"nonce": 99},
        {"data": "0x"},
        {"gas_limit": 3_000_001},
        {"spends_rest": True},
        {"fees": fees(PROFILE.fees.max_fee_per_gas_wei + 1, 1)},
    ],
    ids="-".join,
)
def test_with_any_field_changed_a_run_is_refused(index: int, change: dict[str, Any]) -> None:
    assert rule_of(spoil(order(Step.RUN), index, **change)) is not None


def test_a_deal_withholds_only_its_own() -> None:
    assert review_withholding(order(Step.SWAP).batch, ACCOUNTS) is None
    assert review_withholding(order(Step.FUND).batch, ACCOUNTS) is None
    foreign = changed(Step.SWAP, 1, sender=STRANGER)().batch
    finding = review_withholding(foreign, ACCOUNTS)
    assert finding is not None
    assert finding.rule == "sender"
