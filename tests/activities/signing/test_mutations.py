"""Random mutations of every step's batch: no signature, or one that can do no harm.

Under the digest that was accepted, nothing but the very same batch is signed. An attacker who
makes the digest right again is held to what is written down here a second time, on purpose in
another way than in the signer: which address stands in which word, and which numbers are fixed.
"""

from collections.abc import Callable
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from activities.signing.findings import Finding
from activities.signing.interface import OpenAccount, SignBatch
from activities.signing.policy import review
from activities.signing.records import DealRecord
from activities.signing.signer import Signer
from domain.deals import Step
from domain.errors import SigningRefused
from domain.hashing import keccak
from domain.identifiers import ChainId, ModuleId
from domain.transactions import Fees, Intent, PreparedBatch
from tests.activities.signing.refusals import (
    ACCOUNT,
    ACCOUNTS,
    BATCHES,
    DEAL_RECORD,
    NOW,
    SAFE_ACCOUNTS,
    TREASURY,
    funded_from_safe,
)
from tests.activities.signing.samples import (
    CHAIN,
    DEAL_STEPS,
    POLICY,
    POOL,
    PROFILE,
    REDEMPTION,
    ROUTER,
    STRANGER,
    USDT,
    USDTZ,
    WETH,
    order_of,
)

pytestmark = pytest.mark.unmeasured
PLACES: Final = [ACCOUNT, TREASURY, STRANGER, POOL, ROUTER, REDEMPTION, USDT, USDTZ, WETH]
TREASURY_STEPS: Final = {Step.FUND, Step.TOP_UP}
ANY = None
EVERYTHING: Final = 2**256 - 1

# Who may be called with what: for each word an address, a number, several, or anything (an amount).
SHAPES: Final[dict[tuple[str, str], list[Any]]] = {
    (WETH, "deposit()"): [],
    (WETH, "withdraw(uint256)"): [ANY],
    (WETH, "approve(address,uint256)"): [POOL, ANY],
    (USDT, "approve(address,uint256)"): [{POOL, ROUTER}, ANY],
    (USDTZ, "approve(address,uint256)"): [{ROUTER, REDEMPTION}, ANY],
    (USDT, "transfer(address,uint256)"): [{ACCOUNT, TREASURY}, ANY],
    (POOL, "supply(address,uint256,address,uint16)"): [WETH, ANY, ACCOUNT, 0],
    (POOL, "borrow(address,uint256,uint256,uint16,address)"): [USDT, ANY, 2, 0, ACCOUNT],
    (POOL, "repay(address,uint256,uint256,address)"): [USDT, EVERYTHING, 2, ACCOUNT],
    (POOL, "withdraw(address,uint256,address)"): [WETH, EVERYTHING, ACCOUNT],
    (REDEMPTION, "redeem(uint256,address)"): [ANY, ACCOUNT],
    **{
        (ROUTER, f"{name}((address,address,uint24,address,uint256,uint256,uint256,uint160))"): [
            {USDT, USDTZ},
            {USDT, USDTZ},
            100,
            ACCOUNT,
            ANY,
            ANY,
            ANY,
            ANY,
        ]
        for name in ("exactInputSingle", "exactOutputSingle")
    },
}
SELECTORS: Final = {keccak(signature.encode())[:4].hex(): signature for _, signature in SHAPES}
FOREIGN_SELECTORS: Final = [
    keccak(signature.encode())[:4].hex()
    for signature in (
        "transferFrom(address,address,uint256)",
        "increaseAllowance(address,uint256)",
        "permit(address,address,uint256,uint256,uint8,bytes32,bytes32)",
        "approveDelegation(address,uint256)",
        "setUserUseReserveAsCollateral(address,bool)",
        "liquidationCall(address,address,address,uint256,bool)",
        "multicall(bytes[])",
        "exactInput((bytes,address,uint256,uint256,uint256))",
        "transferOwnership(address)",
        "execute(bytes)",
    )
]


def harmless(batch: PreparedBatch) -> None:
    """Hold that a batch can do nothing but what its step is for, to nobody but the deal."""
    sender = TREASURY if batch.key.step in TREASURY_STEPS else ACCOUNT
    first = batch.intents[0].nonce
    for number, intent in enumerate(batch.intents):
        assert intent.chain_id == CHAIN
        assert intent.sender == sender
        assert intent.nonce == first + number
        assert intent.fees.max_fee_per_gas <= PROFILE.fees.max_fee_per_gas_wei
        assert intent.gas_limit <= 1_000_000
        if intent.data == "0x":
            plain(batch.key.step, intent)
        else:
            called(intent)
    for intent, following in zip(batch.intents, [*batch.intents[1:], None], strict=True):
        spent_at_once(intent, following)
    if any(repays_a_part(intent) for intent in batch.intents):
        # Nothing is withdrawn where something is still owed.
        others = [i for i in batch.intents if not repays_a_part(i) and i.to != USDT]
        assert others == []


