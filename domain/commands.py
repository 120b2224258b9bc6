"""A command as it is written down before anything follows from it: who asks for what, and why."""

import hashlib
import json
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field

from domain.errors import Conflict, Problem
from domain.identifiers import BankId, DealId
from domain.identity import PrincipalId, Via
from domain.launches import CommandId


class CommandKind(StrEnum):
    """What is asked for. The names are kept for ever, in the records and in the audit trail."""

    START = "deal.start"
    DRY_RUN = "deal.dry_run"
    PAUSE = "deal.pause"
    RESUME = "deal.resume"
    CANCEL = "deal.cancel"
    RETRY = "deal.retry"
    UNWIND = "deal.unwind"
    EXPIRE = "deal.expire"
    ADOPT = "deal.adopt"
    APPROVE = "deal.approve"
    REJECT = "deal.reject"
    OWNER_SIGN = "deal.owner_sign"
    OWNER_REJECT = "deal.owner_reject"
    TRANSACT = "deal.transact"
    RELEASE_CHAIN = "chain.release"
    RETIRE_KEY = "keys.retire"
    REINSTATE_KEY = "keys.reinstate"
    ROTATE_KEYS = "keys.rotate"
    SCHEDULE_OPERATION = "operation.schedule"
    CANCEL_OPERATION = "operation.cancel"
    APPLY_SCHEDULES = "schedules.apply"


class CommandState(StrEnum):
    """What has become of a command."""

    RECORDED = "RECORDED"
    """Written, and handed over or about to be; if nothing was heard, asking again is safe."""
    QUEUED = "QUEUED"
    """Waits for Temporal to return, and is then delivered once."""
    APPLIED = "APPLIED"
    REFUSED = "REFUSED"


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True)


class NewCommand(_Model):
    """What a caller asks for. The same id is the same command for ever."""

    command_id: CommandId
    kind: CommandKind
    subject: Annotated[str, Field(min_length=1)]
    """What it is about: of deals the deal's id."""
    deal_id: DealId | None = None
    bank: BankId | None = None
    body: dict[str, Any]
    """What the workflow is told, as JSON."""
    request_digest: str | None = None
    """Of a start: `DealRequest.digest`."""
    why: Annotated[str, Field(min_length=1, max_length=500)]

    def digest(self) -> str:
        """SHA-256 (hexadecimal) over what is asked for, whoever asks."""
        told = {"kind": self.kind, "subject": self.subject, "body": self.body, "why": self.why}
        text = json.dumps(told, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


class RecordedCommand(_Model):
    """A command as it was written down, and what became of it."""

    command_id: CommandId
    kind: CommandKind
    subject: str
    deal_id: DealId | None
    bank: BankId | None
    body: dict[str, Any]
    body_digest: str
    request_digest: str | None
    principal_id: PrincipalId
    via: Via
    address: str | None
    why: str
    state: CommandState
    problem: Problem | None
    answer: dict[str, Any] | None
    """What was answered to the first one who asked."""
    created_at: datetime
    decided_at: datetime | None

    def ensure_same(self, again: NewCommand, who: PrincipalId) -> None:
        """Raise `Conflict` unless the same person asks for the same thing again.

        It is not told what the first one was: it may be about another bank's deal.
        """
        if self.principal_id == who and self.body_digest == again.digest():
            return
        raise Conflict(
            f"the command id {self.command_id} was used for another command",
            field="command_id",
            value=self.command_id,
            limit="one command an id, for ever",
            next_action="choose a new command id; the first command stands",
        )


TRANSITIONS: Final = frozenset(
    {
        (CommandState.RECORDED, CommandState.QUEUED),
        (CommandState.RECORDED, CommandState.APPLIED),
        (CommandState.RECORDED, CommandState.REFUSED),
        (CommandState.QUEUED, CommandState.APPLIED),
        (CommandState.QUEUED, CommandState.REFUSED),
        # Only one that was refused because somebody did not answer: nothing can have happened.
        (CommandState.REFUSED, CommandState.RECORDED),
    }
)
"""What may become of a command; the database holds the same, and a test compares the two."""
