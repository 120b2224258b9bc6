"""Whether the timelock on a chain is the one that the profile speaks of: delay, roles, owners."""

from collections.abc import Callable, Iterator
from typing import Any, Final

from activities.protocols import timelock
from activities.protocols.abi import Function, address_of
from domain.chains import ChainProfile
from domain.errors import DealError, InvalidConfiguration
from domain.identifiers import Address
from starters.cli.config_reading import read
from starters.cli.node import Node

_ADMIN_ROLE: Final = bytes(32)
_NAMES: Final = {"DEFAULT_ADMIN_ROLE": _ADMIN_ROLE, **timelock.ROLES}
_ANYBODY: Final = "0x" + 40 * "0"
"""OpenZeppelin's executor role, given to the zero address, is everybody's."""


def needed_contracts(profile: ChainProfile) -> set[str]:
    """The names of the contracts that are asked."""
    return {profile.timelock.contract, *_owned(profile)}


def check_timelock(
    profile: ChainProfile, node: Node, fee: Address | None
) -> Iterator[tuple[str, DealError | None]]:
    """What was looked at, and what is wrong with it. Raises `Unavailable`.

    `fee` is the account that has to have the roles.
    """
    look = _Look(profile, node)
    yield "timelock delay", _error(look.delay)
    yield "timelock administrator", _error(look.administrator)
    if fee is None:
        yield "timelock roles", _unknown_fee_account()
    else:
        for role in timelock.ROLES:
            yield f"timelock {role}", _error(look.role, role, fee)
        yield "timelock powers of the fee account", _error(look.no_administrator, fee)
        yield "timelock holders of roles", _error(look.holders, fee)
    yield "timelock executors", _error(look.executors)
    for contract in _owned(profile):
        yield f"owner of {contract}", _error(look.owner, contract)


