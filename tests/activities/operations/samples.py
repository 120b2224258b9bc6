"""Operations as their workflow would tell of them."""

from datetime import UTC, datetime, timedelta
from typing import Any

from activities.protocols.timelock import SET_FEE, identity
from domain.identifiers import Address
from domain.operations import (
    OperationRequest,
    OperationStatus,
    OperationView,
    Scheduled,
    salt_of,
    title_of,
    wanted,
)

BEGAN = datetime(2026, 11, 22, 12, 0, 0, 123456, tzinfo=UTC)
TIMELOCK = Address("0x1fA02b2d6A771842690194Cf62D91bdd92BfE28d")
REDEMPTION = Address("0xdbC43Ba45381e02825b14322cDdd15eC4B3164E6")


def request(operation_id: str = "cheaper", **changes: Any) -> OperationRequest:
    """Redemption on chain 138 is to cost 4 basis points."""
    fields: dict[str, Any] = {
        "operation_id": operation_id,
        "chain_id": 138,
        "module": "usdtz",
        "change": {"kind": "redemption_fee", "fee_bps": 4},
        "who": "mia",
        "why": "agreed",
    }
    return OperationRequest.model_validate(fields | changes)


_SALT = salt_of(request().batch_owner)
CALL = Scheduled(
    timelock=TIMELOCK,
    target=REDEMPTION,
    data=SET_FEE.encode(4),
    salt=_SALT,
    delay_seconds=3_600,
    timelock_id=identity(REDEMPTION, SET_FEE.encode(4), _SALT),
)


def view(**changes: Any) -> OperationView:
    """One that has just been proposed, with `changes`."""
    proposed = changes.get("request", request())
    fields: dict[str, Any] = {
        "request": proposed,
        "title": title_of(proposed.change),
        "after": wanted(proposed.change),
        "created_at": BEGAN,
        "updated_at": BEGAN,
    }
    return OperationView.model_validate(fields | changes)


def waiting(**changes: Any) -> OperationView:
    """One that waits for the timelock's delay."""
    fields: dict[str, Any] = {
        "status": OperationStatus.WAITING,
        "version": 3,
        "doing": "waiting for the delay",
        "before": "5 basis points",
        "scheduled": CALL,
        "ready_at": BEGAN + timedelta(hours=1),
        "transactions": ("0x" + "ab" * 32,),
    }
    return view(**fields | changes)