def repays_a_part(intent: Intent) -> bool:
    """Whether it repays less than everything."""
    signature = SELECTORS.get(intent.data[2:10], "")
    return signature.startswith("repay(") and words(intent)[1] != EVERYTHING


def plain(step: Step, intent: Intent) -> None:
    """Ether goes from the treasury to the account, home, or nowhere."""
    if intent.to == intent.sender:
        assert intent.value == 0
    else:
        assert (step, intent.to) in {(Step.FUND, ACCOUNT), (Step.SWEEP, TREASURY)}


def called(intent: Intent) -> None:
    """Every word of the calldata is what it has to be."""
    shape = SHAPES[intent.to, SELECTORS[intent.data[2:10]]]
    given = words(intent)
    assert len(intent.data) == 10 + 64 * len(shape)
    for place, (word, expected) in enumerate(zip(given, shape, strict=True)):
        if place == 1 and repays_a_part(intent):
            assert 0 < word < 2**128
            continue
        options = expected if isinstance(expected, set) else {expected}
        numbers = {int(each, 16) if isinstance(each, str) else each for each in options}
        assert ANY in numbers or word in numbers
    if SELECTORS[intent.data[2:10]] != "deposit()":
        assert intent.value == 0
    if intent.to == ROUTER:
        assert given[0] != given[1]
    if SELECTORS[intent.data[2:10]].startswith("transfer"):
        assert given[0] == int(ACCOUNT if intent.sender == TREASURY else TREASURY, 16)


def spent_at_once(intent: Intent, following: Intent | None) -> None:
    """What is allowed to be taken, the next call takes, or allows anew."""
    if not intent.data.startswith("0x095ea7b3") or words(intent)[1] == 0:
        return
    assert following is not None
    if following.data.startswith("0x095ea7b3"):
        assert (following.to, words(following)[0]) == (intent.to, words(intent)[0])
        return
    assert int(following.to, 16) == words(intent)[0]
    taking = {"exactInputSingle": 5, "exactOutputSingle": 6, "supply": 1, "redeem": 0}
    name = SELECTORS[following.data[2:10]].partition("(")[0]
    if name in taking:
        assert words(intent)[1] <= words(following)[taking[name]]
    else:
        assert name == "repay"


def words(intent: Intent) -> list[int]:
    """The words after the selector, as numbers."""
    return [int(intent.data[i : i + 64], 16) for i in range(10, len(intent.data), 64)]


# -- mutations ---------------------------------------------------------------------------------


def word_of(draw: st.DrawFn) -> bytes:
    """A word that somebody might put in the place of another."""
    number = draw(
        st.one_of(
            st.sampled_from(PLACES).map(lambda place: int(place, 16)),
            st.sampled_from([0, 1, 2, 32, 64, 100, 3_000, 2**128, 2**255, EVERYTHING]),
            st.integers(0, EVERYTHING),
        )
    )
    return number.to_bytes(32, "big")


def of_calldata(draw: st.DrawFn, intent: Intent) -> dict[str, Any]:
    """Other calldata: bits, bytes, words, offsets, selectors."""
    data = bytearray.fromhex(intent.data[2:])
    slots = (len(data) - 4) // 32
    kinds = ["append", *["flip", "cut", "offset", "pad", "selector"] * (len(data) >= 4)]
    match draw(st.sampled_from([*kinds, *["word", "swap"] * (slots > 0)])):
        case "flip":
            for _ in range(draw(st.integers(1, 4))):
                data[draw(st.integers(0, len(data) - 1))] ^= draw(st.integers(1, 255))
        case "cut":
            del data[draw(st.integers(0, len(data) - 1)) :]
        case "append":
            data += draw(st.binary(min_size=1, max_size=96))
        case "word":
            at = 4 + 32 * draw(st.integers(0, slots - 1))
            data[at : at + 32] = word_of(draw)
        case "swap":
            one, other = (4 + 32 * draw(st.integers(0, slots - 1)) for _ in range(2))
            data[one : one + 32], data[other : other + 32] = (
                data[other : other + 32],
                data[one : one + 32],
            )
        case "offset":  # a struct as if it were of dynamic size, with its offset before it
            data[4:4] = draw(st.sampled_from([32, 64, 0])).to_bytes(32, "big")
        case "pad":  # a word shifted by some bytes, as unpacked calldata would be
            data[4:4] = bytes(draw(st.integers(1, 31)))
        case _:
            known = draw(st.sampled_from([*SELECTORS, *FOREIGN_SELECTORS]))
            data[:4] = bytes.fromhex(known)
    return {"data": "0x" + data.hex()}


