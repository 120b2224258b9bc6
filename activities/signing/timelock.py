"""What the fee account may tell the timelock: rules over decoded calls, with a default of deny."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from eth_abi.exceptions import DecodingError

from activities.protocols import timelock
from activities.protocols.abi import SELECTOR_BYTES, Function
from activities.protocols.safe import NOBODY
from activities.signing.document import TimelockRules
from activities.signing.findings import Finding, Rule
from domain.chains import ChainProfile
from domain.deals import Step
from domain.errors import InvalidConfiguration
from domain.identifiers import Address
from domain.operations import NO_PREDECESSOR, salt_of
from domain.transactions import Intent, PreparedBatch

_ASK: Final = "do not send it again: find out who prepared it, and how it came to differ"
_CHANGE_POLICY: Final = "ask a risk manager whether the signing policy is to allow it"

_KNOWN: Final = {
    function.signature: function
    for function in (
        timelock.SET_TREASURY,
        timelock.SET_DESTINATION,
        timelock.SWAP_OWNER,
        timelock.SET_FEE,
        timelock.SET_CAP,
    )
}
_NUMBERS: Final = frozenset({timelock.SET_FEE.signature, timelock.SET_CAP.signature})
_CALLS: Final = {
    Step.SCHEDULE: timelock.SCHEDULE,
    Step.EXECUTE: timelock.EXECUTE,
    Step.REVOKE: timelock.CANCEL,
}


@dataclass(frozen=True, slots=True)
class AllowedChange:
    """One change that may be made: which function of which contract, up to which number."""

    to: Address
    function: Function
    max_value: int | None


@dataclass(frozen=True, slots=True)
class TimelockPolicy:
    """What the timelock of one chain may be told."""

    contract: Address
    safe: Address
    min_delay_seconds: int
    max_delay_seconds: int
    max_gas: int
    changes: tuple[AllowedChange, ...]

    @property
    def addresses(self) -> dict[str, str]:
        """Every address that the rules' names stand for."""
        own = {"contract": str(self.contract), "safe": str(self.safe)}
        return own | {change.function.signature: str(change.to) for change in self.changes}


@dataclass(frozen=True, slots=True)
class Told:
    """What a batch tells the timelock; a cancellation says only which operation.

    `delay_seconds` is 0 unless it schedules.
    """

    step: Step
    timelock_id: str
    delay_seconds: int = 0


def compile_timelock(path: str, rules: TimelockRules, profile: ChainProfile) -> TimelockPolicy:
    """Give the rules their addresses.

    Raises `InvalidConfiguration` whose field is the path to the first that makes no sense.
    """
    if rules.contract != profile.timelock.contract:
        raise _unusable(f"{path}.contract", rules.contract, profile.timelock.contract)
    least, most = profile.timelock.min_delay_seconds, rules.max_delay_seconds
    if rules.min_delay_seconds < least:
        limit = f"at least {least}, the profile's"
        raise _unusable(f"{path}.min_delay_seconds", rules.min_delay_seconds, limit)
    if most < rules.min_delay_seconds:
        raise _unusable(f"{path}.max_delay_seconds", most, "at least min_delay_seconds")
    changes = []
    for name, rule in rules.operations.items():
        place = f"{path}.operations.{name}"
        function = _KNOWN.get(rule.function)
        if function is None:
            raise _unusable(f"{place}.function", rule.function, ", ".join(sorted(_KNOWN)))
        if rule.to not in profile.contracts:
            raise _unusable(f"{place}.to", rule.to, "a name in the address manifest")
        if (rule.max_value is not None) != (rule.function in _NUMBERS):
            limit = "a limit: nothing is signed without" if rule.function in _NUMBERS else "none"
            raise _unusable(f"{place}.max_value", rule.max_value, limit)
        changes.append(AllowedChange(profile.contract(rule.to), function, rule.max_value))
    return TimelockPolicy(
        contract=profile.contract(rules.contract),
        safe=profile.contract(profile.multisig.safe),
        min_delay_seconds=rules.min_delay_seconds,
        max_delay_seconds=most,
        max_gas=rules.max_gas,
        changes=tuple(changes),
    )


def review_operation(batch: PreparedBatch, policy: TimelockPolicy | None) -> Finding | Told:
    """Return the first rule that does not hold, or what the batch tells the timelock."""
    if policy is None:
        return Finding(
            Rule.STEP,
            "the signing policy allows nothing to be told to a timelock on this chain",
            value=batch.key.step,
            limit="none",
            next_action=_CHANGE_POLICY,
        )
    finding = next(_envelope_findings(batch, policy), None)
    if finding is not None:
        return finding
    (intent,), function = batch.intents, _CALLS[batch.key.step]
    arguments = _decoded(function, intent.data)
    if arguments is None:
        return _wrong(Rule.SELECTOR, intent, intent.data[:10], function.signature)
    if batch.key.step is Step.REVOKE:
        return Told(batch.key.step, "0x" + arguments[0].hex())
    target, _, data, _, salt, *delay = arguments
    identity = timelock.identity(target, "0x" + data.hex(), "0x" + salt.hex())
    told = Told(batch.key.step, identity, *delay)
    return next(_call_findings(batch, arguments, policy), told)


