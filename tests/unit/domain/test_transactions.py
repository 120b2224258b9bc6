"""An intent is one transaction for ever: what may change about it, and where it may stand."""

from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from domain.deals import Step
from domain.errors import LimitExceeded, PostConditionFailed
from domain.identifiers import Address, ChainId, DealId
from domain.positions import Position
from domain.transactions import (
    INTENT_TRANSITIONS,
    Asset,
    BatchKey,
    Bound,
    Fees,
    Inclusion,
    Intent,
    IntentState,
    PreparedBatch,
    SignedTransaction,
    StepOutcome,
    added_up,
    check_bounds,
)

ONE = Address("0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed")
TWO = Address("0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359")
FEES = Fees(max_fee_per_gas=100, max_priority_fee_per_gas=2)
HIGHER = Fees(max_fee_per_gas=110, max_priority_fee_per_gas=3)


def intent(**changes: Any) -> Intent:
    fields: dict[str, Any] = {
        "intent_id": "alpha/wrap/1/1/0",
        "chain_id": 138,
        "sender": ONE,
        "nonce": 4,
        "to": TWO,
        "value": 10**18,
        "data": "0xd0e30db0",
        "gas_limit": 50_000,
        "fees": FEES,
        "purpose": "wrap 1 ETH",
    }
    return Intent.model_validate({**fields, **changes})


def key(**changes: Any) -> BatchKey:
    return BatchKey.model_validate({"deal_id": "alpha", "step": "wrap", **changes})


def batch(**changes: Any) -> PreparedBatch:
    fields: dict[str, Any] = {
        "key": key(),
        "account": ONE,
        "intents": (intent(), intent(intent_id="alpha/wrap/1/1/1", nonce=5)),
        "bounds": (Bound(asset=Asset.WETH, minimum=1, maximum=2),),
        "simulated_block": 9,
        "simulated_changes": {Asset.WETH: 10**18, Asset.ETHER: -(10**18)},
    }
    return PreparedBatch.model_validate({**fields, **changes})


# --- the state machine -----------------------------------------------------------------------

TABLE = {
    "PREPARED": {"SIGNED", "ABANDONED"},
    "SIGNED": {"BROADCAST"},
    "BROADCAST": {"INCLUDED", "REVERTED", "UNKNOWN", "REPLACED"},
    "UNKNOWN": {"BROADCAST", "INCLUDED", "REVERTED", "REPLACED"},
    "INCLUDED": {"FINALIZED", "BROADCAST"},
    "REVERTED": {"FINALIZED", "BROADCAST"},
    "REPLACED": {"FINALIZED", "BROADCAST"},
    "FINALIZED": {"BROADCAST"},
    "ABANDONED": set(),
}
"""The table, written once more: whoever changes it has to mean it."""


def test_an_intent_moves_only_as_the_table_says() -> None:
    assert INTENT_TRANSITIONS == TABLE
    assert set(INTENT_TRANSITIONS) == set(IntentState)


def reachable(start: IntentState) -> set[IntentState]:
    seen, pending = {start}, [start]
    while pending:
        for after in INTENT_TRANSITIONS[pending.pop()] - seen:
            seen.add(after)
            pending.append(after)
    return seen


def test_every_state_can_be_reached() -> None:
    assert reachable(IntentState.PREPARED) == set(IntentState)


@pytest.mark.parametrize("state", IntentState)
def test_every_intent_can_come_to_an_end(state: IntentState) -> None:
    assert reachable(state) & {IntentState.FINALIZED, IntentState.ABANDONED}


@given(st.lists(st.sampled_from(IntentState), max_size=200))
def test_once_signed_an_intent_is_never_abandoned_nor_signed_anew(
    wishes: Iterable[IntentState],
) -> None:
    state, walk = IntentState.PREPARED, [IntentState.PREPARED]
    for wish in wishes:
        if wish in INTENT_TRANSITIONS[state]:
            state = wish
            walk.append(state)
    if IntentState.SIGNED in walk:
        later = walk[walk.index(IntentState.SIGNED) + 1 :]
        assert not {IntentState.PREPARED, IntentState.SIGNED, IntentState.ABANDONED} & set(later)
    settled = {IntentState.INCLUDED, IntentState.REVERTED, IntentState.REPLACED}
    for before, after in pairwise(walk):
        if after is IntentState.FINALIZED:
            assert before in settled, "final without having been seen on chain"
        if before is IntentState.FINALIZED:  # where a latch was cleared: the database sees to that
            assert after is IntentState.BROADCAST


