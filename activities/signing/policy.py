"""What the signer signs: pure rules over a decoded batch, with a default of deny.

Nothing in a request is believed. Addresses come from the chain's profile and from the signer's own
records, calldata is decoded here, and the first rule that does not hold ends it.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from eth_abi.exceptions import DecodingError

from activities.protocols.aave import BORROW, SUPPLY
from activities.protocols.abi import SELECTOR_BYTES, Function
from activities.protocols.redemption import REDEEM
from activities.protocols.uniswap import EXACT_OUTPUT_SINGLE
from activities.protocols.weth import WITHDRAW as UNWRAP
from activities.signing.calls import (
    SEQUENCES,
    WHOLE_STEPS,
    Call,
    Party,
    Terms,
    most_intents,
)
from activities.signing.findings import Finding
from activities.signing.interface import DealAccounts, SignBatch
from activities.signing.promises import promise_findings
from domain.chains import ChainProfile
from domain.deals import TREASURY_STEPS, Step
from domain.errors import NotFound
from domain.exits import debt_bound
from domain.identifiers import Address, ChainId
from domain.transactions import TRANSFER_GAS, Asset, Intent, PreparedBatch

MAX_GAS_LIMIT: Final = 3_000_000
INTENT_ID: Final = re.compile(r"[!-~]{1,200}")

_SHOWN: Final = 200
_ASK: Final = "do not send it again: find out who prepared it, and how it came to differ"
_REPREPARE: Final = "prepare the batch again"


def check_batch(
    order: SignBatch,
    profiles: Mapping[ChainId, ChainProfile],
    accounts: DealAccounts,
    now: int,
) -> None:
    """Raise `SigningRefused` naming the rule, the value and the limit, unless all may be signed."""
    finding = review(order, profiles, accounts, now)
    if finding is not None:
        raise finding.error()


def review(
    order: SignBatch,
    profiles: Mapping[ChainId, ChainProfile],
    accounts: DealAccounts,
    now: int,
) -> Finding | None:
    """Return the first rule that does not hold, or None if the whole batch may be signed.

    `accounts` are the signer's own records of the deal, `now` its clock in Unix seconds.
    """
    return next(_findings(order, profiles, accounts, now), None)


def review_age(batch: PreparedBatch, profile: ChainProfile, now: int) -> Finding | None:
    """Return why the batch is too old to be signed for the first time, or None.

    What it was simulated on may have moved since. One from the future is as wrong as an old one:
    then the clocks differ by so much that no age can be told.
    """
    age, limit = now - batch.prepared_at, profile.shelf_life_seconds
    if abs(age) <= limit:
        return None
    return Finding(
        "stale",
        "the batch was simulated too long ago",
        value=batch.prepared_at,
        limit=f"{limit} seconds",
        actual=f"{age} seconds",
        next_action=f"{_REPREPARE}; if that does not help, compare the clocks of the hosts",
    )


def review_withholding(batch: PreparedBatch, accounts: DealAccounts) -> Finding | None:
    """Return why these intents may not be withheld, or None: a deal can only withhold its own."""
    return next(_withholding_findings(batch, accounts), None)


def no_account(batch: PreparedBatch) -> Finding:
    """Say that the deal was never given an account, so nothing can be signed for it."""
    return Finding(
        "account",
        "the deal has no account",
        value=batch.key.deal_id,
        limit="a deal whose account the signer has opened",
        next_action="open the deal's account first, and prepare the batch for it",
    )


def is_no_op(intent: Intent) -> bool:
    """Whether it only uses up its nonce: nothing sent to nobody but the sender itself."""
    return intent.to == intent.sender and intent.value == 0 and intent.data == "0x"


# Every generator below yields what is wrong, in order. Only the first is ever asked for, so what
# comes after a rule may rely on it.


def _findings(
    order: SignBatch,
    profiles: Mapping[ChainId, ChainProfile],
    accounts: DealAccounts,
    now: int,
) -> Iterator[Finding]:
    yield from _request_findings(order, profiles)
    yield from _batch_findings(order.batch, accounts)
    profile = profiles[order.chain_id]
    sender = _sender(order.batch, accounts)
    for position, intent in enumerate(order.batch.intents):
        yield from _envelope_findings(
            intent, profile, sender, order.batch.intents[0].nonce + position
        )
    if all(is_no_op(intent) for intent in order.batch.intents):
        yield from _no_op_findings(order.batch.intents)
        return
    try:
        terms = _terms(order, profile, accounts, now)
    except NotFound as error:
        yield _missing_contract(error)
        return
    yield from _call_findings(order.batch, terms)
    bought = {Party.PAR: Asset.PAR, Party.DISCOUNT: Asset.DISCOUNT}
    assets = {terms.addresses[party]: asset for party, asset in bought.items()}
    yield from promise_findings(order.batch, assets)


def _withholding_findings(batch: PreparedBatch, accounts: DealAccounts) -> Iterator[Finding]:
    yield from _batch_findings(batch, accounts)
    sender = _sender(batch, accounts)
    for intent in batch.intents:
        if intent.sender != sender:
            yield _wrong("sender", intent, intent.sender, sender, _ASK)


def _sender(batch: PreparedBatch, accounts: DealAccounts) -> Address:
    return accounts.treasury if batch.key.step in TREASURY_STEPS else accounts.account


def _request_findings(
    order: SignBatch, profiles: Mapping[ChainId, ChainProfile]
) -> Iterator[Finding]:
    digest = order.batch.digest()
    if order.digest != digest:
        yield Finding(
            "digest",
            "the batch is not the one that was simulated and accepted",
            value=order.digest,
            limit=digest,
            next_action=_ASK,
        )
    if order.chain_id not in profiles:
        yield Finding(
            "chain_id",
            "the signer has no profile of this chain",
            value=order.chain_id,
            limit=", ".join(str(known) for known in sorted(profiles)),
            next_action="add the chain's profile to the signer's configuration",
        )
        return
    modules = profiles[order.chain_id].modules
    if order.module not in modules:
        yield Finding(
            "module",
            "the chain has no such module",
            value=order.module,
            limit=", ".join(sorted(modules)),
            next_action="add the module to the chain's profile",
        )


def _batch_findings(batch: PreparedBatch, accounts: DealAccounts) -> Iterator[Finding]:
    """What must hold of any batch, whatever is to be done with it."""
    if batch.account != accounts.account:
        yield Finding(
            "account",
            "the batch is not for the deal's own account",
            value=batch.account,
            limit=accounts.account,
            next_action=_ASK,
        )
    count, most = len(batch.intents), most_intents(batch.key.step)
    if not 1 <= count <= most:
        yield Finding(
            "intents",
            "a batch has too few or too many transactions",
            value=count,
            limit=f"1 to {most}",
            next_action=_REPREPARE,
        )
    counts = Counter(intent.intent_id for intent in batch.intents)
    for intent in batch.intents:
        if not INTENT_ID.fullmatch(intent.intent_id) or counts[intent.intent_id] > 1:
            yield Finding(
                "intent_id",
                "an intent's id is malformed or used twice",
                value=intent.intent_id,
                limit="1 to 200 printable characters, each id once",
                next_action=_REPREPARE,
                intent=intent,
            )


def _envelope_findings(
    intent: Intent, profile: ChainProfile, sender: Address, nonce: int
) -> Iterator[Finding]:
    """Everything of a transaction but what it calls."""
    fees, cap = intent.fees, profile.fees.max_fee_per_gas_wei
    if intent.chain_id != profile.chain_id:
        yield _wrong("chain_id", intent, intent.chain_id, profile.chain_id, _ASK)
    if intent.sender != sender:
        yield _wrong("sender", intent, intent.sender, sender, _ASK)
    if intent.nonce != nonce:
        yield _wrong("nonce", intent, intent.nonce, nonce, _REPREPARE)
    if fees.max_fee_per_gas > cap:
        yield _wrong(
            "max_fee_per_gas",
            intent,
            fees.max_fee_per_gas,
            cap,
            "wait until the chain's fees are under the cap",
        )
    if fees.max_priority_fee_per_gas > fees.max_fee_per_gas:
        yield _wrong(
            "max_priority_fee_per_gas",
            intent,
            fees.max_priority_fee_per_gas,
            fees.max_fee_per_gas,
            _REPREPARE,
        )
    if intent.gas_limit > MAX_GAS_LIMIT:
        yield _wrong("gas_limit", intent, intent.gas_limit, MAX_GAS_LIMIT, _REPREPARE)


def _no_op_findings(intents: Sequence[Intent]) -> Iterator[Finding]:
    for intent in intents:
        if intent.gas_limit != TRANSFER_GAS:
            yield _wrong("gas_limit", intent, intent.gas_limit, TRANSFER_GAS, _REPREPARE)
        if intent.spends_rest:
            yield _wrong("spends_rest", intent, intent.spends_rest, "false", _REPREPARE)


def _terms(order: SignBatch, profile: ChainProfile, accounts: DealAccounts, now: int) -> Terms:
    module = profile.module(order.module)
    return Terms(
        addresses={
            Party.ACCOUNT: accounts.account,
            Party.TREASURY: accounts.treasury,
            Party.AAVE_POOL: profile.contract("aave_pool"),
            Party.ROUTER: profile.contract("uniswap_router"),
            Party.REDEMPTION: profile.contract(module.redemption),
            Party.PAR: profile.contract(module.par_token),
            Party.DISCOUNT: profile.contract(module.discount_token),
            Party.COLLATERAL: profile.contract(module.collateral),
        },
        pool_fee=module.pool_fee,
        now=now,
        repayable=_repayable(order.batch),
    )


def _repayable(batch: PreparedBatch) -> int:
    """The most par-token units that repaying everything may take.

    That is what it took when simulated, with a margin for interest on both sides: between looking
    and simulating, and between simulating and mining. The par token's change counts, because the
    debt token's own events leave out the interest that is repaid. What the batch itself borrows is
    known without them.
    """
    spent = max(-batch.simulated_changes.get(Asset.PAR, 0), 0)
    return debt_bound(debt_bound(max(spent, _borrowed(batch))))


def _borrowed(batch: PreparedBatch) -> int:
    """What the loan of the batch is for, if it takes one."""
    loans = (_arguments(i, BORROW) for i in batch.intents if _selector(i) == BORROW.selector.hex())
    return next((int(loan[1]) for loan in loans if loan), 0)


def _missing_contract(error: NotFound) -> Finding:
    return Finding(
        "contract",
        error.problem.message,
        value=error.problem.value,
        limit=error.problem.limit,
        next_action=error.problem.next_action,
    )


def _call_findings(batch: PreparedBatch, terms: Terms) -> Iterator[Finding]:
    sequences = SEQUENCES[batch.key.step]
    candidates = (_match(sequence, batch, terms) for sequence in sequences)
    calls = next((found for found in candidates if found is not None), None)
    if calls is None:
        yield from _mismatches(batch, terms)
        return
    arguments: list[tuple[Any, ...]] = []
    for intent, call in zip(batch.intents, calls, strict=True):
        yield from _transfer_findings(intent, call)
        decoded = _decode(intent, call)
        if decoded is None:
            yield _wrong("calldata", intent, intent.data[:_SHOWN], "canonical ABI encoding", _ASK)
            return
        arguments.append(decoded)
        for value, expected in zip(decoded, call.arguments, strict=True):
            if not expected.accepts(terms, value):
                yield _wrong(expected.rule, intent, value, expected.limit(terms), _ASK)
    for position, intent in enumerate(batch.intents):
        yield from _approval_findings(intent, calls[position:], arguments[position:], terms)
    if batch.key.step is Step.RUN:
        yield from _run_findings(batch, calls, arguments)


def _match(sequence: Sequence[Call], batch: PreparedBatch, terms: Terms) -> tuple[Call, ...] | None:
    """The calls of the sequence that the intents are, in order; None if they are not.

    That is if one is not among them, or if one is missing where none may be.
    """
    left = iter(sequence)
    matched = []
    for intent in batch.intents:
        call = next((call for call in left if _is_call(intent, call, terms)), None)
        if call is None:
            return None
        matched.append(call)
    if batch.key.step in WHOLE_STEPS and _needed(matched) != _needed(sequence):
        return None
    return tuple(matched)


def _needed(calls: Sequence[Call]) -> list[Call]:
    """All but the approvals, which an earlier attempt may have given already."""
    return [call for call in calls if call.approves is None]


def _is_call(intent: Intent, call: Call, terms: Terms) -> bool:
    return intent.to == terms.addresses[call.to] and _selector(intent) == _selector_of(call)


def _selector(intent: Intent) -> str:
    """The first four bytes of calldata, fewer if there are no four."""
    return intent.data[2 : 2 + 2 * SELECTOR_BYTES]


def _selector_of(call: Call) -> str:
    return call.function.selector.hex() if call.function else ""


def _mismatches(batch: PreparedBatch, terms: Terms) -> Iterator[Finding]:
    """Say which part of the allow list a batch breaks: destination, selector or order."""
    step = batch.key.step
    allowed = [call for sequence in SEQUENCES[step] for call in sequence]
    for intent in batch.intents:
        there = [call for call in allowed if terms.addresses[call.to] == intent.to]
        if not there:
            destinations = sorted({terms.addresses[call.to] for call in allowed})
            yield _wrong("destination", intent, intent.to, ", ".join(destinations), _ASK)
        if _selector(intent) not in {_selector_of(call) for call in there}:
            limit = ", ".join(sorted({_signature(call) for call in there}))
            yield _wrong("selector", intent, intent.data[:10], limit, _ASK)
    yield Finding(
        "sequence",
        f"the calls of {step} are not in an order that is allowed",
        value=", ".join(intent.intent_id for intent in batch.intents),
        limit=" or ".join(
            " > ".join(_signature(call) for call in sequence) for sequence in SEQUENCES[step]
        ),
        next_action=_REPREPARE,
    )


def _signature(call: Call) -> str:
    return call.function.signature if call.function else "plain ether"


def _transfer_findings(intent: Intent, call: Call) -> Iterator[Finding]:
    """Ether goes along only where the call is for it; the gas of a plain transfer is known."""
    if call.payable != (intent.value > 0):
        limit = "more than 0 wei" if call.payable else "0 wei"
        yield _wrong("value", intent, intent.value, limit, _ASK)
    if intent.spends_rest and not call.may_spend_rest:
        yield _wrong("spends_rest", intent, intent.spends_rest, "false", _ASK)
    if call.gas is not None and intent.gas_limit != call.gas:
        yield _wrong("gas_limit", intent, intent.gas_limit, call.gas, _REPREPARE)


def _decode(intent: Intent, call: Call) -> tuple[Any, ...] | None:
    """The arguments; None unless they encode to the same bytes."""
    return _arguments(intent, call.function) if call.function else ()


def _arguments(intent: Intent, function: Function) -> tuple[Any, ...] | None:
    """The arguments, a struct's fields in its place; None unless they encode to the same bytes."""
    try:
        arguments = function.decode_arguments(bytes.fromhex(intent.data[2:]))
    except (ValueError, DecodingError):
        return None
    if len(arguments) == 1 and isinstance(arguments[0], tuple):
        return arguments[0]
    return arguments


