"""Who may do what: people and services, their roles and banks, and what each role allows.

A `Caller` is somebody whose credential was checked, on one way in. Everything that is done is
asked of `Caller.require`, and nothing else decides about permissions.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

from domain.amounts import Units
from domain.errors import Forbidden
from domain.identifiers import BankId, Identifier

ALL_BANKS: Final = "*"
"""In place of the banks: every bank, those of tomorrow as well."""


class PrincipalId(Identifier):
    """Names one person or service for ever; a name is never given to another."""

    __slots__ = ()
    field = "principal"


class GroupId(Identifier):
    """Names people who may stand in for an approver."""

    __slots__ = ()
    field = "group"


class Role(StrEnum):
    """What somebody is on the desk; one may have several."""

    VIEWER = "viewer"
    TRADER = "trader"
    SENIOR_TRADER = "senior_trader"
    APPROVER = "approver"
    RISK_MANAGER = "risk_manager"
    ONCALL = "oncall"
    COMPLIANCE = "compliance"
    ADMIN = "admin"


class Permission(StrEnum):
    """One thing that may be done; each command and each endpoint asks for one."""

    DEALS_READ = "deals.read"
    DEALS_START = "deals.start"
    DEALS_PAUSE = "deals.pause"
    DEALS_RESUME = "deals.resume"
    DEALS_CANCEL = "deals.cancel"
    DEALS_RETRY = "deals.retry"
    DEALS_UNWIND = "deals.unwind"
    DEALS_EXPIRE = "deals.expire"
    DEALS_ADOPT = "deals.adopt"
    DEALS_APPROVE = "deals.approve"
    TX_READ = "tx.read"
    TX_ACT = "tx.act"
    CHAIN_READ = "chain.read"
    CHAIN_RELEASE = "chain.release"
    HALTS_READ = "halts.read"
    HALTS_SET = "halts.set"
    HALTS_RELEASE = "halts.release"
    POLICY_READ = "policy.read"
    POLICY_PROPOSE = "policy.propose"
    POLICY_APPROVE = "policy.approve"
    AUDIT_READ = "audit.read"
    AUDIT_EXPORT = "audit.export"
    USERS_READ = "users.read"
    USERS_WRITE = "users.write"
    KEYS_READ = "keys.read"
    KEYS_ACT = "keys.act"
    OPERATIONS_READ = "operations.read"
    OPERATIONS_ACT = "operations.act"
    SCHEDULES_ACT = "schedules.act"
    CODEC_ACT = "codec.act"


_READING: Final = frozenset(
    {
        Permission.DEALS_READ,
        Permission.TX_READ,
        Permission.CHAIN_READ,
        Permission.HALTS_READ,
        Permission.POLICY_READ,
        Permission.KEYS_READ,
        Permission.OPERATIONS_READ,
    }
)
_TRADING: Final = _READING | {
    Permission.DEALS_START,
    Permission.DEALS_PAUSE,
    Permission.DEALS_RESUME,
    Permission.DEALS_CANCEL,
}

PERMISSIONS_OF: Final[Mapping[Role, frozenset[Permission]]] = {
    Role.VIEWER: _READING,
    Role.TRADER: _TRADING,
    Role.SENIOR_TRADER: _TRADING
    | {Permission.DEALS_RETRY, Permission.DEALS_UNWIND, Permission.HALTS_SET},
    Role.APPROVER: _READING | {Permission.DEALS_APPROVE},
    Role.RISK_MANAGER: _READING
    | {
        Permission.DEALS_PAUSE,
        Permission.DEALS_CANCEL,
        Permission.DEALS_UNWIND,
        Permission.DEALS_EXPIRE,
        Permission.HALTS_SET,
        Permission.HALTS_RELEASE,
        Permission.POLICY_PROPOSE,
        Permission.POLICY_APPROVE,
        Permission.AUDIT_READ,
    },
    Role.ONCALL: _READING
    | {
        Permission.DEALS_PAUSE,
        Permission.DEALS_RESUME,
        Permission.DEALS_CANCEL,
        Permission.DEALS_RETRY,
        Permission.DEALS_UNWIND,
        Permission.DEALS_EXPIRE,
        Permission.DEALS_ADOPT,
        Permission.TX_ACT,
        Permission.CHAIN_RELEASE,
        Permission.HALTS_SET,
        Permission.HALTS_RELEASE,
        Permission.AUDIT_READ,
        Permission.SCHEDULES_ACT,
    },
    Role.COMPLIANCE: _READING
    | {Permission.AUDIT_READ, Permission.AUDIT_EXPORT, Permission.USERS_READ},
    Role.ADMIN: _READING
    | {
        Permission.USERS_READ,
        Permission.USERS_WRITE,
        Permission.AUDIT_READ,
        Permission.KEYS_ACT,
        Permission.OPERATIONS_ACT,
        Permission.SCHEDULES_ACT,
        Permission.CODEC_ACT,
    },
}
"""What each role allows. Nobody has all: an admin makes users but neither trades nor approves."""


class PrincipalKind(StrEnum):
    """People come with the identity provider's token, services with an API key."""

    HUMAN = "human"
    SERVICE = "service"