def of_envelope(draw: st.DrawFn, intent: Intent) -> dict[str, Any]:
    """Another value in one of the other fields."""
    fees = st.builds(
        Fees,
        max_fee_per_gas=st.integers(0, 2 * PROFILE.fees.max_fee_per_gas_wei),
        max_priority_fee_per_gas=st.integers(0, 2 * PROFILE.fees.max_fee_per_gas_wei),
    )
    fields: dict[str, st.SearchStrategy[Any]] = {
        "to": st.sampled_from(PLACES),
        "sender": st.sampled_from(PLACES),
        "value": st.one_of(st.integers(0, 10**24), st.just(intent.value + 1)),
        "chain_id": st.sampled_from([ChainId(1), ChainId(137), ChainId(651940)]),
        "nonce": st.integers(0, 5),
        "gas_limit": st.integers(1, 40_000_000),
        "fees": fees,
        "spends_rest": st.booleans(),
        "intent_id": st.sampled_from(["", "beta/swap/1/1/0", "alpha/swap/1/1/0"]),
        "data": st.just("0x"),
    }
    field = draw(st.sampled_from(list(fields)))
    return {field: draw(fields[field])}


def of_batch(draw: st.DrawFn, batch: PreparedBatch) -> dict[str, Any]:
    """Other transactions, in another order, as another step, or with other promises."""
    intents = list(batch.intents)
    at = draw(st.integers(0, len(intents) - 1))
    match draw(st.sampled_from(["move", "drop", "twice", "step", "bounds", "account", "graft"])):
        case "move":
            intents.insert(draw(st.integers(0, len(intents) - 1)), intents.pop(at))
        case "drop":
            del intents[at]
        case "twice":
            intents.insert(at, intents[at])
        case "step":
            key = batch.key.model_copy(update={"step": draw(st.sampled_from(list(Step)))})
            return {"key": key}
        case "bounds":
            return {"bounds": ()} if draw(st.booleans()) else {"simulated_changes": {}}
        case "account":
            return {"account": draw(st.sampled_from(PLACES))}
        case _:  # a transaction of another step
            other = BATCHES.batch(draw(st.sampled_from(DEAL_STEPS))).intents
            intents.insert(at, other[draw(st.integers(0, len(other) - 1))])
    if draw(st.booleans()):  # numbered and named anew, as whoever prepares batches would
        intents = [
            intent.model_copy(update={"nonce": number, "intent_id": f"{batch.key}/{number}"})
            for number, intent in enumerate(intents)
        ]
    return {"intents": tuple(intents)}


@st.composite
def mutations(draw: st.DrawFn) -> tuple[SignBatch, SignBatch]:
    """A batch that is signed, and the same with one to three things changed, its digest right."""
    step = draw(st.sampled_from(DEAL_STEPS))
    valid = BATCHES.order(step, selling=step is Step.UNWIND and draw(st.booleans()))
    batch = valid.batch
    for _ in range(draw(st.integers(1, 3))):
        if not batch.intents:
            break
        at = draw(st.integers(0, len(batch.intents) - 1))
        kind = draw(st.sampled_from(["calldata", "calldata", "envelope", "batch"]))
        if kind == "batch":
            batch = batch.model_copy(update=of_batch(draw, batch))
            continue
        mutate: Callable[..., dict[str, Any]] = of_calldata if kind == "calldata" else of_envelope
        intent = batch.intents[at].model_copy(update=mutate(draw, batch.intents[at]))
        batch = batch.model_copy(
            update={"intents": (*batch.intents[:at], intent, *batch.intents[at + 1 :])}
        )
    mutated = order_of(batch)
    if draw(st.integers(0, 9)) == 0:
        field = draw(st.sampled_from([{"chain_id": ChainId(651940)}, {"module": ModuleId("x")}]))
        mutated = mutated.model_copy(update=field)
    return valid, mutated


UNTIMED = {"deadline": None, "suppress_health_check": list(HealthCheck)}


