"""Each step's batch is signed; with one thing changed it is not, and the refusal names the rule."""

import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from activities.protocols.aave import ALL, BORROW, REPAY, SUPPLY, WITHDRAW
from activities.protocols.abi import Function
from activities.protocols.erc20 import APPROVE, TRANSFER
from activities.protocols.redemption import REDEEM
from activities.protocols.uniswap import EXACT_INPUT_SINGLE, EXACT_OUTPUT_SINGLE
from activities.protocols.weth import DEPOSIT
from activities.protocols.weth import WITHDRAW as UNWRAP
from activities.signing.calls import MOST_INTENTS
from activities.signing.findings import Finding
from activities.signing.interface import DealAccounts, SignBatch
from activities.signing.policy import check_batch, review, review_withholding
from activities.signing.records import DealRecord
from domain.deals import Step
from domain.errors import SigningRefused
from domain.exits import debt_bound
from domain.identifiers import Address, ChainId, ModuleId
from domain.limits import MAX_PIPELINED_CYCLES
from domain.transactions import Asset, Fees
from tests.activities.signing.samples import (
    BORROWED,
    BOUGHT,
    DEBT,
    ETHER,
    POLICY,
    POOL,
    PROFILE,
    REDEMPTION,
    ROUTER,
    STRANGER,
    USDT,
    USDTZ,
    WETH,
    Batches,
    order_of,
    purchase_data,
    spoil,
    swap_data,
)

ACCOUNTS = DealAccounts(
    account=Address("0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"),
    treasury=Address("0x8C8d35429F74ec245F8Ef2f4Fd1e551cFF97d650"),
)
DEAL = DealRecord(ACCOUNTS)
ACCOUNT, TREASURY = ACCOUNTS.account, ACCOUNTS.treasury
BATCHES = Batches(ACCOUNTS)
NOW = int(time.time())

Spoil = Callable[[], SignBatch]


def rule_of(order: SignBatch, now: int = NOW) -> str | None:
    reviewed = review(order, POLICY, DEAL, now)
    return reviewed.rule if isinstance(reviewed, Finding) else None


def order(step: Step, **options: Any) -> SignBatch:
    return BATCHES.order(step, **options)


def changed(step: Step, index: int, **fields: Any) -> Spoil:
    return lambda: spoil(order(step), index, **fields)


def called(step: Step, index: int, function: Function, *arguments: object) -> Spoil:
    return changed(step, index, data=function.encode(*arguments))


def swapped(**arguments: Any) -> Spoil:
    return lambda: spoil(order(Step.SWAP), 2, data=swap_data(**{"recipient": ACCOUNT} | arguments))


def purchased(approved: int = BORROWED, **arguments: Any) -> Spoil:
    """A run with another purchase, and an allowance for it."""

    def build() -> SignBatch:
        allowed = spoil(order(Step.RUN), 4, data=APPROVE.encode(ROUTER, approved))
        return spoil(allowed, 5, data=purchase_data(**{"recipient": ACCOUNT} | arguments))

    return build


def fees(maximum: int, priority: int) -> Fees:
    return Fees(max_fee_per_gas=maximum, max_priority_fee_per_gas=priority)


def of(step: Step, *positions: int) -> Spoil:
    """The step's batch with only these intents, in this order, numbered anew."""

    def build() -> SignBatch:
        batch = order(step).batch
        intents = tuple(
            batch.intents[position].model_copy(update={"nonce": number, "intent_id": f"i{number}"})
            for number, position in enumerate(positions)
        )
        return order_of(batch.model_copy(update={"intents": intents}))

    return build


@pytest.mark.parametrize("step", Step)
def test_every_step_is_signed(step: Step) -> None:
    check_batch(order(step), POLICY, DEAL, NOW)


@pytest.mark.parametrize("step", Step)
def test_a_request_that_came_over_the_wire_is_signed(step: Step) -> None:
    received = SignBatch.model_validate_json(order(step).model_dump_json())
    check_batch(received, POLICY, DEAL, NOW)


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


TRANSFER_FROM = Function("transferFrom(address,address,uint256)")
SET_OWNER = Function("transferOwnership(address)")

