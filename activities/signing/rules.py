"""The signing policy in force: the document's rules with addresses, found to make sense.

What nobody could mean is an error here, before anything is signed by it: an unknown contract or
function, a rule that no batch could ever match, a missing cap, a cap that would trap money.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import cached_property
from itertools import zip_longest
from typing import Any, Final

from activities.signing.calls import MEANINGS, Meaning, Party
from activities.signing.document import (
    CAPS,
    AssetPrice,
    CallRule,
    ChainRules,
    ModuleRules,
    PolicyDocument,
    Rates,
)
from activities.signing.timelock import TimelockPolicy, compile_timelock
from domain.amounts import BASIS_POINTS, ETHER_DECIMALS, ceil_div, one_token
from domain.chains import ChainProfile, ModuleProfile
from domain.deals import TREASURY_STEPS, Step
from domain.errors import InvalidConfiguration
from domain.identifiers import Address, ChainId, ModuleId

ETHER: Final = "ether"
_GROWN_BPS: Final = 12_500
"""What a loan may have grown to with its interest while redemption was frozen, of what it was."""
_OWN: Final = {Party.ACCOUNT: "account", Party.TREASURY: "treasury", Party.SAFE: "safe"}
"""Parties that are no contracts: their addresses are in the signer's own records."""


@dataclass(frozen=True, slots=True, eq=False)
class Call:
    """One allowed call with its caps: wei, smallest token units, seconds; None where none holds."""

    name: str
    meaning: Meaning
    max_gas: int
    max_wei: int | None
    max_units: int | None
    max_deadline_seconds: int | None
    max_loss_bps: int | None

    @property
    def to(self) -> Party:
        """Who is called."""
        return self.meaning.to

    @property
    def rated(self) -> bool:
        """Whether rate limits count it: the way out is never held up."""
        return not self.meaning.way_out


Sequence = tuple[Call, ...]


@dataclass(frozen=True, slots=True)
class ModulePolicy:
    """What deals of one module may do on one chain."""

    addresses: Mapping[Party, Address]
    pool_fee: int
    sequences: Mapping[Step, tuple[Sequence, ...]]
    prices: Mapping[Party | None, AssetPrice]
    """By token; None is ether."""

    def of_deals(self, *, with_safe: bool) -> "ModulePolicy":
        """The same without what only deals of the other kind of treasury may do."""
        sequences = {
            step: tuple(
                sequence
                for sequence in of_step
                if all(call.meaning.only_safe in {None, with_safe} for call in sequence)
            )
            for step, of_step in self.sequences.items()
        }
        return replace(self, sequences=sequences)

    def usd8(self, token: Party | None, units: int) -> int:
        """The value of so much at the policy's own price, rounded up."""
        price = self.prices[token]
        return ceil_div(units * price.price_usd, one_token(price.decimals))


@dataclass(frozen=True, slots=True)
class ChainPolicy:
    """What may be signed on one chain. `max_fee_per_gas` is the lower of profile and policy."""

    profile: ChainProfile
    max_fee_per_gas: int
    modules: Mapping[ModuleId, ModulePolicy]
    timelock: TimelockPolicy | None = None