class _Look:
    """Asks one node; every method raises `InvalidConfiguration` if something is wrong."""

    def __init__(self, profile: ChainProfile, node: Node) -> None:
        self._profile = profile
        self._node = node
        self._timelock = profile.contract(profile.timelock.contract)

    def delay(self) -> None:
        least, needed = self._read(timelock.MIN_DELAY), self._profile.timelock.min_delay_seconds
        if least < needed:
            raise InvalidConfiguration(
                "the timelock's delay is shorter than the profile's",
                field="timelock.min_delay_seconds",
                value=needed,
                limit=f"a timelock that waits at least {needed} s",
                actual=f"{least} s",
                next_action="find out who shortened it; nothing is scheduled until then",
            )

    def role(self, role: str, fee: Address) -> None:
        if not self._has(timelock.ROLES[role], fee):
            raise InvalidConfiguration(
                f"the fee account has no {role} of the timelock",
                field=f"timelock.roles.{role}",
                value=fee,
                limit=f"an account with {role}",
                actual="it has not",
                next_action="have the timelock grant it, or correct DEAL_FEE_ADDRESS",
            )

    def executors(self) -> None:
        if self._has(timelock.ROLES[timelock.EXECUTOR], _ANYBODY):
            raise InvalidConfiguration(
                "anybody may execute what the timelock has scheduled",
                field=f"timelock.roles.{timelock.EXECUTOR}",
                value=_ANYBODY,
                limit="the fee account only",
                actual="everybody",
                next_action="have the timelock revoke the role of the zero address",
            )

    def administrator(self) -> None:
        if not self._has(_ADMIN_ROLE, self._timelock):
            raise InvalidConfiguration(
                "the timelock does not administer itself",
                field="timelock.roles.DEFAULT_ADMIN_ROLE",
                value=self._timelock,
                limit="the timelock itself",
                actual="it has not",
                next_action="find out who took it away; correct the manifest if that is wrong",
            )

    def no_administrator(self, fee: Address) -> None:
        if self._has(_ADMIN_ROLE, fee):
            raise InvalidConfiguration(
                "the fee account can give roles of the timelock without its delay",
                field="timelock.roles.DEFAULT_ADMIN_ROLE",
                value=fee,
                limit="the timelock only",
                actual="the fee account has it too",
                next_action="have the fee account renounce it, and find out who granted it",
            )

    def owner(self, contract: str) -> None:
        owner = address_of(self._read(timelock.OWNER, of=contract))
        if owner != self._timelock:
            raise InvalidConfiguration(
                f"the timelock does not own {contract}",
                field=f"contracts.{contract}.owner",
                value=self._profile.contract(contract),
                limit=self._timelock,
                actual=owner,
                next_action="find out who owns it; correct the address manifest if that is wrong",
            )

    def holders(self, fee: Address) -> None:
        """Whoever else was ever granted a role, and has it still."""
        known = {_ADMIN_ROLE: self._timelock} | dict.fromkeys(timelock.ROLES.values(), fee)
        told_of = {role: f"timelock.roles.{name}" for name, role in _NAMES.items()}
        granted = self._granted()
        if (_ADMIN_ROLE, self._timelock) not in granted:
            raise self._forgotten()
        further = [
            (told_of[role], account)
            for role, account in granted
            if role in known and account != known[role] and self._has(role, account)
        ]
        # That the fee account gives roles has a check of its own.
        further = [each for each in further if each != (told_of[_ADMIN_ROLE], fee)]
        if further:
            raise InvalidConfiguration(
                "others than the fee account have roles of the timelock",
                field=further[0][0],
                value=further[0][1],
                limit="the fee account, and the timelock itself as administrator",
                actual=", ".join(f"{account} {role}" for role, account in further),
                next_action="find out who they are; have the timelock revoke their roles",
            )

    def _granted(self) -> list[tuple[bytes, str]]:
        """Each role and account that the timelock's log tells of, in its order, once.

        The zero address is nobody; for the role where it is everybody there is another check.
        """
        logs = self._node.logs(
            self._timelock, timelock.ROLE_GRANTED_TOPIC, self._profile.timelock.since_block
        )
        told = (log["topics"] for log in logs)
        return list(
            dict.fromkeys(
                (bytes.fromhex(topics[1][2:]), address_of("0x" + topics[2][-40:]))
                for topics in told
                if int(topics[2], 16)
            )
        )

    def _forgotten(self) -> InvalidConfiguration:
        """The first grant is the timelock's own, by its constructor."""
        return InvalidConfiguration(
            "the node's logs do not reach back to the timelock's beginning: who else has roles "
            "cannot be told",
            field="timelock.since_block",
            value=self._profile.timelock.since_block,
            limit="the block in which it was deployed, or an earlier one, on a node that has it",
            next_action="correct since_block, or ask an archive node",
        )

    def _has(self, role: bytes, account: str) -> bool:
        return bool(self._read(timelock.HAS_ROLE, role, account))

    def _read(self, function: Function, *arguments: object, of: str | None = None) -> Any:  # noqa: ANN401 - what the ABI says
        name = of or self._profile.timelock.contract
        (value,) = read(self._profile, self._node, name, function, *arguments)
        return value


def _owned(profile: ChainProfile) -> list[str]:
    """What the timelock has to own, by the names of the address manifest."""
    redemptions = sorted({module.redemption for module in profile.modules.values()})
    return [profile.timelock.registry, profile.timelock.governor, *redemptions]


def _error(look: Callable[..., None], *arguments: object) -> InvalidConfiguration | None:
    try:
        look(*arguments)
    except InvalidConfiguration as error:
        return error
    return None


def _unknown_fee_account() -> InvalidConfiguration:
    return InvalidConfiguration(
        "it is not said which account speaks to the timelock",
        field="DEAL_FEE_ADDRESS",
        limit="the fee account, as `python -m workers.signer init` prints it",
        next_action="set DEAL_FEE_ADDRESS, or start the local stack with `deal local up`",
    )
