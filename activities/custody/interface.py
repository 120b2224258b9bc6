"""The life of keys as workflows see it (task queue ``signer``). No key is ever in here."""

from abc import ABC, abstractmethod
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field
from temporalio import activity

from domain.identifiers import Address, DealId

Words = Annotated[str, Field(min_length=1, max_length=500)]

LARGEST_PAGE: Final = 500


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True)


class Rotation(StrEnum):
    """What can be rotated."""

    SEED = "seed"
    WRAPPING = "wrapping"


class RetireAccount(_Model):
    """Let nothing be signed for a deal any more, or again; `request_id` makes it idempotent."""

    deal_id: DealId
    who: Words
    why: Words
    request_id: Words


class KeyView(_Model):
    """A key as the signer's records have it; `retired_at` is None while it is in use."""

    purpose: str
    deal_id: DealId | None
    address: Address
    label: str
    generation: int
    provider: str
    created_at: datetime
    retired_at: datetime | None = None
    retired_by: str | None = None
    retired_why: str | None = None


class ListKeys(_Model):
    """Which keys to list: of one deal, or all, newest first, from before the key index `before`."""

    deal_id: DealId | None = None
    retired: bool | None = None
    limit: Annotated[int, Field(ge=1, le=LARGEST_PAGE)] = 50
    before: int | None = None


class KeyList(_Model):
    """A page of keys; the desk's own come with the first. `generation` is the newest seed's."""

    provider: str
    generation: int
    keys: tuple[KeyView, ...]
    next_before: int | None = None


class RotateKeys(_Model):
    """Rotate, unless that was done since `after` was the newest generation."""

    rotation: Rotation
    after: int
    who: Words
    why: Words
    request_id: Words


class KeysRotated(_Model):
    """What was rotated, or why there was nothing to; `generation` is the newest seed's."""

    rotation: Rotation
    provider: str
    generation: int
    note: str | None = None


class VerifyJournal(_Model):
    """Recompute the journal; `head` is a hash that was noted earlier and has to be in it still."""

    head: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None


class JournalVerified(_Model):
    """What recomputing the journal found.

    `head` is the hash of the last row that is right, `broken` the number of the first that is not.
    `head_found` tells whether the hash that was noted is in the journal.
    """

    rows: int
    head: str
    broken: int | None = None
    head_found: bool | None = None

    @property
    def intact(self) -> bool:
        """Whether nothing was changed, and nothing that was noted is missing."""
        return self.broken is None and self.head_found is not False


class CustodyActivities(ABC):
    """Idempotent by the request's id."""

    @abstractmethod
    @activity.defn
    async def retire_account(self, order: RetireAccount) -> KeyView:
        """Have nothing signed for the deal any more. Raises `NotFound` for a deal without a key."""

    @abstractmethod
    @activity.defn
    async def reinstate_account(self, order: RetireAccount) -> KeyView:
        """Let a retired key sign again."""

    @abstractmethod
    @activity.defn
    async def list_keys(self, order: ListKeys) -> KeyList:
        """List keys from the signer's records."""

    @abstractmethod
    @activity.defn
    async def rotate_keys(self, order: RotateKeys) -> KeysRotated:
        """Rotate the seed or the wrapping key. Raises `NotAllowed` where there is none."""

    @abstractmethod
    @activity.defn
    async def verify_journal(self, order: VerifyJournal) -> JournalVerified:
        """Recompute the journal's hash chain."""
