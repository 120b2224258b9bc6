"""What is promised of a batch, held against what it was simulated to do, and against its calls."""

import time

import pytest

from activities.signing.findings import Finding
from activities.signing.interface import DealAccounts, SignBatch
from activities.signing.policy import review
from activities.signing.records import DealRecord
from domain.amounts import UINT256_MAX
from domain.deals import Step
from domain.identifiers import Address
from domain.transactions import Asset, Bound, PreparedBatch
from tests.activities.signing.samples import (
    BORROWED,
    BOUGHT,
    DEBT,
    POLICY,
    Batches,
    order_of,
    spoil,
    swap_data,
)

ACCOUNTS = DealAccounts(
    account=Address("0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"),
    treasury=Address("0x8C8d35429F74ec245F8Ef2f4Fd1e551cFF97d650"),
)
BATCHES = Batches(ACCOUNTS)
PAID = Bound(asset=Asset.PAR, minimum=-BORROWED, maximum=-BORROWED)
RECEIVED = Bound(asset=Asset.DISCOUNT, minimum=BOUGHT, maximum=UINT256_MAX)
CHANGES = {Asset.PAR: -BORROWED, Asset.DISCOUNT: BOUGHT + 7}


def swap(bounds: tuple[Bound, ...] = (PAID, RECEIVED), **changes: int) -> PreparedBatch:
    """A purchase that promises this, and was simulated to change that."""
    simulated = CHANGES | {Asset(asset): change for asset, change in changes.items()}
    fields = {"bounds": bounds, "simulated_changes": simulated}
    return BATCHES.batch(Step.SWAP).model_copy(update=fields)


def rule_of(order: SignBatch) -> str | None:
    reviewed = review(order, POLICY, DealRecord(ACCOUNTS), int(time.time()))
    return reviewed.rule if isinstance(reviewed, Finding) else None


def test_a_batch_that_promises_what_was_simulated_is_signed() -> None:
    assert rule_of(order_of(swap())) is None


@pytest.mark.parametrize(
    "batch",
    [
        swap(discount=BOUGHT - 1),
        swap(par=-BORROWED - 1),
        swap(par=-BORROWED + 1),
        swap(par=0),
        swap(weth=-1),
        swap(bounds=(PAID,)),
        swap(bounds=()),
        swap(bounds=(PAID, RECEIVED, Bound(asset=Asset.DEBT, minimum=1, maximum=2))),
    ],
)
def test_one_that_promises_something_else_is_not(batch: PreparedBatch) -> None:
    assert rule_of(order_of(batch)) == "bounds"


def test_what_settling_repays_has_to_be_promised_too() -> None:
    batch = BATCHES.batch(Step.SETTLE)
    assert rule_of(order_of(batch)) is None
    less = Bound(asset=Asset.PAR, minimum=1 - DEBT, maximum=0)
    spoiled = batch.model_copy(update={"bounds": (less, *batch.bounds[1:])})
    assert rule_of(order_of(spoiled)) == "bounds"


@pytest.mark.parametrize(("minimum", "rule"), [(BOUGHT, None), (BOUGHT - 1, "minimum_out")])
def test_a_swap_accepts_no_less_than_is_promised(minimum: int, rule: str | None) -> None:
    data = swap_data(recipient=ACCOUNTS.account, minimum=minimum)
    assert rule_of(spoil(order_of(swap()), 2, data=data)) == rule


def test_so_it_is_when_the_tokens_are_sold_back() -> None:
    bounds = (
        Bound(asset=Asset.DISCOUNT, minimum=-BOUGHT, maximum=-BOUGHT),
        Bound(asset=Asset.PAR, minimum=BORROWED + 1, maximum=UINT256_MAX),
    )
    changes = {Asset.DISCOUNT: -BOUGHT, Asset.PAR: BORROWED + 5}
    sale = BATCHES.batch(Step.UNWIND, selling=True)
    batch = sale.model_copy(update={"bounds": bounds, "simulated_changes": changes})
    assert rule_of(order_of(batch)) == "minimum_out"


@pytest.mark.parametrize(("first", "end", "rule"), [(0, 2, None), (2, 3, "minimum_out")])
def test_what_is_promised_of_a_part_of_the_batch_holds_for_that_part(
    first: int, end: int, rule: str | None
) -> None:
    more = Bound(
        asset=Asset.DISCOUNT, minimum=BOUGHT + 1, maximum=UINT256_MAX, first=first, end=end
    )
    assert rule_of(order_of(swap(bounds=(PAID, RECEIVED, more)))) == rule


@pytest.mark.parametrize(("promised", "rule"), [(BORROWED, None), (BORROWED - 1, "maximum_in")])
def test_the_purchase_of_a_run_costs_no_more_than_is_promised(
    promised: int, rule: str | None
) -> None:
    run = BATCHES.batch(Step.RUN)
    paid = Bound(asset=Asset.PAR, minimum=-promised, maximum=-1, first=4, end=7)
    assert rule_of(order_of(run.model_copy(update={"bounds": (*run.bounds, paid)}))) == rule
