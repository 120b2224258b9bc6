"""The codec's keys as workflows see them (task queue ``deals``): by id, never the keys."""

from abc import ABC, abstractmethod

from pydantic import BaseModel, ConfigDict
from temporalio import activity


class RotateCodec(BaseModel):
    """Add a key under this id; asked for again, it is there already."""

    model_config = ConfigDict(frozen=True)

    key_id: str


class CodecRotated(BaseModel):
    """The key that encrypts from now on; `added` if it was not there before.

    Without a key id, payloads are not encrypted here.
    """

    model_config = ConfigDict(frozen=True)

    key_id: str | None
    added: bool


class CodecActivities(ABC):
    """Idempotent by the key's id."""

    @abstractmethod
    @activity.defn
    async def rotate_codec(self, order: RotateCodec) -> CodecRotated:
        """Add a codec key. Raises `Unavailable` and `InvalidConfiguration`."""
