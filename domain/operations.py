"""Critical operations: what changes only through the timelock, and where such a change stands.

An operation is scheduled, waited for, and executed once; until then it can be cancelled. Its name
gives the timelock's salt, so the same name is the same operation for ever.
"""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from domain.amounts import Units
from domain.deals import Step
from domain.errors import InvalidInput, NotAllowed, Problem
from domain.hashing import keccak
from domain.identifiers import Address, ChainId, DealId, Identifier, ModuleId

NO_PREDECESSOR: Final = "0x" + "00" * 32
OPERATION_STEPS: Final = frozenset({Step.SCHEDULE, Step.EXECUTE, Step.REVOKE})
"""What the fee account sends to the timelock."""

_PREFIX: Final = "operation-"


class OperationId(Identifier):
    """Names one operation for ever; the Temporal workflow id is `operation-<operation id>`."""

    __slots__ = ()
    field = "operation_id"


def _short(value: OperationId) -> OperationId:
    DealId(f"{_PREFIX}{value}")
    return value


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TreasuryChange(_Model):
    """Another Safe is the desk's treasury."""

    kind: Literal["treasury"] = "treasury"
    treasury: Address


class DestinationChange(_Model):
    """Deals may call a contract, or may no more."""

    kind: Literal["destination"] = "destination"
    destination: Address
    allowed: bool


class SafeOwnerChange(_Model):
    """Another person is an owner of the treasury's Safe."""

    kind: Literal["safe_owner"] = "safe_owner"
    old_owner: Address
    new_owner: Address


class RedemptionFeeChange(_Model):
    """Redeeming costs so many basis points."""

    kind: Literal["redemption_fee"] = "redemption_fee"
    fee_bps: Annotated[int, Field(strict=True, ge=0, le=1_000)]


class RedemptionCapChange(_Model):
    """So much can be redeemed in a day, in smallest units of the discount token."""

    kind: Literal["redemption_cap"] = "redemption_cap"
    daily_cap: Annotated[Units, Field(lt=2**256)]


Change = Annotated[
    TreasuryChange
    | DestinationChange
    | SafeOwnerChange
    | RedemptionFeeChange
    | RedemptionCapChange,
    Field(discriminator="kind"),
]


class OperationRequest(_Model):
    """What somebody wants changed. Without a delay it is the shortest that the timelock allows."""

    operation_id: Annotated[OperationId, AfterValidator(_short)]
    chain_id: Annotated[ChainId, Field(strict=True, gt=0, lt=2**63)]
    module: ModuleId
    change: Change
    delay_seconds: Annotated[int, Field(strict=True, ge=1, lt=2**31)] | None = None
    who: Annotated[str, Field(min_length=1, max_length=200)]
    why: Annotated[str, Field(min_length=1, max_length=500)]

    @property
    def batch_owner(self) -> DealId:
        """The name under which the engine and the signer keep its transactions."""
        return DealId(f"{_PREFIX}{self.operation_id}")


class Scheduled(_Model):
    """One call that the timelock makes: whom, with which calldata, and under which salt."""

    timelock: Address
    target: Address
    data: Annotated[str, Field(pattern=r"^0x([0-9a-f]{2})+$")]
    salt: Annotated[str, Field(pattern=r"^0x[0-9a-f]{64}$")]
    delay_seconds: Annotated[int, Field(ge=0)]
    timelock_id: Annotated[str, Field(pattern=r"^0x[0-9a-f]{64}$")]
    """OpenZeppelin's id: the hash over target, value, data, predecessor and salt."""


class TimelockState(StrEnum):
    """Where the timelock has an operation. Source: TimelockController.OperationState."""

    UNSET = "unset"
    WAITING = "waiting"
    READY = "ready"
    DONE = "done"


class Standing(_Model):
    """An operation on chain in one block, and the value that it is to change."""

    state: TimelockState
    ready_at: Annotated[int, Field(ge=0)] = 0
    """Unix seconds of the chain's clock; 0 unless it is scheduled."""
    value: str


class OperationStatus(StrEnum):
    """Where an operation stands."""

    REQUESTED = "REQUESTED"
    WAITING = "WAITING"
    EXECUTING = "EXECUTING"
    DONE = "DONE"
    CANCELLED = "CANCELLED"
    FAILED = "FAILED"


ENDED: Final = frozenset({OperationStatus.DONE, OperationStatus.CANCELLED, OperationStatus.FAILED})
"""Nothing more will happen."""


class OperationView(_Model):
    """An operation for people and programs."""

    request: OperationRequest
    status: OperationStatus = OperationStatus.REQUESTED
    version: Annotated[int, Field(ge=1)] = 1
    doing: str = "requested"
    title: str
    """What will change, in words."""
    before: str | None = None
    """The value when it was proposed."""
    after: str
    """The value that is wanted."""
    scheduled: Scheduled | None = None
    ready_at: datetime | None = None
    transactions: tuple[str, ...] = ()
    """Hashes of what was mined for it, in their order."""
    cancelled_by: str | None = None
    problem: Problem | None = None
    created_at: datetime
    updated_at: datetime


def salt_of(owner: DealId) -> str:
    """The timelock's salt of an operation, 0x-hexadecimal, by the name of its transactions."""
    return "0x" + keccak(f"deal orchestrator {owner}".encode()).hex()


def title_of(change: Change) -> str:
    """What it changes, in words."""
    match change:
        case TreasuryChange():
            return "the desk's treasury"
        case DestinationChange():
            return f"whether deals may call {change.destination}"
        case SafeOwnerChange():
            return "the owners of the treasury's Safe"
        case RedemptionFeeChange():
            return "the fee of redemption"
        case RedemptionCapChange():
            return "the daily cap of redemption"


def wanted(change: Change) -> str:
    """The value after it, as `Standing.value` says it."""
    match change:
        case TreasuryChange():
            return change.treasury
        case DestinationChange():
            return allowance(allowed=change.allowed)
        case SafeOwnerChange():
            return ownership(old=False, new=True, change=change)
        case RedemptionFeeChange():
            return f"{change.fee_bps} basis points"
        case RedemptionCapChange():
            return f"{change.daily_cap} units a day"


def allowance(*, allowed: bool) -> str:
    """Whether a destination may be called, in words."""
    return "allowed" if allowed else "not allowed"


def ownership(change: SafeOwnerChange, *, old: bool, new: bool) -> str:
    """Who of the two is an owner, in words."""
    owners = [who for who, is_one in ((change.old_owner, old), (change.new_owner, new)) if is_one]
    return f"{' and '.join(owners) or 'neither'} of the two"


def ensure_changes(request: OperationRequest, value: str) -> None:
    """Raise `InvalidInput` if it would change nothing."""
    if value == wanted(request.change):
        raise InvalidInput(
            f"it would not change {title_of(request.change)}",
            field="change",
            value=value,
            limit="another value than the present one",
            next_action="nothing: it is as it should be",
        )


def ensure_cancellable(status: OperationStatus) -> None:
    """Raise `NotAllowed` if it is too late to cancel."""
    if status in ENDED:
        raise NotAllowed(
            f"an operation that is {status} cannot be cancelled",
            field="status",
            value=status,
            limit="before it is executed",
            next_action="propose another operation that changes it back",
        )