REFUSALS: list[tuple[str, Spoil]] = [
    ("digest", lambda: order(Step.SWAP).model_copy(update={"digest": "0" * 64})),
    ("chain_id", lambda: order(Step.SWAP).model_copy(update={"chain_id": ChainId(1)})),
    ("chain_id", changed(Step.SWAP, 1, chain_id=ChainId(651940))),
    ("chain_id", lambda: order(Step.SWAP).model_copy(update={"chain_id": ChainId(651940)})),
    ("module", lambda: order(Step.SWAP).model_copy(update={"module": ModuleId("other")})),
    (
        "account",
        lambda: order_of(order(Step.SWAP).batch.model_copy(update={"account": STRANGER})),
    ),
    ("intents", of(Step.SWAP)),
    ("intents", of(Step.SWAP, *(0,) * (MOST_INTENTS + 1))),
    ("intent_id", changed(Step.SWAP, 1, intent_id="alpha/swap/1/1/0")),
    ("intent_id", changed(Step.SWAP, 1, intent_id="two\nlines")),
    ("intent_id", changed(Step.SWAP, 1, intent_id="")),
    ("intent_id", changed(Step.SWAP, 1, intent_id="x" * 201)),
    ("sender", changed(Step.SWAP, 1, sender=STRANGER)),
    ("sender", changed(Step.SWAP, 1, sender=TREASURY)),
    ("sender", changed(Step.SWEEP, 1, sender=TREASURY)),
    ("sender", changed(Step.FUND, 0, sender=ACCOUNT)),
    ("sender", changed(Step.TOP_UP, 0, sender=ACCOUNT)),
    ("nonce", changed(Step.SWAP, 2, nonce=3)),
    ("nonce", changed(Step.SWAP, 2, nonce=1)),
    ("max_fee_per_gas", changed(Step.SWAP, 0, fees=fees(PROFILE.fees.max_fee_per_gas_wei + 1, 1))),
    ("max_priority_fee_per_gas", changed(Step.SWAP, 0, fees=fees(10, 11))),
    ("gas_limit", changed(Step.SWAP, 2, gas_limit=3_000_001)),
    ("gas_limit", changed(Step.SWEEP, 1, gas_limit=21_001)),
    ("gas_limit", lambda: spoil(BATCHES.no_op(), 0, gas_limit=21_001)),
    ("spends_rest", changed(Step.FUND, 0, spends_rest=True)),
    ("spends_rest", changed(Step.WRAP, 0, spends_rest=True)),
    ("spends_rest", lambda: spoil(BATCHES.no_op(), 0, spends_rest=True)),
    ("value", changed(Step.BORROW, 0, value=1)),
    ("value", changed(Step.SWAP, 2, value=1)),
    ("value", changed(Step.WRAP, 0, value=0)),
    ("value", changed(Step.FUND, 0, value=0)),
    ("value", changed(Step.SWEEP, 1, value=0)),
    ("destination", changed(Step.FUND, 0, to=STRANGER)),
    ("destination", changed(Step.FUND, 0, to=TREASURY)),
    ("destination", changed(Step.SWEEP, 1, to=STRANGER)),
    ("destination", changed(Step.WRAP, 0, to=STRANGER)),
    ("destination", changed(Step.COLLATERALIZE, 1, to=ROUTER)),
    ("destination", changed(Step.SWAP, 2, to=REDEMPTION)),
    ("destination", lambda: spoil(BATCHES.no_op(), 0, to=STRANGER)),
    ("destination", lambda: spoil(BATCHES.no_op(), 0, value=1)),
    ("selector", changed(Step.WRAP, 0, data="0x")),
    ("selector", changed(Step.WRAP, 0, data="0x" + DEPOSIT.selector.hex()[:6])),
    ("selector", changed(Step.FUND, 0, data="0x00000000")),
    ("selector", called(Step.COLLATERALIZE, 1, BORROW, WETH, 1, 2, 0, ACCOUNT)),
    ("selector", called(Step.BORROW, 0, WITHDRAW, WETH, ALL, ACCOUNT)),
    ("selector", called(Step.COLLATERALIZE, 0, TRANSFER, POOL, 1)),
    ("selector", called(Step.SWAP, 1, TRANSFER_FROM, ACCOUNT, STRANGER, 1)),
    ("selector", called(Step.REDEEM, 1, SET_OWNER, ACCOUNT)),
    ("sequence", of(Step.SWAP, 2, 1)),
    ("sequence", of(Step.SWAP, 0, 0, 0)),
    ("sequence", of(Step.SETTLE, 3, 2)),
    ("sequence", of(Step.SETTLE, 4, 4)),
    ("sequence", of(Step.SWEEP, 1, 0)),
    ("calldata", lambda: _appended(Step.SWAP, 2, "00")),
    ("calldata", lambda: _appended(Step.WRAP, 0, "00" * 32)),
    ("calldata", lambda: _cut(Step.COLLATERALIZE, 1, 32)),
    ("calldata", lambda: _cut(Step.COLLATERALIZE, 1, 1)),
    ("calldata", lambda: _dirty(Step.COLLATERALIZE, 1)),
    ("token", called(Step.COLLATERALIZE, 1, SUPPLY, USDT, 9 * ETHER, ACCOUNT, 0)),
    ("recipient", called(Step.COLLATERALIZE, 1, SUPPLY, WETH, 9 * ETHER, STRANGER, 0)),
    ("recipient", called(Step.COLLATERALIZE, 1, SUPPLY, WETH, 9 * ETHER, TREASURY, 0)),
    ("referral", called(Step.COLLATERALIZE, 1, SUPPLY, WETH, 9 * ETHER, ACCOUNT, 1)),
    ("amount", called(Step.COLLATERALIZE, 1, SUPPLY, WETH, 0, ACCOUNT, 0)),
    ("amount", called(Step.COLLATERALIZE, 1, SUPPLY, WETH, 2**128, ACCOUNT, 0)),
    ("token", called(Step.BORROW, 0, BORROW, WETH, 1, 2, 0, ACCOUNT)),
    ("amount", called(Step.BORROW, 0, BORROW, USDT, 0, 2, 0, ACCOUNT)),
    ("rate_mode", called(Step.BORROW, 0, BORROW, USDT, 1, 1, 0, ACCOUNT)),
    ("referral", called(Step.BORROW, 0, BORROW, USDT, 1, 2, 7, ACCOUNT)),
    ("recipient", called(Step.BORROW, 0, BORROW, USDT, 1, 2, 0, STRANGER)),
    ("token", swapped(token_in=USDTZ, token_out=USDT)),
    ("token", swapped(token_out=WETH)),
    ("pool_fee", swapped(fee=3000)),
    ("recipient", swapped(recipient=STRANGER)),
    ("recipient", swapped(recipient=ROUTER)),
    ("deadline", swapped(deadline=0)),
    ("deadline", swapped(deadline=NOW + 3601)),
    ("deadline", swapped(deadline=2**256 - 1)),
    ("amount", swapped(amount=0)),
    ("minimum_out", swapped(minimum=0)),
    ("approved_amount", swapped(amount=BORROWED - 1)),
    ("recipient", called(Step.REDEEM, 1, REDEEM, BOUGHT, STRANGER)),
    ("recipient", called(Step.REDEEM, 1, REDEEM, BOUGHT, TREASURY)),
    ("amount", called(Step.REDEEM, 1, REDEEM, 0, ACCOUNT)),
    ("recipient", called(Step.TOP_UP, 0, TRANSFER, STRANGER, 1)),
    ("recipient", called(Step.TOP_UP, 0, TRANSFER, TREASURY, 1)),
    ("amount", called(Step.TOP_UP, 0, TRANSFER, ACCOUNT, 0)),
    ("amount", called(Step.SETTLE, 1, REPAY, USDT, DEBT, 2, ACCOUNT)),
    ("token", called(Step.SETTLE, 1, REPAY, WETH, ALL, 2, ACCOUNT)),
    ("rate_mode", called(Step.SETTLE, 1, REPAY, USDT, ALL, 1, ACCOUNT)),
    ("recipient", called(Step.SETTLE, 1, REPAY, USDT, ALL, 2, STRANGER)),
    ("token", called(Step.SETTLE, 2, WITHDRAW, USDT, ALL, ACCOUNT)),
    ("amount", called(Step.SETTLE, 2, WITHDRAW, WETH, 1, ACCOUNT)),
    ("recipient", called(Step.SETTLE, 2, WITHDRAW, WETH, ALL, TREASURY)),
    ("amount", called(Step.SETTLE, 3, UNWRAP, 0)),
    ("recipient", called(Step.SETTLE, 4, TRANSFER, STRANGER, 1)),
    ("recipient", called(Step.SETTLE, 4, TRANSFER, ACCOUNT, 1)),
    ("recipient", called(Step.SWEEP, 0, TRANSFER, STRANGER, 1)),
    ("spender", called(Step.COLLATERALIZE, 0, APPROVE, STRANGER, 9 * ETHER)),
    ("spender", called(Step.COLLATERALIZE, 0, APPROVE, ROUTER, 9 * ETHER)),
    ("spender", called(Step.SWAP, 0, APPROVE, POOL, 0)),
    ("spender", called(Step.SETTLE, 0, APPROVE, ROUTER, DEBT)),
    ("spender", called(Step.UNWIND, 0, APPROVE, ROUTER, BOUGHT)),
    ("approved_amount", called(Step.COLLATERALIZE, 0, APPROVE, POOL, 9 * ETHER + 1)),
    ("approved_amount", called(Step.SWAP, 1, APPROVE, ROUTER, 2**256 - 1)),
    ("approved_amount", called(Step.REDEEM, 0, APPROVE, REDEMPTION, BOUGHT + 1)),
    ("approved_amount", called(Step.SETTLE, 0, APPROVE, POOL, ALL)),
    (
        "approved_amount",
        called(Step.SETTLE, 0, APPROVE, POOL, debt_bound(debt_bound(DEBT)) + 1),
    ),
    ("approved_amount", lambda: _without_changes(Step.SETTLE)),
    ("unused_approval", of(Step.COLLATERALIZE, 0)),
    ("unused_approval", of(Step.SWAP, 1)),
    ("unused_approval", of(Step.SWAP, 1, 1, 2)),
    ("unused_approval", of(Step.SETTLE, 0, 2)),
    ("value", changed(Step.RUN, 0, value=0)),
    ("value", changed(Step.RUN, 5, value=1)),
    ("amount", changed(Step.RUN, 0, value=9 * ETHER + 1)),
    ("approved_amount", called(Step.RUN, 2, SUPPLY, WETH, 9 * ETHER - 1, ACCOUNT, 0)),
    ("recipient", called(Step.RUN, 2, SUPPLY, WETH, 9 * ETHER, STRANGER, 0)),
    ("maximum_in", called(Step.RUN, 3, BORROW, USDT, BORROWED - 1, 2, 0, ACCOUNT)),
    ("recipient", called(Step.RUN, 3, BORROW, USDT, BORROWED, 2, 0, TREASURY)),
    ("approved_amount", called(Step.RUN, 1, APPROVE, POOL, 9 * ETHER + 1)),
    ("approved_amount", called(Step.RUN, 4, APPROVE, ROUTER, BORROWED + 1)),
    ("spender", called(Step.RUN, 4, APPROVE, POOL, BORROWED)),
    ("spender", called(Step.RUN, 4, APPROVE, REDEMPTION, BORROWED)),
    ("selector", changed(Step.RUN, 5, data=swap_data(recipient=ACCOUNT))),
    ("token", purchased(token_in=USDTZ, token_out=USDT)),
    ("token", purchased(token_out=WETH)),
    ("pool_fee", purchased(fee=3000)),
    ("recipient", purchased(recipient=STRANGER)),
    ("recipient", purchased(recipient=TREASURY)),
    ("deadline", purchased(deadline=0)),
    ("deadline", purchased(deadline=NOW + 3601)),
    ("amount", purchased(amount=0)),
    ("amount", purchased(amount=BOUGHT + 1)),
    ("maximum_in", purchased(maximum=0)),
    ("maximum_in", purchased(maximum=BORROWED + 1, approved=BORROWED + 1)),
    ("approved_amount", purchased(maximum=BORROWED - 1)),
    ("approved_amount", called(Step.RUN, 6, APPROVE, ROUTER, 1)),
    ("spender", called(Step.RUN, 6, APPROVE, STRANGER, 0)),
    ("approved_amount", called(Step.RUN, 7, APPROVE, REDEMPTION, BOUGHT + 1)),
    ("spender", called(Step.RUN, 7, APPROVE, ROUTER, BOUGHT)),
    ("amount", called(Step.RUN, 8, REDEEM, BOUGHT + 1, ACCOUNT)),
    ("approved_amount", called(Step.RUN, 8, REDEEM, BOUGHT - 1, ACCOUNT)),
    ("recipient", called(Step.RUN, 8, REDEEM, BOUGHT, TREASURY)),
    (
        "approved_amount",
        called(Step.RUN, 9, APPROVE, POOL, debt_bound(debt_bound(BORROWED)) + 1),
    ),
    ("spender", called(Step.RUN, 9, APPROVE, ROUTER, BORROWED)),
    ("amount", called(Step.RUN, 10, REPAY, USDT, BORROWED, 2, ACCOUNT)),
    ("recipient", called(Step.RUN, 10, REPAY, USDT, ALL, 2, STRANGER)),
    ("amount", called(Step.RUN, 11, WITHDRAW, WETH, 9 * ETHER, ACCOUNT)),
    ("recipient", called(Step.RUN, 11, WITHDRAW, WETH, ALL, TREASURY)),
    ("amount", called(Step.RUN, 12, UNWRAP, 9 * ETHER + 1)),
    ("calldata", lambda: _cut(Step.RUN, 3, 1)),
    ("sequence", lambda: BATCHES.run(MAX_PIPELINED_CYCLES + 1)),
    ("sequence", lambda: BATCHES.run(0)),
]