def _envelope_findings(batch: PreparedBatch, policy: TimelockPolicy) -> Iterator[Finding]:
    if len(batch.intents) != 1 or batch.bounds or batch.simulated_changes:
        yield Finding(
            Rule.SEQUENCE,
            "a timelock is told one thing at a time, which moves nothing",
            value=f"{len(batch.intents)} transactions",
            limit="1, without changes of balances",
            next_action=_ASK,
        )
    intent = batch.intents[0]
    if intent.to != policy.contract:
        yield _wrong(Rule.DESTINATION, intent, intent.to, policy.contract)
    if intent.value:
        yield _wrong(Rule.VALUE, intent, intent.value, 0)
    if intent.spends_rest:
        yield _wrong(Rule.SPENDS_REST, intent, intent.spends_rest, "false")
    if intent.gas_limit > policy.max_gas:
        yield _wrong(Rule.GAS_LIMIT, intent, intent.gas_limit, policy.max_gas)


def _call_findings(
    batch: PreparedBatch, arguments: tuple[Any, ...], policy: TimelockPolicy
) -> Iterator[Finding]:
    """What the timelock would call, under which salt, and after how long."""
    (intent,) = batch.intents
    target, value, data, predecessor, salt, *delay = arguments
    if value:
        yield _wrong(Rule.OPERATION_CALL, intent, value, "0 wei")
    there = [change for change in policy.changes if change.to.lower() == target.lower()]
    if not there:
        limit = ", ".join(sorted({change.to for change in policy.changes}))
        yield _wrong(Rule.OPERATION_CALL, intent, target, limit, _CHANGE_POLICY)
    selector = data[:SELECTOR_BYTES]
    change = next((each for each in there if each.function.selector == selector), None)
    if change is None:
        limit = ", ".join(each.function.signature for each in there)
        yield _wrong(Rule.OPERATION_CALL, intent, "0x" + selector.hex(), limit, _CHANGE_POLICY)
        return
    yield from _change_findings(intent, change, data, policy)
    if "0x" + predecessor.hex() != NO_PREDECESSOR:
        yield _wrong(Rule.OPERATION_SALT, intent, "0x" + predecessor.hex(), NO_PREDECESSOR)
    expected = salt_of(batch.key.deal_id)
    if "0x" + salt.hex() != expected:
        yield _wrong(Rule.OPERATION_SALT, intent, "0x" + salt.hex(), expected)
    for seconds in delay:
        if not policy.min_delay_seconds <= seconds <= policy.max_delay_seconds:
            limit = f"{policy.min_delay_seconds} to {policy.max_delay_seconds} seconds"
            yield _wrong(Rule.OPERATION_DELAY, intent, seconds, limit, _CHANGE_POLICY)


def _change_findings(
    intent: Intent, change: AllowedChange, data: bytes, policy: TimelockPolicy
) -> Iterator[Finding]:
    arguments = _decoded(change.function, "0x" + data.hex())
    if arguments is None:
        yield _wrong(Rule.CALLDATA, intent, "0x" + data.hex(), "canonical ABI encoding")
        return
    if change.max_value is not None and arguments[0] > change.max_value:
        limit = f"at most {change.max_value}"
        yield _wrong(Rule.OPERATION_ARGUMENT, intent, arguments[0], limit, _CHANGE_POLICY)
    addresses = [
        given
        for given, kind in zip(arguments, change.function.types, strict=True)
        if kind == "address"
    ]
    for address in addresses:
        if address == NOBODY:
            yield _wrong(Rule.OPERATION_ARGUMENT, intent, address, "an address that is not zero")
    if change.function is timelock.SWAP_OWNER and addresses[0] != policy.safe.lower():
        yield _wrong(Rule.OPERATION_ARGUMENT, intent, addresses[0], policy.safe)


def _decoded(function: Function, data: str) -> tuple[Any, ...] | None:
    """The arguments; None unless the calldata is exactly what encoding them gives."""
    try:
        return function.decode_arguments(bytes.fromhex(data[2:]))
    except (DecodingError, ValueError, OverflowError):
        return None


def _wrong(
    rule: Rule, intent: Intent, value: object, limit: object, next_action: str = _ASK
) -> Finding:
    return Finding(
        rule,
        f"{rule} of what the timelock is told is not what it must be",
        value=value,
        limit=limit,
        next_action=next_action,
        intent=intent,
    )


def _unusable(path: str, value: object, limit: object) -> InvalidConfiguration:
    return InvalidConfiguration(
        f"the signing policy's {path} is not usable",
        field=path,
        value=value,
        limit=limit,
        next_action="correct the signing policy, then run `deal config check`",
    )