@given(mutations())
@settings(max_examples=1_000, **UNTIMED)
def test_under_the_digest_that_was_accepted_only_the_same_batch_is_signed(
    mutation: tuple[SignBatch, SignBatch],
) -> None:
    valid, mutated = mutation
    assume(mutated.batch != valid.batch)  # changes that cancelled each other
    stolen = mutated.model_copy(update={"digest": valid.digest})
    reviewed = review(stolen, POLICY, DEAL_RECORD, NOW)
    assert isinstance(reviewed, Finding)
    assert reviewed.rule == "digest"


@given(mutations())
@settings(max_examples=2_500, **UNTIMED)
def test_an_attacker_who_owns_the_digest_can_do_no_harm(
    mutation: tuple[SignBatch, SignBatch],
) -> None:
    _, mutated = mutation
    if not isinstance(review(mutated, POLICY, DEAL_RECORD, NOW), Finding):
        assert mutated.chain_id == CHAIN
        assert mutated.batch.account == ACCOUNT
        harmless(mutated.batch)


@given(st.sampled_from(DEAL_STEPS), st.data())
@settings(max_examples=1_000, **UNTIMED)
def test_one_bit_of_an_address_a_selector_or_a_fixed_number_is_enough(
    step: Step, data: st.DataObject
) -> None:
    """Of calldata, only amounts and a swap's deadline and price limit are left open."""
    valid = BATCHES.order(step)
    at = data.draw(st.integers(0, len(valid.batch.intents) - 1))
    intent = valid.batch.intents[at]
    assume(intent.data != "0x")
    shape = SHAPES[intent.to, SELECTORS[intent.data[2:10]]]
    fixed = [*range(4)]
    for number, expected in enumerate(shape):
        if expected is not ANY:
            fixed += range(4 + 32 * number, 36 + 32 * number)
    raw = bytearray.fromhex(intent.data[2:])
    raw[data.draw(st.sampled_from(fixed))] ^= 1 << data.draw(st.integers(0, 7))
    changed = intent.model_copy(update={"data": "0x" + raw.hex()})
    intents = (*valid.batch.intents[:at], changed, *valid.batch.intents[at + 1 :])
    mutated = order_of(valid.batch.model_copy(update={"intents": intents}))
    assert isinstance(review(mutated, POLICY, DEAL_RECORD, NOW), Finding)


@given(st.data())
@settings(max_examples=1_000, **UNTIMED)
def test_no_mutation_of_a_safes_transaction_pays_anybody_else(data: st.DataObject) -> None:
    """Its arguments are of dynamic size, so offsets and lengths are held to be the usual ones."""
    valid = funded_from_safe()
    intent = valid.batch.intents[0]
    mutate: Callable[..., dict[str, Any]] = data.draw(st.sampled_from([of_calldata, of_envelope]))
    for _ in range(data.draw(st.integers(1, 2))):
        intent = intent.model_copy(update=mutate(data.draw, intent))
    mutated = order_of(valid.batch.model_copy(update={"intents": (intent,)}))
    if isinstance(review(mutated, POLICY, DealRecord(SAFE_ACCOUNTS), NOW), Finding):
        return
    if intent.data == "0x":  # a no-op of the fee account
        assert (intent.to, intent.value) == (intent.sender, 0)
        return
    assert (intent.sender, intent.to) == (SAFE_ACCOUNTS.fee, SAFE_ACCOUNTS.treasury)
    given = words(intent.model_copy(update={"data": intent.data[: 10 + 64 * 11]}))
    recipient, value, at, *none, signed_at, length = given
    assert (recipient, at, signed_at, length) == (int(ACCOUNT, 16), 32 * 10, 32 * 11, 0)
    assert none == [0] * 6
    assert 0 < value <= 10_000 * 10**18


@given(mutations())
@settings(max_examples=150, **UNTIMED)
async def test_the_signer_itself_signs_no_mutation_that_does_harm(
    signer: Signer, mutation: tuple[SignBatch, SignBatch]
) -> None:
    valid, mutated = mutation
    opened = await signer.open_account(OpenAccount(deal_id=BATCHES.deal, chain_id=CHAIN))
    assert opened.model_copy(update={"fee": None}) == ACCOUNTS
    assume(mutated.batch != valid.batch)
    try:
        signed = await signer.sign_batch(mutated)
    except SigningRefused:
        return
    harmless(mutated.batch)
    assert len(signed.transactions) == len(mutated.batch.intents)
    stolen = mutated.model_copy(update={"digest": valid.digest})
    with pytest.raises(SigningRefused, match="simulated and accepted"):
        await signer.sign_batch(stolen)