@pytest.mark.parametrize(
    ("rule", "spoiled"), REFUSALS, ids=[f"{rule}-{i}" for i, (rule, _) in enumerate(REFUSALS)]
)
def test_each_rule_refuses_what_breaks_it(rule: str, spoiled: Spoil) -> None:
    with pytest.raises(SigningRefused) as caught:
        check_batch(spoiled(), POLICY, DEAL, NOW)
    problem = caught.value.problem
    assert problem.field == rule
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


FREE_WORDS = {
    "approve": {1},
    "supply": {1},
    "borrow": {1},
    "exactInputSingle": {4, 5, 6, 7},
    "exactOutputSingle": {4, 5, 6, 7},
    "redeem": {0},
    "unwrap": {0},
    "transfer": {1},
    "withdraw": set[int](),
    "repay": set[int](),
    "deposit": set[int](),
}
"""Words of calldata that are amounts, or the swap's deadline: all that policy leaves open."""

NAMES = {
    function.selector.hex(): function.name
    for function in (
        *(APPROVE, SUPPLY, BORROW, EXACT_INPUT_SINGLE, EXACT_OUTPUT_SINGLE),
        *(REDEEM, TRANSFER, WITHDRAW, REPAY),
    )
} | {DEPOSIT.selector.hex(): "deposit", UNWRAP.selector.hex(): "unwrap"}