@pytest.mark.parametrize(
    "state", [IntentState.INCLUDED, IntentState.REVERTED, IntentState.REPLACED]
)
def test_a_reorganised_transaction_is_broadcast_again(state: IntentState) -> None:
    assert IntentState.BROADCAST in INTENT_TRANSITIONS[state]


# --- intents ---------------------------------------------------------------------------------


def test_other_fees_change_nothing_else() -> None:
    changed = intent().with_fees(HIGHER)
    assert changed == intent(fees=HIGHER)
    assert changed.body_digest() == intent().body_digest()


fees = st.builds(
    Fees, max_fee_per_gas=st.integers(0, 10**12), max_priority_fee_per_gas=st.integers(0, 10**12)
)


@given(
    before=fees,
    after=fees,
    rest=st.integers(0, 10**20),
    gas=st.integers(21_000, 30_000_000),
)
def test_what_spends_the_rest_leaves_exactly_zero_at_any_fee_or_is_refused(
    before: Fees, after: Fees, rest: int, gas: int
) -> None:
    sweep = intent(fees=before, value=rest, gas_limit=gas, spends_rest=True, data="0x")
    balance = rest + gas * before.max_fee_per_gas
    if balance < gas * after.max_fee_per_gas:
        with pytest.raises(LimitExceeded) as caught:
            sweep.with_fees(after)
        problem = caught.value.problem
        assert (problem.field, problem.value) == ("max_fee_per_gas", str(after.max_fee_per_gas))
        assert problem.limit == str(balance // gas)
        assert problem.next_action
        return
    changed = sweep.with_fees(after)
    assert changed.value + gas * changed.fees.max_fee_per_gas == balance
    assert changed.body_digest() == sweep.body_digest()
    assert changed.with_fees(before) == sweep


BODY = {
    "chain_id": 651940,
    "sender": TWO,
    "to": ONE,
    "value": 10**18 + 1,
    "data": "0xd0e30db1",
    "gas_limit": 50_001,
    "spends_rest": True,
}


@pytest.mark.parametrize("field", BODY)
def test_the_body_digest_changes_with_every_field_of_the_body(field: str) -> None:
    assert intent(**{field: BODY[field]}).body_digest() != intent().body_digest()


@pytest.mark.parametrize("changes", [{"nonce": 5}, {"fees": HIGHER}])
def test_the_body_digest_is_the_same_at_another_nonce_or_fee(changes: dict[str, Any]) -> None:
    assert intent(**changes).body_digest() == intent().body_digest()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("data", "d0e30db0"),
        ("data", "0xd0e30db"),
        ("data", "0xD0E30DB0"),
        ("data", "0xd0e30db0\n"),
        ("data", ""),
        ("nonce", -1),
        ("nonce", 2**63),
        ("value", -1),
        ("value", 1.0),
        ("gas_limit", 0),
        ("to", "0x" + "0" * 40),
        ("sender", ONE.lower()),
    ],
)
def test_a_malformed_intent_cannot_be_built(field: str, value: Any) -> None:
    with pytest.raises(ValidationError):
        intent(**{field: value})


# --- batches ---------------------------------------------------------------------------------


def test_a_batch_key_reads_as_a_path() -> None:
    assert str(key()) == "alpha/wrap/1/1"
    assert str(key(step="redeem", round=3, attempt=2)) == "alpha/redeem/3/2"


