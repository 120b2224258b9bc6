"""What a deal's workflow is told of who began it: the command, and by whom it says it is.

The workflow does not believe it. Admission looks the command up where it was written by whoever
authenticated the caller, and takes the initiator from there.
"""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from domain.identity import PrincipalId, Via

CommandId = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[!-~]+$")]
"""Names one command for ever: chosen by the caller, printable and without blanks."""


class Launch(BaseModel):
    """The second argument of a deal's workflow; the first is the request."""

    model_config = ConfigDict(frozen=True)

    command_id: CommandId
    initiator: PrincipalId
    via: Via
