"""Why something changed: who asked for it, or that the system did it by itself."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class Cause(BaseModel):
    """What a message says of whoever sent it.

    The database believes `who` only if the command of this id was written down for the same deal
    when its sender proved who he is; then it takes him, and from where he came, from there.
    """

    model_config = ConfigDict(frozen=True)

    who: Annotated[str, Field(min_length=1)]
    kind: Literal["claimed"] = "claimed"
    via: Literal["temporal"] = "temporal"
    why: Annotated[str, Field(min_length=1)]
    command_id: str | None = None
    """Of the message; the database has the rest under it."""
