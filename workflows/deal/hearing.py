"""Which message made which change: what the audit trail says beside a version of the deal."""

from collections.abc import Mapping
from typing import Final

from temporalio import workflow

from domain.causes import Cause
from domain.deals import DealStatus
from workflows.deal.messages import CommandMessage, OwnerMessage, RejectionMessage

_LEAVING: Final = frozenset({DealStatus.UNWINDING, DealStatus.REJECTED})
_MAKES: Final[Mapping[str, frozenset[DealStatus]]] = {
    "pause": frozenset({DealStatus.PAUSED}),
    "resume": frozenset({DealStatus.EXECUTING, DealStatus.UNWINDING}),
    "cancel": _LEAVING,
    "unwind": _LEAVING,
    "retry_step": frozenset({DealStatus.UNWINDING, DealStatus.EXECUTING}),
    "force_expire": frozenset({DealStatus.EXPIRED, DealStatus.UNWINDING}),
    "adopt": frozenset({DealStatus.UNWOUND}),
    "reject": frozenset({DealStatus.REJECTED}),
    "submit_owner_signature": frozenset({DealStatus.AWAITING_APPROVAL, DealStatus.EXECUTING}),
}
"""The statuses that the deal may get by each update; any other change is its own doing."""


class Hearing:
    """The messages that have not shown in the deal's status yet."""

    def __init__(self) -> None:
        """Nothing was heard yet."""
        self._said: dict[str, Cause] = {}

    def take(self, message: CommandMessage | OwnerMessage) -> None:
        """Take in a message; called in the update's handler, or where the workflow is cancelled."""
        update = workflow.current_update_info()
        name = "cancel" if update is None else update.name
        self._said.pop(name, None)
        if name == "resume" and self._said.pop("pause", None) is not None:
            return  # it was taken back before it took effect, and nothing is changed
        self._said[name] = Cause(
            who=message.who, why=_why(message), command_id=update and update.id
        )

    def cause_of(self, status: DealStatus) -> Cause | None:
        """The newest message that has the deal come to this status; it is told once."""
        names = [name for name in self._said if status in _MAKES.get(name, ())]
        return self._said.pop(names[-1]) if names else None


def _why(message: CommandMessage | OwnerMessage) -> str:
    if isinstance(message, CommandMessage | RejectionMessage):
        return message.why
    return f"{message.owner} signs for the Safe"