def _approval_findings(
    intent: Intent, calls: Sequence[Call], arguments: Sequence[tuple[Any, ...]], terms: Terms
) -> Iterator[Finding]:
    """An approval is used up by the call right after it; one of nothing only takes back."""
    if calls[0].approves is None or arguments[0][1] == 0:
        return
    if len(calls) == 1 or calls[1] is not calls[0].approves or calls[1].spends is None:
        limit = _signature(calls[0].approves)
        yield _wrong("unused_approval", intent, "no such call", f"{limit} right after", _ASK)
        return
    approved, needed = arguments[0][1], calls[1].spends(terms, arguments[1])
    if approved > needed:
        yield _wrong("approved_amount", intent, approved, needed, _REPREPARE)


def _run_findings(
    batch: PreparedBatch, calls: Sequence[Call], arguments: Sequence[tuple[Any, ...]]
) -> Iterator[Finding]:
    """In a run every amount follows from the ether that is wrapped, the loan, and the purchase."""
    wrapped, loan, bought = batch.intents[0].value, 0, 0
    for intent, call, given in zip(batch.intents, calls, arguments, strict=True):
        if call.function is SUPPLY and given[1] != wrapped:
            yield _wrong("amount", intent, given[1], wrapped, _ASK)
        if call.function is BORROW:
            loan = given[1]
        if call.function is EXACT_OUTPUT_SINGLE:
            bought = given[5]
            if given[6] > loan:
                yield _wrong("maximum_in", intent, given[6], loan, _ASK)
        if call.function is REDEEM and given[0] != bought:
            yield _wrong("amount", intent, given[0], bought, _ASK)
        if call.function is UNWRAP and given[0] > wrapped:
            yield _wrong("amount", intent, given[0], wrapped, _ASK)


def _wrong(rule: str, intent: Intent, value: object, limit: object, next_action: str) -> Finding:
    return Finding(
        rule,
        f"{rule} is not what the signing policy allows",
        value=value,
        limit=limit,
        next_action=next_action,
        intent=intent,
    )
