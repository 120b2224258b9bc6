"""The post-conditions of a batch as the signer sees them: what is signed is what was simulated.

The digest binds the bounds to the calls. Here they are held against what the simulation showed and,
where the chain itself can hold a call to them, against the calls.
"""

from collections.abc import Iterator, Mapping
from typing import Final

from activities.protocols.abi import address_of
from activities.protocols.uniswap import EXACT_INPUT_SINGLE, EXACT_OUTPUT_SINGLE
from activities.signing.findings import Finding, Rule
from domain.amounts import BASIS_POINTS, ceil_div
from domain.identifiers import Address
from domain.limits import MAX_SLIPPAGE_BPS
from domain.transactions import Asset, Bound, Intent, PreparedBatch

_PAID: Final = 0
_BOUGHT: Final = 1
_MINIMUM_OUT: Final = 6
_MAXIMUM_IN: Final = 6
_REPREPARE: Final = "prepare the batch again"


def promise_findings(batch: PreparedBatch, assets: Mapping[Address, Asset]) -> Iterator[Finding]:
    """Say which promise the batch does not keep; its calls have been decoded and found canonical.

    `assets` are the assets that swaps can buy, by the addresses of their tokens.
    """
    yield from _change_findings(batch)
    for number, intent in enumerate(batch.intents):
        if intent.data.startswith(f"0x{EXACT_INPUT_SINGLE.selector.hex()}"):
            yield from _swap_findings(batch, number, intent, assets)
        if intent.data.startswith(f"0x{EXACT_OUTPUT_SINGLE.selector.hex()}"):
            yield from _purchase_findings(batch, number, intent, assets)


def _change_findings(batch: PreparedBatch) -> Iterator[Finding]:
    """What the simulation showed was promised, asset by asset, and nothing besides changes."""
    promised = {bound.asset for bound in batch.bounds}
    for asset, change in batch.simulated_changes.items():
        if asset not in promised:
            yield _broken(asset, "no change", change)
    for bound in batch.bounds:
        # What a part of the batch changes is not told apart in what the signer is given.
        of_all = bound.first == 0 and bound.end is None
        change = batch.simulated_changes.get(bound.asset, 0)
        if of_all and not bound.minimum <= change <= bound.maximum:
            yield _broken(bound.asset, f"{bound.minimum} to {bound.maximum}", change)


def _swap_findings(
    batch: PreparedBatch, number: int, intent: Intent, assets: Mapping[Address, Asset]
) -> Iterator[Finding]:
    """A swap whose minimum out is less than is promised would be noticed too late."""
    (arguments,) = EXACT_INPUT_SINGLE.decode_arguments(bytes.fromhex(intent.data[2:]))
    bought = assets[address_of(arguments[_BOUGHT])]
    # Who widens the bounds of a sale, attempt by attempt, does so up to here and no further.
    shown = batch.simulated_changes.get(bought, 0)
    if arguments[_MINIMUM_OUT] < shown - ceil_div(shown * MAX_SLIPPAGE_BPS, BASIS_POINTS):
        yield Finding(
            Rule.MINIMUM_OUT,
            "the swap would accept far less than it was simulated to get",
            value=arguments[_MINIMUM_OUT],
            limit=f"at most {MAX_SLIPPAGE_BPS} basis points less than {shown}",
            next_action=_REPREPARE,
            intent=intent,
        )
    for bound in batch.bounds:
        if _speaks_of(bound, bought, number) and arguments[_MINIMUM_OUT] < bound.minimum:
            yield Finding(
                Rule.MINIMUM_OUT,
                "the swap would accept less than the batch promises",
                value=arguments[_MINIMUM_OUT],
                limit=f"at least {bound.minimum}",
                next_action=_REPREPARE,
                intent=intent,
            )


def _purchase_findings(
    batch: PreparedBatch, number: int, intent: Intent, assets: Mapping[Address, Asset]
) -> Iterator[Finding]:
    """A purchase that may cost more than is promised would be noticed too late."""
    (arguments,) = EXACT_OUTPUT_SINGLE.decode_arguments(bytes.fromhex(intent.data[2:]))
    paid = assets[address_of(arguments[_PAID])]
    for bound in batch.bounds:
        if _speaks_of(bound, paid, number) and -arguments[_MAXIMUM_IN] < bound.minimum:
            yield Finding(
                Rule.MAXIMUM_IN,
                "the purchase may cost more than the batch promises",
                value=arguments[_MAXIMUM_IN],
                limit=f"at most {-bound.minimum}",
                next_action=_REPREPARE,
                intent=intent,
            )


def _speaks_of(bound: Bound, asset: Asset, number: int) -> bool:
    ends_after = bound.end is None or number < bound.end
    return bound.asset is asset and bound.first <= number and ends_after


def _broken(asset: Asset, limit: str, change: int) -> Finding:
    return Finding(
        Rule.BOUNDS,
        f"the simulated change of {asset} is not what the batch promises",
        value=change,
        limit=limit,
        next_action=_REPREPARE,
    )
