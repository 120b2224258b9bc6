"""Whether the Safe that is the treasury is governed: by its guard, its module, and nothing else."""

from collections.abc import Iterator
from typing import Final

from activities.protocols import safe
from domain.chains import ChainProfile
from domain.errors import DealError, InvalidConfiguration
from domain.identifiers import Address
from starters.cli.config_reading import read
from starters.cli.node import Node

_PAGE: Final = 10
_LEAST_OWNERS: Final = 2
"""That have to sign: with one, somebody alone could move everything."""


def needed_contracts(profile: ChainProfile) -> set[str]:
    """The names of the contracts that are asked."""
    return {profile.multisig.safe, profile.timelock.governor}


def check_safe(profile: ChainProfile, node: Node) -> Iterator[tuple[str, DealError | None]]:
    """What was looked at, and what is wrong with it. Raises `Unavailable`."""
    for name, look in (("modules", _modules), ("guard", _guard), ("threshold", _threshold)):
        try:
            look(profile, node)
        except InvalidConfiguration as error:
            yield f"safe {name}", error
        else:
            yield f"safe {name}", None


def _modules(profile: ChainProfile, node: Node) -> None:
    """A module moves everything without a signature: there may be none but the governor."""
    governor = profile.contract(profile.timelock.governor)
    enabled = list(_enabled(profile, node))
    strangers = [module for module in enabled if module != governor]
    if strangers:
        raise InvalidConfiguration(
            "other modules than the governor can move what the Safe holds, without signatures",
            field="multisig.safe.modules",
            value=profile.contract(profile.multisig.safe),
            limit=f"{governor}, the governor, and nothing else",
            actual=", ".join(strangers),
            next_action="find out who enabled them; move what it holds to a new Safe",
        )
    if not enabled:
        raise InvalidConfiguration(
            "the governor is no module of the Safe, so that the timelock cannot change its owners",
            field="multisig.safe.modules",
            value=profile.contract(profile.multisig.safe),
            limit=governor,
            actual="none",
            next_action="find out who disabled it; correct the address manifest if that is wrong",
        )


def _enabled(profile: ChainProfile, node: Node) -> Iterator[Address]:
    """All modules, however many pages they take."""
    after = str(safe.SENTINEL)
    while True:
        found, after = read(
            profile, node, profile.multisig.safe, safe.MODULES_PAGINATED, after, _PAGE
        )
        yield from (Address.from_bytes(bytes.fromhex(module[2:])) for module in found)
        if not found or after == safe.SENTINEL:
            return


def _guard(profile: ChainProfile, node: Node) -> None:
    """Without it the owners' signatures can change the Safe itself, and at once."""
    governor = profile.contract(profile.timelock.governor)
    word = node.storage(profile.contract(profile.multisig.safe), safe.GUARD_SLOT)
    guard = "0x" + word.removeprefix("0x").rjust(64, "0")[-40:]
    if int(guard, 16) != int(governor, 16):
        raise InvalidConfiguration(
            "the governor does not guard the Safe: its owners can change it without the timelock",
            field="multisig.safe.guard",
            value=profile.contract(profile.multisig.safe),
            limit=governor,
            actual=guard if int(guard, 16) else "none",
            next_action="find out who changed it; move what it holds to a new Safe",
        )


def _threshold(profile: ChainProfile, node: Node) -> None:
    (threshold,) = read(profile, node, profile.multisig.safe, safe.THRESHOLD)
    if threshold < _LEAST_OWNERS:
        raise InvalidConfiguration(
            "one owner alone can move what the Safe holds",
            field="multisig.safe.threshold",
            value=profile.contract(profile.multisig.safe),
            limit=f"at least {_LEAST_OWNERS} signatures",
            actual=threshold,
            next_action="make a Safe with a higher threshold the treasury",
        )