@pytest.mark.parametrize("changes", [{"round": 0}, {"attempt": 0}, {"step": "dance"}])
def test_a_malformed_key_cannot_be_built(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        key(**changes)


OTHER_INTENT: dict[str, Any] = {
    **BODY,
    "intent_id": "alpha/wrap/1/1/9",
    "nonce": 6,
    "fees": HIGHER,
    "purpose": "something else",
}


@pytest.mark.parametrize("field", Intent.model_fields)
def test_the_batch_digest_changes_with_every_field_of_an_intent(field: str) -> None:
    other = intent(**{field: OTHER_INTENT[field]})
    assert batch(intents=(other, batch().intents[1])).digest() != batch().digest()


OTHER_BATCH: dict[str, Any] = {
    "key": key(attempt=2),
    "account": TWO,
    "intents": (intent(),),
    "bounds": (Bound(asset=Asset.WETH, minimum=1, maximum=3),),
    "simulated_block": 10,
    "prepared_at": 11,
    "simulated_changes": {Asset.WETH: 10**18, Asset.ETHER: -(10**18) - 1},
}


@pytest.mark.parametrize("field", PreparedBatch.model_fields)
def test_the_batch_digest_changes_with_every_field_of_the_batch(field: str) -> None:
    assert batch(**{field: OTHER_BATCH[field]}).digest() != batch().digest()


def test_the_batch_digest_changes_with_the_order_of_the_intents() -> None:
    assert batch(intents=batch().intents[::-1]).digest() != batch().digest()


def test_the_batch_digest_is_the_same_after_any_store_that_keeps_the_meaning() -> None:
    again = PreparedBatch.model_validate_json(batch().model_dump_json())
    assert again == batch()
    assert again.digest() == batch().digest()
    reordered = batch(simulated_changes={Asset.ETHER: -(10**18), Asset.WETH: 10**18})
    assert reordered.digest() == batch().digest()


def test_a_batch_takes_other_fees_only_for_the_intents_that_are_named() -> None:
    first, second = batch().intents
    changed = batch().with_fees({second.intent_id: HIGHER})
    assert changed == batch(intents=(first, intent(**{**second.model_dump(), "fees": HIGHER})))
    assert batch().with_fees({}) == batch()


# --- outcomes --------------------------------------------------------------------------------


def inclusion(gas_used: int, price: int) -> Inclusion:
    return Inclusion(
        intent_id="i",
        purpose="p",
        transaction_hash="0x01",
        block_number=8,
        block_hash="0x02",
        succeeded=True,
        gas_used=gas_used,
        effective_gas_price=price,
        value=0,
    )


def test_the_gas_of_a_step_is_that_of_all_its_transactions() -> None:
    position = Position.model_validate(
        {
            "account": ONE,
            "block_number": 8,
            **dict.fromkeys(("wei", "weth", "par", "discount", "collateral", "debt"), 0),
            **dict.fromkeys(("collateral_usd8", "debt_usd8"), 0),
            **dict.fromkeys(("ether_price_usd8", "par_price_usd8", "par_decimals"), 6),
        }
    )
    outcome = StepOutcome(
        key=key(),
        inclusions=(inclusion(21_000, 5), inclusion(100_000, 7)),
        changes={Asset.WETH: -5},
        treasury_changes={},
        position=position,
    )
    assert (outcome.gas_used, outcome.gas_cost_wei) == (121_000, 805_000)
    assert StepOutcome.model_validate_json(outcome.model_dump_json()) == outcome
    assert outcome.model_copy(update={"inclusions": ()}).gas_cost_wei == 0


def test_a_signed_transaction_survives_json() -> None:
    signed = SignedTransaction(intent_id="i", transaction_hash="0x01", raw="0x02", fees=FEES)
    assert SignedTransaction.model_validate_json(signed.model_dump_json()) == signed


def test_identifiers_of_an_intent_keep_their_types_through_json() -> None:
    again = PreparedBatch.model_validate_json(batch().model_dump_json())
    assert type(again.key.deal_id) is DealId
    assert again.key.step is Step.WRAP
    assert type(again.intents[0].to) is Address
    assert again.intents[0].chain_id == ChainId(138)


# --- post-conditions -------------------------------------------------------------------------

BOUNDS = (
    Bound(asset=Asset.PAR, minimum=-100, maximum=-100),
    Bound(asset=Asset.DISCOUNT, minimum=99, maximum=110),
    Bound(asset=Asset.DEBT, minimum=0, maximum=1),
)


@pytest.mark.parametrize("discount", [99, 105, 110])
def test_changes_within_the_bounds_are_accepted(discount: int) -> None:
    check_bounds([{Asset.PAR: -100, Asset.DISCOUNT: discount}], BOUNDS)


@pytest.mark.parametrize(
    ("changes", "asset", "limit", "actual"),
    [
        ({Asset.PAR: -100, Asset.DISCOUNT: 98}, "discount", "99 to 110", "98"),
        ({Asset.PAR: -100, Asset.DISCOUNT: 111}, "discount", "99 to 110", "111"),
        ({Asset.PAR: -101, Asset.DISCOUNT: 98}, "par", "-100 to -100", "-101"),
        ({Asset.DISCOUNT: 99}, "par", "-100 to -100", "0"),
        ({}, "par", "-100 to -100", "0"),
        ({Asset.PAR: -100, Asset.DISCOUNT: 99, Asset.DEBT: -1}, "debt", "0 to 1", "-1"),
        ({Asset.PAR: -100, Asset.DISCOUNT: 99, Asset.WETH: 7}, "weth", "no change", "7"),
        ({Asset.PAR: -100, Asset.DISCOUNT: 99, Asset.ETHER: -1}, "ether", "no change", "-1"),
    ],
)
def test_the_first_change_out_of_bounds_is_refused_by_its_asset(
    changes: dict[Asset, int], asset: str, limit: str, actual: str
) -> None:
    with pytest.raises(PostConditionFailed) as caught:
        check_bounds([changes], BOUNDS)
    problem = caught.value.problem
    assert (problem.field, problem.limit, problem.actual) == (asset, limit, actual)
    assert problem.next_action


@given(
    low=st.integers(-(10**30), 10**30),
    width=st.integers(0, 10**30),
    units=st.integers(-(10**30), 10**30),
)
def test_a_widened_bound_holds_for_the_change_with_the_units_and_for_the_one_without(
    low: int, width: int, units: int
) -> None:
    bound = Bound(asset=Asset.ETHER, minimum=low, maximum=low + width).widened(units)
    for change in (low, low + width, low + units, low + width + units):
        check_bounds([{Asset.ETHER: change}], (bound,))
    assert (bound.minimum, bound.maximum - bound.minimum) == (
        min(low, low + units),
        width + abs(units),
    )
    assert bound.asset is Asset.ETHER


def test_without_bounds_nothing_may_change() -> None:
    check_bounds([{}, {Asset.PAR: 0}], ())
    with pytest.raises(PostConditionFailed):
        check_bounds([{}, {Asset.PAR: -5}], ())


def segment(minimum: int, maximum: int, first: int, end: int | None) -> Bound:
    return Bound(asset=Asset.PAR, minimum=minimum, maximum=maximum, first=first, end=end)


class TestSegments:
    """Two swaps of a batch: the second may not make up for what the first one lost."""

    BOUNDS = (segment(90, 110, 0, 2), segment(95, 115, 2, None))

    def test_each_segment_is_held_to_its_own_bound(self) -> None:
        check_bounds([{Asset.PAR: 95}, {}, {Asset.PAR: 50}, {Asset.PAR: 50}], self.BOUNDS)

    @pytest.mark.parametrize(
        ("changes", "limit", "actual"),
        [
            ([89, 0, 116], "90 to 110", "89"),
            ([50, 39, 116], "90 to 110", "89"),
            ([90, 0, 94], "95 to 115", "94"),
            ([90, 95], "90 to 110", "185"),
        ],
    )
    def test_the_sum_of_all_does_not_count(
        self, changes: list[int], limit: str, actual: str
    ) -> None:
        with pytest.raises(PostConditionFailed) as caught:
            check_bounds([{Asset.PAR: change} for change in changes], self.BOUNDS)
        assert (caught.value.problem.limit, caught.value.problem.actual) == (limit, actual)

    @pytest.mark.parametrize("number", [0, 3])
    def test_an_asset_may_only_change_where_a_bound_speaks_of_it(self, number: int) -> None:
        changes: list[dict[Asset, int]] = [{}, {Asset.PAR: 1}, {}, {}]
        bound = segment(0, 10, 1, 3)
        check_bounds(changes, (bound,))
        changes[number] = {Asset.PAR: 1}
        with pytest.raises(PostConditionFailed) as caught:
            check_bounds(changes, (bound,))
        assert caught.value.problem.limit == "no change"


_CHANGES = st.lists(st.dictionaries(st.sampled_from(Asset), st.integers(-9, 9)), max_size=6)


@given(_CHANGES, st.data())
def test_what_each_intent_changed_is_always_within_bounds_of_exactly_that(
    changes: list[dict[Asset, int]], data: st.DataObject
) -> None:
    exact = [
        Bound(asset=asset, minimum=change, maximum=change, first=number, end=number + 1)
        for number, changed in enumerate(changes)
        for asset, change in changed.items()
    ]
    check_bounds(changes, exact)
    meant = [bound for bound in exact if bound.minimum]
    if meant:
        meant.remove(data.draw(st.sampled_from(meant)))
        with pytest.raises(PostConditionFailed):
            check_bounds(changes, meant)


@given(_CHANGES)
def test_changes_are_added_up_by_asset(changes: list[dict[Asset, int]]) -> None:
    total = added_up(changes)
    assert all(total.values())
    for asset in Asset:
        assert total.get(asset, 0) == sum(change.get(asset, 0) for change in changes)


def test_only_the_bounds_on_the_segment_that_is_cheaper_now_are_widened() -> None:
    bounds = tuple(
        Bound(asset=Asset.ETHER, minimum=-7, maximum=-7, first=first, end=end)
        for first, end in ((0, 1), (1, 2), (0, None))
    )
    rest = intent(intent_id="alpha/wrap/1/1/1", nonce=5, spends_rest=True)
    bumped = batch(intents=(intent(), rest), bounds=bounds).with_fees({rest.intent_id: HIGHER})
    less = 10 * rest.gas_limit
    assert [bound.maximum - bound.minimum for bound in bumped.bounds] == [0, less, less]