class Via(StrEnum):
    """The way in."""

    CLI = "cli"
    API = "api"
    TEMPORAL = "temporal"
    WORKER = "worker"


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class StandIn(_Model):
    """For which approver somebody stands in now, by a group that he is in, and for which banks."""

    approver: PrincipalId
    group: GroupId
    banks: frozenset[str]


class Principal(_Model):
    """A person or service as our own table has it; a token says nothing about any of it."""

    principal_id: PrincipalId
    kind: PrincipalKind = PrincipalKind.HUMAN
    roles: frozenset[Role] = frozenset()
    banks: frozenset[BankId | Annotated[str, Field(pattern=r"^\*$")]] = frozenset()
    """Whose deals; `ALL_BANKS` alone stands for every bank."""
    max_deal_usd8: Units = 0
    """The largest deal that may be started, in 1e-8 USD; nothing by default."""
    groups: frozenset[GroupId] = frozenset()
    stands_in: tuple[StandIn, ...] = ()

    @property
    def permissions(self) -> frozenset[Permission]:
        """What the roles allow together."""
        return frozenset().union(*(PERMISSIONS_OF[role] for role in self.roles))

    @property
    def all_banks(self) -> bool:
        """Whether no bank is another's."""
        return ALL_BANKS in self.banks

    def has_bank(self, bank: str) -> bool:
        """Whether this bank's deals are to be seen at all."""
        return has_bank(self.banks, bank)

    def stands_in_at(self, bank: str | None) -> bool:
        """Whether an approver of this bank (of any, if None) has passed his part on to a group.

        Whoever stands in for him gets no bank by that: it must be one of his own as well.
        """
        return any(bank is None or has_bank(each.banks, bank) for each in self.stands_in)


class Caller(_Model):
    """Somebody who has proved who he is, and how he came in."""

    principal: Principal
    via: Via
    address: str | None = None
    """The network address, where there is one."""
    credential: str | None = None
    """Which credential was used: its id, never the secret."""
    scopes: frozenset[Permission] | None = None
    """What the credential is for; None if it is for all that its owner may."""
    request_id: str | None = None

    @property
    def who(self) -> PrincipalId:
        """The name that everything done is kept under."""
        return self.principal.principal_id

    @property
    def banks(self) -> tuple[str, ...] | None:
        """The banks that lists are filtered to, sorted; None for a caller who has all."""
        return None if self.principal.all_banks else tuple(sorted(self.principal.banks))

    def may(self, permission: Permission, bank: str | None = None) -> bool:
        """Whether `require` would let this through."""
        if self.scopes is not None and permission not in self.scopes:
            return False
        if bank is not None and not self.principal.has_bank(bank):
            return False
        return permission in self.principal.permissions or (
            permission is Permission.DEALS_APPROVE and self.principal.stands_in_at(bank)
        )

    def require(self, permission: Permission, bank: str | None = None) -> None:
        """Raise `Forbidden` unless role, credential and, if one is given, the bank allow it."""
        if self.may(permission, bank):
            return
        raise self._lacking(permission) if not self.may(permission) else self._elsewhere(bank)

    def _lacking(self, permission: Permission) -> Forbidden:
        out_of_scope = self.scopes is not None and permission not in self.scopes
        return Forbidden(
            f"the credential of {self.who} is not for {permission}"
            if out_of_scope
            else f"{self.who} may not do this: it takes {permission}",
            field="permission",
            value=permission,
            limit=f"one of the roles {', '.join(roles_with(permission))}",
            actual=f"roles {', '.join(sorted(self.principal.roles)) or 'none'}",
            next_action="use a credential that is for it"
            if out_of_scope
            else "ask somebody who may, or have an admin change it (`deal users set`)",
        )

    def _elsewhere(self, bank: str | None) -> Forbidden:
        return Forbidden(
            f"{self.who} may not do this for bank {bank}",
            field="bank",
            value=bank,
            limit=f"banks {', '.join(sorted(self.principal.banks)) or 'none'}",
            next_action="ask somebody of that bank's, or have an admin change it",
        )


def has_bank(banks: frozenset[str], bank: str) -> bool:
    """Whether a set of banks has this one, by its name or by having all."""
    return ALL_BANKS in banks or bank in banks


def roles_with(permission: Permission) -> tuple[Role, ...]:
    """The roles that allow something, in the order in which they are told."""
    return tuple(role for role in Role if permission in PERMISSIONS_OF[role])
