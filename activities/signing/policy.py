"""What the signer signs: pure rules over a decoded batch, with a default of deny.

Nothing in a request is believed. Addresses come from the chain's profile and from the signer's own
records, calldata is decoded here, and the first rule that does not hold ends it.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from eth_abi.exceptions import DecodingError

from activities.protocols.aave import ALL
from activities.protocols.abi import SELECTOR_BYTES, Function
from activities.signing.calls import (
    MEANINGS,
    MOST_INTENTS,
    WHOLE_STEPS,
    Arguments,
    Party,
    Terms,
)
from activities.signing.findings import Finding, Rule
from activities.signing.interface import DealAccounts, SignBatch
from activities.signing.promises import promise_findings
from activities.signing.records import DealRecord
from activities.signing.rules import Call, ModulePolicy, SigningPolicy
from activities.signing.timelock import Told, review_operation
from domain.amounts import BASIS_POINTS
from domain.chains import ChainProfile
from domain.deals import Step
from domain.exits import debt_bound
from domain.identifiers import Address
from domain.operations import OPERATION_STEPS
from domain.transactions import TRANSFER_GAS, Asset, Intent, PreparedBatch

INTENT_ID: Final = re.compile(r"[!-~]{1,200}")

_SHOWN: Final = 200
_ASK: Final = "do not send it again: find out who prepared it, and how it came to differ"
_REPREPARE: Final = "prepare the batch again"
_CHANGE_POLICY: Final = "ask a risk manager whether the signing policy is to allow it"


@dataclass(frozen=True, slots=True)
class Accepted:
    """A batch that may be signed: of each intent, what it moves and whether rate limits count it.

    Values are in units of 1e-8 US dollars, at the policy's own prices.
    """

    usd8: tuple[int, ...]
    rated: tuple[bool, ...]
    told: Told | None = None
    """What it tells a timelock, which the signer's records have to agree to as well."""

    @classmethod
    def without_rates(cls, batch: PreparedBatch) -> "Accepted":
        """What moves nothing, and is never held up."""
        count = len(batch.intents)
        return cls(usd8=(0,) * count, rated=(False,) * count)


def check_batch(order: SignBatch, policy: SigningPolicy, deal: DealRecord, now: int) -> None:
    """Raise `SigningRefused` naming the rule, the value and the limit, unless all may be signed."""
    reviewed = review(order, policy, deal, now)
    if isinstance(reviewed, Finding):
        raise reviewed.error()


def review(
    order: SignBatch, policy: SigningPolicy, deal: DealRecord, now: int
) -> Finding | Accepted:
    """Return the first rule that does not hold, or that the whole batch may be signed.

    `deal` is the signer's own record of the deal, `now` its clock in Unix seconds.
    """
    finding = next(_outer_findings(order, policy, deal), None)
    if finding is not None:
        return finding
    batch = order.batch
    if all(is_no_op(intent) for intent in batch.intents):
        return next(_no_op_findings(batch.intents), None) or Accepted.without_rates(batch)
    if batch.key.step in OPERATION_STEPS:
        told = review_operation(batch, policy.chains[order.chain_id].timelock)
        if isinstance(told, Finding):
            return told
        return replace(Accepted.without_rates(batch), told=told)
    return _review_calls(batch, policy.chains[order.chain_id].modules[order.module], deal, now)


