"""OpenZeppelin's TimelockController, what it owns, and how each change is made through it."""

from typing import Final

from activities.protocols import safe
from activities.protocols.abi import Function, address_of, event_topic
from activities.protocols.multicall import Read
from domain.chains import ChainProfile
from domain.hashing import keccak
from domain.identifiers import Address, ModuleId
from domain.operations import (
    NO_PREDECESSOR,
    Change,
    DestinationChange,
    RedemptionCapChange,
    RedemptionFeeChange,
    SafeOwnerChange,
    Scheduled,
    TreasuryChange,
    allowance,
    ownership,
)

SCHEDULE: Final = Function("schedule(address,uint256,bytes,bytes32,bytes32,uint256)")
EXECUTE: Final = Function("execute(address,uint256,bytes,bytes32,bytes32)")
CANCEL: Final = Function("cancel(bytes32)")
MIN_DELAY: Final = Function("getMinDelay()", ("uint256",))
STATE: Final = Function("getOperationState(bytes32)", ("uint8",))
TIMESTAMP: Final = Function("getTimestamp(bytes32)", ("uint256",))
HAS_ROLE: Final = Function("hasRole(bytes32,address)", ("bool",))
ROLE_GRANTED_TOPIC: Final = event_topic("RoleGranted(bytes32,address,address)")
"""Topics 1 and 2 are the role and the account."""
OWNER: Final = Function("owner()", ("address",))

TREASURY: Final = Function("treasury()", ("address",))
ALLOWED: Final = Function("allowed(address)", ("bool",))
SET_TREASURY: Final = Function("setTreasury(address)")
SET_DESTINATION: Final = Function("setDestination(address,bool)")
SWAP_OWNER: Final = Function("swapOwner(address,address,address)")
SET_FEE: Final = Function("setFeeBps(uint256)")
SET_CAP: Final = Function("setDailyCap(uint256)")
FEE: Final = Function("feeBps()", ("uint256",))
CAP: Final = Function("dailyCap()", ("uint256",))

PROPOSER, EXECUTOR, CANCELLER = "PROPOSER_ROLE", "EXECUTOR_ROLE", "CANCELLER_ROLE"
ROLES: Final = {name: keccak(name.encode()) for name in (PROPOSER, EXECUTOR, CANCELLER)}
"""What the fee account has to have."""

_IDENTITY: Final = Function("f(address,uint256,bytes,bytes32,bytes32)")
"""Only for its argument types: what the timelock hashes."""


def scheduled(
    profile: ChainProfile, module: ModuleId, change: Change, salt: str, delay_seconds: int
) -> Scheduled:
    """The call that makes a change."""
    target, data = call_of(profile, module, change)
    return Scheduled(
        timelock=profile.contract(profile.timelock.contract),
        target=target,
        data=data,
        salt=salt,
        delay_seconds=delay_seconds,
        timelock_id=identity(target, data, salt),
    )


def identity(target: Address, data: str, salt: str) -> str:
    """OpenZeppelin's id of an operation: keccak-256 of its ABI encoding."""
    encoded = _IDENTITY.encode(*_body(target, data, salt))
    return "0x" + keccak(bytes.fromhex(encoded[2:])[4:]).hex()


def schedule_call(call: Scheduled) -> str:
    """Calldata that schedules it."""
    return SCHEDULE.encode(*_body(call.target, call.data, call.salt), call.delay_seconds)


def execute_call(call: Scheduled) -> str:
    """Calldata that executes it."""
    return EXECUTE.encode(*_body(call.target, call.data, call.salt))


def cancel_call(call: Scheduled) -> str:
    """Calldata that cancels it."""
    return CANCEL.encode(bytes.fromhex(call.timelock_id[2:]))


def call_of(profile: ChainProfile, module: ModuleId, change: Change) -> tuple[Address, str]:
    """Which contract of ours makes a change, and with which calldata."""
    registry = profile.contract(profile.timelock.registry)
    redemption = profile.contract(profile.module(module).redemption)
    match change:
        case TreasuryChange():
            return registry, SET_TREASURY.encode(change.treasury)
        case DestinationChange():
            return registry, SET_DESTINATION.encode(change.destination, change.allowed)
        case SafeOwnerChange():
            safe_address = profile.contract(profile.multisig.safe)
            data = SWAP_OWNER.encode(safe_address, change.old_owner, change.new_owner)
            return profile.contract(profile.timelock.governor), data
        case RedemptionFeeChange():
            return redemption, SET_FEE.encode(change.fee_bps)
        case RedemptionCapChange():
            return redemption, SET_CAP.encode(change.daily_cap)


def value_read(profile: ChainProfile, module: ModuleId, change: Change) -> Read:
    """The read whose result `value_of` says in words."""
    registry = profile.contract(profile.timelock.registry)
    redemption = profile.contract(profile.module(module).redemption)
    match change:
        case TreasuryChange():
            return Read(registry, TREASURY)
        case DestinationChange():
            return Read(registry, ALLOWED, (change.destination,))
        case SafeOwnerChange():
            return Read(profile.contract(profile.multisig.safe), safe.OWNERS)
        case RedemptionFeeChange():
            return Read(redemption, FEE)
        case RedemptionCapChange():
            return Read(redemption, CAP)


def value_of(change: Change, result: tuple[object, ...]) -> str:
    """What is to be changed, as it is now, in words."""
    (value,) = result
    match change:
        case TreasuryChange():
            return str(address_of(str(value)))
        case DestinationChange():
            return allowance(allowed=bool(value))
        case SafeOwnerChange():
            owners = {str(owner).lower() for owner in value}  # type: ignore[attr-defined]
            return ownership(
                change,
                old=change.old_owner.lower() in owners,
                new=change.new_owner.lower() in owners,
            )
        case RedemptionFeeChange():
            return f"{value} basis points"
        case RedemptionCapChange():
            return f"{value} units a day"


def _body(target: Address, data: str, salt: str) -> tuple[object, ...]:
    raw = bytes.fromhex
    return (target, 0, raw(data[2:]), raw(NO_PREDECESSOR[2:]), raw(salt[2:]))