@dataclass(frozen=True)
class SigningPolicy:
    """The policy that a signer runs with.

    `digest` is the SHA-256 of `content`, which is the document and every address that its names
    stand for, so that a changed address is a changed policy.
    """

    version: int
    content: str
    rates: Rates
    chains: Mapping[ChainId, ChainPolicy]

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the content, hexadecimal."""
        return hashlib.sha256(self.content.encode()).hexdigest()


def compile_policy(
    document: PolicyDocument, profiles: Mapping[ChainId, ChainProfile]
) -> SigningPolicy:
    """Give the document's rules their addresses.

    Raises `InvalidConfiguration` whose field is the path to the first rule that makes no sense.
    """
    chains = {
        chain_id: _chain(f"chains.{chain_id}", chain_id, rules, profiles)
        for chain_id, rules in document.chains.items()
    }
    _check_rates(document.rates, chains)
    return SigningPolicy(
        version=document.version,
        content=_content(document, chains),
        rates=document.rates,
        chains=chains,
    )


def _content(document: PolicyDocument, chains: Mapping[ChainId, ChainPolicy]) -> str:
    """What the policy says, in one way only."""
    resolved: dict[str, dict[str, Any]] = {
        str(chain_id): {
            module_id: {str(party): at for party, at in module.addresses.items()}
            | {"pool_fee": module.pool_fee}
            for module_id, module in chain.modules.items()
        }
        for chain_id, chain in chains.items()
    }
    for chain_id, chain in chains.items():
        if chain.timelock is not None:
            resolved[str(chain_id)]["timelock"] = chain.timelock.addresses
    content = {"policy": document.model_dump(mode="json", exclude_none=True), "means": resolved}
    return json.dumps(content, sort_keys=True, separators=(",", ":"))


def _chain(
    path: str, chain_id: ChainId, rules: ChainRules, profiles: Mapping[ChainId, ChainProfile]
) -> ChainPolicy:
    profile = profiles.get(chain_id)
    if profile is None:
        raise _wrong(path, chain_id, f"a chain with a profile: {_listed(profiles)}")
    if profile.fees.max_fee_per_gas_wei > rules.max_fee_per_gas_wei:
        raise _wrong(
            f"{path}.max_fee_per_gas_wei",
            rules.max_fee_per_gas_wei,
            f"at least the profile's {profile.fees.max_fee_per_gas_wei}, or the engine bids what "
            "is never signed",
        )
    modules = {
        name: _module(f"{path}.modules.{name}", name, path, rules, profile)
        for name in rules.modules
    }
    for asset, price in rules.assets.items():
        if not any(price is used for each in modules.values() for used in each.prices.values()):
            raise _wrong(f"{path}.assets.{asset}", asset, "ether, or a token of one of the modules")
    return ChainPolicy(
        profile=profile,
        max_fee_per_gas=min(rules.max_fee_per_gas_wei, profile.fees.max_fee_per_gas_wei),
        modules=modules,
        timelock=None
        if rules.timelock is None
        else compile_timelock(f"{path}.timelock", rules.timelock, profile),
    )


def _module(
    path: str, name: ModuleId, chain: str, rules: ChainRules, profile: ChainProfile
) -> ModulePolicy:
    if name not in profile.modules:
        raise _wrong(path, name, f"a module of the chain: {_listed(profile.modules)}")
    names = _contract_names(profile.modules[name])
    prices = _prices(f"{chain}.assets", names, rules)
    module = rules.modules[name]
    calls = {
        call: _call(f"{path}.calls.{call}", call, rule, names, prices, profile)
        for call, rule in module.calls.items()
    }
    _check_top_up(f"{path}.calls.top_up.max_tokens", calls)
    return ModulePolicy(
        addresses={party: profile.contract(contract) for party, contract in names.items()},
        pool_fee=profile.modules[name].pool_fee,
        sequences=_sequences(path, module, calls),
        prices=prices,
    )


def _contract_names(module: ModuleProfile) -> dict[Party, str]:
    """The names in the address manifest of everybody who can be called."""
    return {
        Party.AAVE_POOL: "aave_pool",
        Party.ROUTER: "uniswap_router",
        Party.REDEMPTION: module.redemption,
        Party.PAR: module.par_token,
        Party.DISCOUNT: module.discount_token,
        Party.COLLATERAL: module.collateral,
    }


def _prices(
    path: str, names: Mapping[Party, str], rules: ChainRules
) -> dict[Party | None, AssetPrice]:
    """The prices of ether and of the module's tokens."""
    needed: dict[Party | None, str] = {None: ETHER}
    needed |= {token: names[token] for token in (Party.PAR, Party.DISCOUNT, Party.COLLATERAL)}
    for asset in needed.values():
        if asset not in rules.assets:
            raise _wrong(f"{path}.{asset}", None, "its price and decimals")
    if rules.assets[ETHER].decimals != ETHER_DECIMALS:
        raise _wrong(f"{path}.{ETHER}.decimals", rules.assets[ETHER].decimals, ETHER_DECIMALS)
    return {token: rules.assets[asset] for token, asset in needed.items()}


def _call(  # noqa: PLR0913, PLR0917 - what one rule is held against
    path: str,
    name: str,
    rule: CallRule,
    names: Mapping[Party, str],
    prices: Mapping[Party | None, AssetPrice],
    profile: ChainProfile,
) -> Call:
    meaning = MEANINGS.get(name)
    if meaning is None:
        raise _wrong(path, name, f"a call that the signer knows: {_listed(MEANINGS)}")
    expected = meaning.function.signature if meaning.function else None
    if rule.function != expected:
        raise _wrong(f"{path}.function", rule.function, expected or "none: it sends ether")
    _check_target(f"{path}.to", rule.to, _OWN.get(meaning.to) or names[meaning.to], profile)
    _check_caps(path, rule, meaning)
    return Call(
        name=name,
        meaning=meaning,
        max_gas=rule.max_gas or 0,
        max_wei=_units(f"{path}.max_ether", rule.max_ether, ETHER_DECIMALS),
        max_units=_units(f"{path}.max_tokens", rule.max_tokens, prices[meaning.token].decimals),
        max_deadline_seconds=rule.max_deadline_seconds,
        max_loss_bps=rule.max_loss_bps,
    )


def _check_top_up(path: str, calls: Mapping[str, Call]) -> None:
    """A debt can always be repaid from the treasury, also after it has grown for long."""
    top_up, borrow = calls.get("top_up"), calls.get("borrow")
    if top_up is None or borrow is None or top_up.max_units is None or borrow.max_units is None:
        return
    least = ceil_div(borrow.max_units * _GROWN_BPS, BASIS_POINTS)
    if top_up.max_units < least:
        limit = f"at least {least} units, or a loan that has grown could not be repaid"
        raise _wrong(path, top_up.max_units, limit)


