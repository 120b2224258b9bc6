"""What looks at the chain make of an intent: random chains, looked at again and again."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from domain.deals import Step
from domain.identifiers import Address, DealId
from domain.positions import Position
from domain.tracking import IN_A_BLOCK, OUT, Receipt, Sight, moves, overturned, with_receipts
from domain.transactions import (
    INTENT_TRANSITIONS,
    Asset,
    BatchKey,
    Inclusion,
    IntentState,
    StepOutcome,
)

WAITING = (IntentState.SIGNED, *IN_A_BLOCK, *OUT)


def receipt(
    number: int = 9, *, fork: int = 0, succeeded: bool = True, no_op: bool = False
) -> Receipt:
    return Receipt(
        intent_id="alpha/wrap/1/1/0",
        transaction_hash="0xno-op" if no_op else "0xfirst",
        block_number=number,
        block_hash=f"0x{number}-{fork}",
        succeeded=succeeded,
        no_op=no_op,
        gas_used=50_000,
        effective_gas_price=10,
    )


receipts = st.builds(
    receipt,
    st.integers(1, 20),
    fork=st.integers(0, 3),
    succeeded=st.booleans(),
    no_op=st.booleans(),
)
sights = st.builds(
    Sight,
    nonce_used=st.booleans(),
    receipt=st.none() | receipts,
    stands_at=st.none() | st.integers(1, 20),
    finalized=st.integers(-1, 20),
)


@given(st.sampled_from(IntentState), sights)
def test_every_move_is_one_that_the_table_allows(state: IntentState, sight: Sight) -> None:
    for before, after in pairwise((state, *moves(state, sight))):
        assert after in INTENT_TRANSITIONS[before]


@given(st.lists(sights, max_size=30))
def test_what_was_signed_is_never_forgotten(walk: list[Sight]) -> None:
    state = IntentState.SIGNED
    for sight in walk:
        for after in moves(state, sight):
            state = after
        assert state in OUT | IN_A_BLOCK | {IntentState.FINALIZED}
        if state is IntentState.FINALIZED:
            return


@given(st.sampled_from(sorted(OUT)), receipts)
def test_a_receipt_decides_what_an_intent_is(state: IntentState, found: Receipt) -> None:
    assert moves(state, Sight(nonce_used=True, receipt=found))[-1] is found.state


@given(st.sampled_from(sorted(IN_A_BLOCK)), st.booleans(), st.integers(1, 20))
def test_while_its_block_stands_nothing_else_matters(
    state: IntentState,
    nonce_used: bool,  # noqa: FBT001 - hypothesis gives it by position
    number: int,
) -> None:
    before_finality = Sight(nonce_used=nonce_used, stands_at=number, finalized=number - 1)
    assert moves(state, before_finality) == ()
    final = Sight(nonce_used=nonce_used, stands_at=number, finalized=number)
    assert moves(state, final) == (IntentState.FINALIZED,)


def test_an_undone_block_sends_it_out_again() -> None:
    for state in IN_A_BLOCK:
        assert moves(state, Sight(nonce_used=False)) == (IntentState.BROADCAST,)
        assert moves(state, Sight(nonce_used=True)) == (
            IntentState.BROADCAST,
            IntentState.UNKNOWN,
        )


def test_in_another_block_it_may_have_another_result() -> None:
    failed = receipt(succeeded=False)
    assert moves(IntentState.INCLUDED, Sight(nonce_used=True, receipt=failed)) == (
        IntentState.BROADCAST,
        IntentState.REVERTED,
    )
    assert moves(IntentState.REVERTED, Sight(nonce_used=True, receipt=receipt(), finalized=9)) == (
        IntentState.BROADCAST,
        IntentState.INCLUDED,
        IntentState.FINALIZED,
    )


def test_a_no_op_that_is_mined_replaces_it() -> None:
    sight = Sight(nonce_used=True, receipt=receipt(no_op=True))
    assert moves(IntentState.BROADCAST, sight) == (IntentState.REPLACED,)


def test_a_used_nonce_without_a_receipt_is_unknown_until_it_is_seen() -> None:
    unknown = Sight(nonce_used=True)
    assert moves(IntentState.BROADCAST, unknown) == (IntentState.UNKNOWN,)
    assert moves(IntentState.UNKNOWN, unknown) == ()
    assert moves(IntentState.UNKNOWN, Sight(nonce_used=False)) == (IntentState.BROADCAST,)
    assert moves(IntentState.BROADCAST, Sight(nonce_used=False)) == ()


def test_what_is_not_out_is_left_alone() -> None:
    seen = Sight(nonce_used=True, receipt=receipt(), finalized=20)
    for state in set(IntentState) - set(WAITING):
        assert moves(state, seen) == ()


ACCOUNT = Address("0x70997970C51812dc3A010C7d01b50e0d17dc79C8")


def outcome(*, succeeded: bool = True) -> StepOutcome:
    first = receipt(succeeded=succeeded)
    return StepOutcome(
        key=BatchKey(deal_id=DealId("alpha"), step=Step.FUND),
        inclusions=(Inclusion(purpose="Fund", value=7, **first.model_dump()),),
        changes={Asset.ETHER: 7},
        treasury_changes={Asset.ETHER: -7 - 50_000 * 10},
        position=Position(
            account=ACCOUNT,
            block_number=9,
            wei=7,
            weth=0,
            par=0,
            discount=0,
            collateral=0,
            debt=0,
            collateral_usd8=0,
            debt_usd8=0,
            ether_price_usd8=1,
            par_price_usd8=1,
            par_decimals=6,
        ),
    )


def test_an_outcome_follows_its_transactions_to_another_block() -> None:
    moved = receipt(12).model_copy(update={"effective_gas_price": 14})
    by_intent = {moved.intent_id: moved}
    after = with_receipts(outcome(), by_intent, sent_by_treasury=True)
    (inclusion,) = after.inclusions
    assert (inclusion.block_number, inclusion.effective_gas_price) == (12, 14)
    assert (inclusion.purpose, inclusion.value) == ("Fund", 7)
    assert after.treasury_changes == {Asset.ETHER: -7 - 50_000 * 14}
    assert overturned(outcome(), by_intent) is None
    unpaid = with_receipts(outcome(), by_intent, sent_by_treasury=False)
    assert unpaid.treasury_changes == outcome().treasury_changes


def test_an_outcome_without_news_stays_as_it_is() -> None:
    assert with_receipts(outcome(), {}, sent_by_treasury=True) == outcome()
    assert overturned(outcome(), {}) is None


def test_another_result_overturns_an_outcome() -> None:
    for changed in (receipt(succeeded=False), receipt(no_op=True)):
        found = overturned(outcome(), {changed.intent_id: changed})
        assert found == outcome().inclusions[0]
