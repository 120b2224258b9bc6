"""Messages to a running deal."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from activities.transactions.interface import Action


class CommandMessage(BaseModel):
    """Who asks for a change and why; both are kept in the history."""

    model_config = ConfigDict(frozen=True, str_strip_whitespace=True)

    who: Annotated[str, Field(min_length=1, max_length=200)]
    why: Annotated[str, Field(min_length=1, max_length=500)]


class TransactionMessage(CommandMessage):
    """What somebody wants done to a transaction of the deal that is out."""

    intent_id: Annotated[str, Field(min_length=1, max_length=200)]
    action: Action