def review_age(batch: PreparedBatch, profile: ChainProfile, now: int) -> Finding | None:
    """Return why the batch is too old to be signed for the first time, or None.

    What it was simulated on may have moved since. One from the future is as wrong as an old one:
    then the clocks differ by so much that no age can be told.
    """
    age, limit = now - batch.prepared_at, profile.shelf_life_seconds
    if abs(age) <= limit:
        return None
    return Finding(
        Rule.STALE,
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
        Rule.ACCOUNT,
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


def _outer_findings(order: SignBatch, policy: SigningPolicy, deal: DealRecord) -> Iterator[Finding]:
    """Everything but what the transactions call."""
    batch = order.batch
    yield from _request_findings(order, policy)
    yield from _batch_findings(batch, deal.accounts)
    if deal.chain_id not in (None, order.chain_id):
        yield Finding(
            Rule.CHAIN_ID,
            "the deal is on another chain",
            value=order.chain_id,
            limit=deal.chain_id,
            next_action=_ASK,
        )
    sender = _sender(batch, deal.accounts)
    for position, intent in enumerate(batch.intents):
        nonce = batch.intents[0].nonce + position
        if intent.chain_id != order.chain_id:
            yield _wrong(Rule.CHAIN_ID, intent, intent.chain_id, order.chain_id, _ASK)
        if intent.sender != sender:
            yield _wrong(Rule.SENDER, intent, intent.sender, sender, _ASK)
        if intent.nonce != nonce:
            yield _wrong(Rule.NONCE, intent, intent.nonce, nonce, _REPREPARE)
        yield from _fee_findings(intent, policy.chains[order.chain_id].max_fee_per_gas, deal)


def _withholding_findings(batch: PreparedBatch, accounts: DealAccounts) -> Iterator[Finding]:
    yield from _batch_findings(batch, accounts)
    sender = _sender(batch, accounts)
    for intent in batch.intents:
        if intent.sender != sender:
            yield _wrong(Rule.SENDER, intent, intent.sender, sender, _ASK)


def _sender(batch: PreparedBatch, accounts: DealAccounts) -> Address | None:
    return accounts.sender(batch.key.step)


def _request_findings(order: SignBatch, policy: SigningPolicy) -> Iterator[Finding]:
    digest = order.batch.digest()
    if order.digest != digest:
        yield Finding(
            Rule.DIGEST,
            "the batch is not the one that was simulated and accepted",
            value=order.digest,
            limit=digest,
            next_action=_ASK,
        )
    if order.chain_id not in policy.chains:
        yield Finding(
            Rule.CHAIN_ID,
            "the signing policy allows nothing on this chain",
            value=order.chain_id,
            limit=", ".join(str(known) for known in sorted(policy.chains)),
            next_action=_CHANGE_POLICY,
        )
    modules = policy.chains[order.chain_id].modules
    if order.module not in modules:
        yield Finding(
            Rule.MODULE,
            "the signing policy allows nothing for this module",
            value=order.module,
            limit=", ".join(sorted(modules)),
            next_action=_CHANGE_POLICY,
        )


def _batch_findings(batch: PreparedBatch, accounts: DealAccounts) -> Iterator[Finding]:
    """What must hold of any batch, whatever is to be done with it."""
    if batch.account != accounts.account:
        yield Finding(
            Rule.ACCOUNT,
            "the batch is not for the deal's own account",
            value=batch.account,
            limit=accounts.account,
            next_action=_ASK,
        )
    if not 1 <= len(batch.intents) <= MOST_INTENTS:
        yield Finding(
            Rule.INTENTS,
            "a batch has too few or too many transactions",
            value=len(batch.intents),
            limit=f"1 to {MOST_INTENTS}",
            next_action=_REPREPARE,
        )
    counts = Counter(intent.intent_id for intent in batch.intents)
    for intent in batch.intents:
        if not INTENT_ID.fullmatch(intent.intent_id) or counts[intent.intent_id] > 1:
            yield Finding(
                Rule.INTENT_ID,
                "an intent's id is malformed or used twice",
                value=intent.intent_id,
                limit="1 to 200 printable characters, each id once",
                next_action=_REPREPARE,
                intent=intent,
            )


def _fee_findings(intent: Intent, cap: int, deal: DealRecord) -> Iterator[Finding]:
    """No bid above the chain's cap, nor above the deal's own.

    A no-op may bid more than the deal would: it frees a nonce that holds up everything after it.
    """
    fees, wait = intent.fees, "wait until the chain's fees are under the cap"
    if fees.max_fee_per_gas > cap:
        yield _wrong(Rule.MAX_FEE_PER_GAS, intent, fees.max_fee_per_gas, cap, wait)
    own = deal.max_fee_per_gas
    if own is not None and fees.max_fee_per_gas > own and not is_no_op(intent):
        yield _wrong(Rule.DEAL_MAX_FEE_PER_GAS, intent, fees.max_fee_per_gas, own, wait)
    if fees.max_priority_fee_per_gas > fees.max_fee_per_gas:
        yield _wrong(
            Rule.MAX_PRIORITY_FEE_PER_GAS,
            intent,
            fees.max_priority_fee_per_gas,
            fees.max_fee_per_gas,
            _REPREPARE,
        )


def _no_op_findings(intents: Sequence[Intent]) -> Iterator[Finding]:
    for intent in intents:
        if intent.gas_limit != TRANSFER_GAS:
            yield _wrong(Rule.GAS_LIMIT, intent, intent.gas_limit, TRANSFER_GAS, _REPREPARE)
        if intent.spends_rest:
            yield _wrong(Rule.SPENDS_REST, intent, intent.spends_rest, "false", _REPREPARE)


def _review_calls(
    batch: PreparedBatch, module: ModulePolicy, deal: DealRecord, now: int
) -> Finding | Accepted:
    """Hold the transactions to the sequences of their step."""
    addresses = {
        **module.addresses,
        Party.ACCOUNT: deal.accounts.account,
        Party.TREASURY: deal.accounts.treasury,
    }
    with_safe = deal.accounts.hot_treasury is not None
    module = module.of_deals(with_safe=with_safe)
    if with_safe:
        addresses[Party.SAFE] = deal.accounts.treasury
    calls = _calls_of(batch, module, addresses)
    if calls is None:
        return next(_mismatches(batch, module, addresses))
    decoded = [_decode(*each) for each in zip(batch.intents, calls, strict=True)]
    # What cannot be decoded is refused below, before any rule asks for its arguments.
    arguments = [each or () for each in decoded]
    terms = Terms(
        addresses=addresses,
        pool_fee=module.pool_fee,
        now=now,
        repayable=_repayable(batch, calls, arguments),
        withdrawn=_withdrawn(batch, calls),
    )
    finding = next(_call_findings(batch, calls, decoded, terms), None)
    if finding is not None:
        return finding
    bought = {Party.PAR: Asset.PAR, Party.DISCOUNT: Asset.DISCOUNT}
    assets = {addresses[party]: asset for party, asset in bought.items()}
    finding = next(promise_findings(batch, assets), None)
    if finding is not None:
        return finding
    return Accepted(
        usd8=tuple(
            _usd8(intent, call, given, terms, module)
            for intent, call, given in zip(batch.intents, calls, arguments, strict=True)
        ),
        rated=tuple(call.rated for call in calls),
    )


def _usd8(
    intent: Intent, call: Call, arguments: Arguments, terms: Terms, module: ModulePolicy
) -> int:
    """What the call moves, at the policy's own price. An approval moves nothing by itself."""
    if call.meaning.pays_ether is not None:
        return module.usd8(None, call.meaning.pays_ether(terms, arguments))
    if call.meaning.units is None:
        return module.usd8(None, intent.value)
    return module.usd8(call.meaning.token, call.meaning.units(terms, arguments))


def _repayable(batch: PreparedBatch, calls: Sequence[Call], arguments: Sequence[Arguments]) -> int:
    """The most par-token units that repaying everything may take.

    That is what it took when simulated, with a margin for interest on both sides: between looking
    and simulating, and between simulating and mining. The par token's change counts, because the
    debt token's own events leave out the interest that is repaid. What the batch itself borrows is
    known without them.
    """
    spent = max(-batch.simulated_changes.get(Asset.PAR, 0), 0)
    loans = (
        int(given[1])
        for call, given in zip(calls, arguments, strict=True)
        if call.name == "borrow" and given
    )
    return debt_bound(debt_bound(max(spent, next(loans, 0))))


def _withdrawn(batch: PreparedBatch, calls: Sequence[Call]) -> int:
    """The collateral that withdrawing all of it gives: as simulated, or what the batch wraps."""
    wrapped = sum(
        intent.value
        for intent, call in zip(batch.intents, calls, strict=True)
        if call.name == "wrap"
    )
    return max(wrapped, -batch.simulated_changes.get(Asset.COLLATERAL, 0))


def _call_findings(
    batch: PreparedBatch,
    calls: Sequence[Call],
    decoded: Sequence[Arguments | None],
    terms: Terms,
) -> Iterator[Finding]:
    arguments: list[Arguments] = []
    for intent, call, given in zip(batch.intents, calls, decoded, strict=True):
        yield from _transfer_findings(intent, call)
        if given is None:
            shown, limit = intent.data[:_SHOWN], "canonical ABI encoding"
            yield _wrong(Rule.CALLDATA, intent, shown, limit, _ASK)
            return
        arguments.append(given)
        for value, expected in zip(given, call.meaning.arguments, strict=True):
            if not expected.accepts(terms, value):
                yield _wrong(expected.rule, intent, value, expected.limit(terms), _ASK)
        yield from _cap_findings(intent, call, given, terms)
    yield from _part_findings(batch, calls, arguments)
    for position, intent in enumerate(batch.intents):
        yield from _approval_findings(intent, calls[position:], arguments[position:], terms)
    if batch.key.step is Step.RUN:
        yield from _run_findings(batch, calls, arguments)


def _part_findings(
    batch: PreparedBatch, calls: Sequence[Call], arguments: Sequence[Arguments]
) -> Iterator[Finding]:
    """A part of a debt is repaid in a batch of its own: nothing is withdrawn upon it."""
    others = any(call.meaning.approves is None and call.name != "repay" for call in calls)
    for intent, call, given in zip(batch.intents, calls, arguments, strict=True):
        if call.name == "repay" and given[1] != ALL and others:
            yield _wrong(Rule.AMOUNT, intent, given[1], ALL, _ASK)


def _calls_of(
    batch: PreparedBatch, module: ModulePolicy, addresses: Mapping[Party, Address]
) -> tuple[Call, ...] | None:
    """The calls that the intents are, in one of their step's sequences; None if there is none."""
    sequences = module.sequences.get(batch.key.step, ())
    candidates = (_match(sequence, batch, addresses) for sequence in sequences)
    return next((found for found in candidates if found is not None), None)


def _match(
    sequence: Sequence[Call], batch: PreparedBatch, addresses: Mapping[Party, Address]
) -> tuple[Call, ...] | None:
    """The calls of the sequence that the intents are, in order; None if they are not.

    That is if one is not among them, or if one is missing where none may be.
    """
    left = iter(sequence)
    matched = []
    for intent in batch.intents:
        call = next((call for call in left if _is_call(intent, call, addresses)), None)
        if call is None:
            return None
        matched.append(call)
    if batch.key.step in WHOLE_STEPS and _needed(matched) != _needed(sequence):
        return None
    return tuple(matched)


def _needed(calls: Sequence[Call]) -> list[Call]:
    """All but the approvals, which an earlier attempt may have given already."""
    return [call for call in calls if call.meaning.approves is None]


def _is_call(intent: Intent, call: Call, addresses: Mapping[Party, Address]) -> bool:
    return intent.to == addresses[call.to] and _selector(intent) == call.meaning.selector


def _selector(intent: Intent) -> str:
    """The first four bytes of calldata, fewer if there are no four."""
    return intent.data[2 : 2 + 2 * SELECTOR_BYTES]


def _mismatches(
    batch: PreparedBatch, module: ModulePolicy, addresses: Mapping[Party, Address]
) -> Iterator[Finding]:
    """Say which part of the allow list a batch breaks: step, destination, selector or order."""
    step = batch.key.step
    sequences = module.sequences.get(step)
    if sequences is None:
        yield Finding(
            Rule.STEP,
            f"the signing policy does not allow {step}",
            value=step,
            limit=", ".join(module.sequences),
            next_action=_CHANGE_POLICY,
        )
        return
    allowed = [call for sequence in sequences for call in sequence]
    for intent in batch.intents:
        there = [call for call in allowed if addresses[call.to] == intent.to]
        if not there:
            destinations = sorted({addresses[call.to] for call in allowed})
            yield _wrong(Rule.DESTINATION, intent, intent.to, ", ".join(destinations), _ASK)
        if _selector(intent) not in {call.meaning.selector for call in there}:
            limit = ", ".join(sorted({call.meaning.signature for call in there}))
            yield _wrong(Rule.SELECTOR, intent, intent.data[:10], limit, _ASK)
    yield Finding(
        Rule.SEQUENCE,
        f"the calls of {step} are not in an order that is allowed",
        value=", ".join(intent.intent_id for intent in batch.intents),
        limit=" or ".join(" > ".join(call.name for call in sequence) for sequence in sequences),
        next_action=_REPREPARE,
    )


def _transfer_findings(intent: Intent, call: Call) -> Iterator[Finding]:
    """Ether goes along only where the call is for it; the gas of a plain transfer is known."""
    meaning = call.meaning
    if meaning.payable != (intent.value > 0):
        limit = "more than 0 wei" if meaning.payable else "0 wei"
        yield _wrong(Rule.VALUE, intent, intent.value, limit, _ASK)
    if call.max_wei is not None and intent.value > call.max_wei:
        yield _wrong(Rule.MAX_ETHER, intent, intent.value, call.max_wei, _CHANGE_POLICY)
    if intent.spends_rest and not meaning.may_spend_rest:
        yield _wrong(Rule.SPENDS_REST, intent, intent.spends_rest, "false", _ASK)
    if meaning.gas is not None and intent.gas_limit != meaning.gas:
        yield _wrong(Rule.GAS_LIMIT, intent, intent.gas_limit, meaning.gas, _REPREPARE)
    if intent.gas_limit > call.max_gas:
        yield _wrong(Rule.GAS_LIMIT, intent, intent.gas_limit, call.max_gas, _REPREPARE)


def _cap_findings(
    intent: Intent, call: Call, arguments: Arguments, terms: Terms
) -> Iterator[Finding]:
    """What a risk manager has set for the arguments."""
    meaning = call.meaning
    if call.max_wei is not None and meaning.pays_ether is not None:
        paid = meaning.pays_ether(terms, arguments)
        if paid > call.max_wei:
            yield _wrong(Rule.MAX_ETHER, intent, paid, call.max_wei, _CHANGE_POLICY)
    if call.max_units is not None and meaning.units is not None:
        units = meaning.units(terms, arguments)
        if units > call.max_units:
            yield _wrong(Rule.MAX_TOKENS, intent, units, call.max_units, _CHANGE_POLICY)
    if call.max_deadline_seconds is not None and meaning.deadline is not None:
        deadline, last = arguments[meaning.deadline], terms.now + call.max_deadline_seconds
        if deadline > last:
            yield _wrong(Rule.DEADLINE, intent, deadline, f"at most {last}", _REPREPARE)
    if call.max_loss_bps is not None and meaning.price is not None:
        paid, bought = arguments[meaning.price.paid], arguments[meaning.price.bought]
        least = paid * (BASIS_POINTS - call.max_loss_bps)
        if bought * BASIS_POINTS < least:
            limit = f"at least {-(-least // BASIS_POINTS)} for {paid}"
            yield _wrong(Rule.MAX_LOSS, intent, bought, limit, _ASK)


def _decode(intent: Intent, call: Call) -> Arguments | None:
    """The arguments; None unless they encode to the same bytes."""
    return _arguments(intent, call.meaning.function) if call.meaning.function else ()


def _arguments(intent: Intent, function: Function) -> Arguments | None:
    """The arguments, a struct's fields in its place; None unless they encode to the same bytes."""
    try:
        arguments = function.decode_arguments(bytes.fromhex(intent.data[2:]))
    except (ValueError, OverflowError, DecodingError):  # an offset may be larger than any size
        return None
    if len(arguments) == 1 and isinstance(arguments[0], tuple):
        return arguments[0]
    return arguments


def _approval_findings(
    intent: Intent, calls: Sequence[Call], arguments: Sequence[Arguments], terms: Terms
) -> Iterator[Finding]:
    """An approval is used up by the call right after it; one of nothing only takes back."""
    use = calls[0].meaning.approves
    if use is None or arguments[0][1] == 0:
        return
    if len(calls) == 1 or calls[1].name != use or calls[1].meaning.units is None:
        limit = f"{MEANINGS[use].signature} right after"
        yield _wrong(Rule.UNUSED_APPROVAL, intent, "no such call", limit, _ASK)
        return
    approved, needed = arguments[0][1], calls[1].meaning.units(terms, arguments[1])
    if approved > needed:
        yield _wrong(Rule.APPROVED_AMOUNT, intent, approved, needed, _REPREPARE)


def _run_findings(
    batch: PreparedBatch, calls: Sequence[Call], arguments: Sequence[Arguments]
) -> Iterator[Finding]:
    """In a run every amount follows from the ether that is wrapped, the loan, and the purchase."""
    wrapped, loan, bought = batch.intents[0].value, 0, 0
    for intent, call, given in zip(batch.intents, calls, arguments, strict=True):
        if call.name == "supply" and given[1] != wrapped:
            yield _wrong(Rule.AMOUNT, intent, given[1], wrapped, _ASK)
        if call.name == "borrow":
            loan = given[1]
        if call.name == "purchase":
            bought = given[5]
            if given[6] > loan:
                yield _wrong(Rule.MAXIMUM_IN, intent, given[6], loan, _ASK)
        if call.name == "redeem" and given[0] != bought:
            yield _wrong(Rule.AMOUNT, intent, given[0], bought, _ASK)
        if call.name == "unwrap" and given[0] > wrapped:
            yield _wrong(Rule.AMOUNT, intent, given[0], wrapped, _ASK)


def _wrong(rule: Rule, intent: Intent, value: object, limit: object, next_action: str) -> Finding:
    return Finding(
        rule,
        f"{rule} is not what the signing policy allows",
        value=value,
        limit=limit,
        next_action=next_action,
        intent=intent,
    )