@st.composite
def mutations(draw: st.DrawFn) -> tuple[SignBatch, SignBatch, int]:
    """A valid order, the same with a few bytes of one calldata changed, and which intent it is."""
    valid = order(draw(st.sampled_from(list(Step))), selling=False)
    index = draw(st.integers(0, len(valid.batch.intents) - 1))
    data = bytearray.fromhex(valid.batch.intents[index].data[2:])
    match draw(st.sampled_from(["flip", "cut", "append"])) if data else "append":
        case "flip":
            for _ in range(draw(st.integers(1, 4))):
                data[draw(st.integers(0, len(data) - 1))] ^= draw(st.integers(1, 255))
        case "cut":
            del data[draw(st.integers(0, len(data) - 1)) :]
        case _:
            data += draw(st.binary(min_size=1, max_size=64))
    return valid, spoil(valid, index, data="0x" + data.hex()), index


@given(mutations())
@settings(max_examples=2_000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_mutated_calldata_is_never_signed_under_the_digest_that_was_accepted(
    mutation: tuple[SignBatch, SignBatch, int],
) -> None:
    valid, mutated, _ = mutation
    if mutated.batch == valid.batch:  # flips that cancelled each other
        return
    assert rule_of(mutated.model_copy(update={"digest": valid.digest})) == "digest"


@given(mutations())
@settings(max_examples=4_000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_an_attacker_who_owns_the_digest_can_only_move_amounts(
    mutation: tuple[SignBatch, SignBatch, int],
) -> None:
    valid, mutated, index = mutation
    if rule_of(mutated) is not None:
        return
    before, after = valid.batch.intents[index].data[2:], mutated.batch.intents[index].data[2:]
    assert len(before) == len(after)
    assert before[:8] == after[:8]
    words = range((len(before) - 8) // 64)
    moved = {w for w in words if _word(before, w) != _word(after, w)}
    assert moved <= FREE_WORDS[NAMES[before[:8]]]


def _word(data: str, number: int) -> str:
    return data[8 + 64 * number : 72 + 64 * number]


def _appended(step: Step, index: int, more: str) -> SignBatch:
    valid = order(step)
    return spoil(valid, index, data=valid.batch.intents[index].data + more)


def _cut(step: Step, index: int, count: int) -> SignBatch:
    valid = order(step)
    return spoil(valid, index, data=valid.batch.intents[index].data[: -2 * count])


def _dirty(step: Step, index: int) -> SignBatch:
    """A byte in the padding before an address, which the contract would ignore or refuse."""
    valid = order(step)
    data = valid.batch.intents[index].data
    return spoil(valid, index, data=data[:10] + "01" + data[12:])


def _without_changes(step: Step) -> SignBatch:
    """A simulation that saw no repayment gives no bound for one."""
    changes: dict[Asset, int] = {}
    return order_of(order(step).batch.model_copy(update={"simulated_changes": changes}))