def _check_target(path: str, given: str, expected: str, profile: ChainProfile) -> None:
    if given not in profile.contracts and given not in _OWN.values():
        raise _wrong(path, given, "a name in the address manifest, account, treasury or safe")
    if given != expected:
        raise _wrong(path, given, f"{expected}, by the chain's profile; no other can ever match")


def _check_caps(path: str, rule: CallRule, meaning: Meaning) -> None:
    """Each cap that the call needs is there, and none besides."""
    for cap in CAPS:
        given = getattr(rule, cap)
        if cap in meaning.caps and given is None:
            raise _wrong(f"{path}.{cap}", None, "a cap: nothing is signed without")
        if cap not in meaning.caps and given is not None:
            limit = "none: it would trap money" if meaning.way_out else "none: it never matters"
            raise _wrong(f"{path}.{cap}", given, limit)
    if meaning.gas is not None and rule.max_gas != meaning.gas:
        raise _wrong(f"{path}.max_gas", rule.max_gas, meaning.gas)


def _units(path: str, amount: Decimal | None, decimals: int) -> int | None:
    if amount is None:
        return None
    units = amount.scaleb(decimals)
    if units != units.to_integral_value():
        raise _wrong(path, amount, f"at most {decimals} decimal places")
    return int(units)


def _sequences(
    path: str, module: ModuleRules, calls: Mapping[str, Call]
) -> dict[Step, tuple[Sequence, ...]]:
    for step in _WAY_OUT:
        if step not in module.steps:
            raise _wrong(f"{path}.steps.{step}", None, "its calls: without it, money is trapped")
    found = {}
    for step in module.steps:
        place = f"{path}.steps.{step}"
        named = module.sequences(step)
        if not named:
            raise _wrong(place, None, "at least one sequence; leave the step out to forbid it")
        for sequence in named:
            _check_sequence(place, step, sequence, calls)
        for earlier, later in _pairs(named):
            if _within(later, earlier):
                raise _wrong(place, ", ".join(later), "no sequence that an earlier one contains")
        found[step] = tuple(tuple(calls[name] for name in sequence) for sequence in named)
    used = {call.name for sequences in found.values() for each in sequences for call in each}
    for name in calls:
        if name not in used:
            raise _wrong(f"{path}.calls.{name}", name, "a call of one of the steps")
    return found


def _check_sequence(place: str, step: Step, sequence: list[str], calls: Mapping[str, Call]) -> None:
    for name in sequence:
        if name not in calls:
            raise _wrong(place, name, f"a call of the module: {_listed(calls)}")
        if (name in _BY_TREASURY) != (step in TREASURY_STEPS):
            sender = "treasury" if step in TREASURY_STEPS else "deal's account"
            raise _wrong(place, name, f"calls that the {sender} makes")
    for name, following in zip_longest(sequence, sequence[1:]):
        use = calls[name].meaning.approves
        if use is not None and following not in {name, use}:
            raise _wrong(place, name, f"{use} right after, which uses it")


_WAY_OUT: Final = (Step.REDEEM, Step.UNWIND, Step.TOP_UP, Step.SETTLE, Step.SWEEP)
"""What running deals get out by, and so can never be forbidden."""
_BY_TREASURY: Final = frozenset({"fund", "fund_from_safe", "top_up"})
"""The calls that the treasury makes, or the fee account in the place of a Safe; all others are the
deal's own account's."""


def _pairs(named: list[list[str]]) -> Iterator[tuple[list[str], list[str]]]:
    """Each sequence with each that comes after it. The lengths of a cycle are no alternatives."""
    for number, earlier in enumerate(named):
        for later in named[number + 1 :]:
            yield earlier, later


def _within(short: list[str], long: list[str]) -> bool:
    """Whether calls can be left out of the long one so that the short one is left."""
    left = iter(long)
    return all(name in left for name in short)


def _check_rates(rates: Rates, chains: Mapping[ChainId, ChainPolicy]) -> None:
    """A batch that is larger than a rate could never be signed."""
    for chain in chains.values():
        for module in chain.modules.values():
            for step, sequences in module.sequences.items():
                for sequence in sequences:
                    count = sum(call.rated for call in sequence)
                    for field in ("deal_signatures", "hour_signatures"):
                        if count > getattr(rates, field):
                            limit = f"at least {count}, or {step} could never be signed whole"
                            raise _wrong(f"rates.{field}", getattr(rates, field), limit)


def _listed(names: object) -> str:
    return ", ".join(sorted(str(name) for name in names))  # type: ignore[attr-defined]


def _wrong(path: str, value: object, limit: object) -> InvalidConfiguration:
    return InvalidConfiguration(
        f"the signing policy's {path} is not usable",
        field=path,
        value=value,
        limit=limit,
        next_action="correct the signing policy, then run `deal config check`",
    )
