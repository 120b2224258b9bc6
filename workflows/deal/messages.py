"""Messages to a running deal."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from activities.transactions.interface import Action
from domain.amounts import BASIS_POINTS
from domain.deals import DealRequest
from domain.identifiers import Address
from domain.identity import Via
from domain.safe import Signature


class CommandMessage(BaseModel):
    """Who asks for a change and why; both are kept in the history."""

    model_config = ConfigDict(frozen=True, str_strip_whitespace=True)

    who: Annotated[str, Field(min_length=1, max_length=200)]
    why: Annotated[str, Field(min_length=1, max_length=500)]
    via: Via = Via.TEMPORAL
    """How he came in. The command's id is the update's."""


class UnwindMessage(CommandMessage):
    """How much of a deal is to be unwound, in basis points; all of it by default."""

    part_bps: Annotated[int, Field(ge=1, lt=BASIS_POINTS)] | None = None


class AdoptMessage(CommandMessage):
    """Who takes a deal over, and who answers for what may be left of it: himself by default."""

    answers: Annotated[str, Field(min_length=1, max_length=200)] | None = None


class ApprovalMessage(CommandMessage):
    """What an approver of the desk has looked at; what counts is the command that was recorded."""

    binding_digest: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class TakeOver(BaseModel):
    """Whose deal has lost its workflow, and who has it taken over."""

    model_config = ConfigDict(frozen=True)

    request: DealRequest
    message: CommandMessage


class TransactionMessage(CommandMessage):
    """What somebody wants done to a transaction of the deal that is out."""

    intent_id: Annotated[str, Field(min_length=1, max_length=200)]
    action: Action


class OwnerMessage(BaseModel):
    """What an owner of the Safe has signed, and for which proposal."""

    model_config = ConfigDict(frozen=True, str_strip_whitespace=True)

    owner: Address
    signature: Signature
    transaction_hash: Annotated[str, Field(pattern=r"^0x[0-9a-f]{64}$")]
    who: Annotated[str, Field(min_length=1, max_length=200)]


class RejectionMessage(OwnerMessage):
    """The same for an owner who does not want it."""

    why: Annotated[str, Field(min_length=1, max_length=500)]
