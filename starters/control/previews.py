"""Previews that are said yes to from afar: kept for a while, acted on is exactly what was shown."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import uuid4

from psycopg.rows import dict_row

from domain.deals import Command
from domain.errors import NotFound, Outdated
from domain.identity import Caller, Permission
from starters.control.batches import (
    Batch,
    Batches,
    BatchId,
    BatchList,
    BatchPreview,
    another_list,
)
from starters.control.database import ControlDatabase

PREVIEW_LASTS: Final = timedelta(minutes=15)
"""How long somebody may say yes to what he was shown."""
_SHOW: Final = """
INSERT INTO control.previews
    (preview_id, command, filter, deals, digest, principal_id, created_at, expires_at)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s)
"""
_SHOWN: Final = """
SELECT command, filter, deals, digest, principal_id, expires_at, expires_at <= %s AS expired
FROM control.previews WHERE preview_id = %s
"""
_FORGET: Final = "DELETE FROM control.previews WHERE expires_at < %s"


@dataclass(frozen=True)
class KeptPreview:
    """A preview that may be said yes to by its id, until it expires."""

    preview_id: str
    preview: BatchPreview
    expires_at: datetime


class Previews:
    """Previews for callers, each for the one who asked for it."""

    def __init__(self, batches: Batches, control: ControlDatabase) -> None:
        """Make batches there, and keep previews in the control database."""
        self._batches = batches
        self._control = control

    async def show(self, caller: Caller, command: Command, where: str) -> KeptPreview:
        """Preview, and keep the list, so that it can be said yes to from afar. Raises likewise."""
        preview, now = await self._batches.preview(caller, command, where), datetime.now(UTC)
        kept = KeptPreview(f"preview-{uuid4().hex}", preview, now + PREVIEW_LASTS)
        chosen = preview.chosen
        listed = (command, where, list(chosen.deals), chosen.digest)
        row = (kept.preview_id, *listed, caller.who, now, kept.expires_at)
        async with self._control.lend() as connection:
            await connection.execute(_FORGET, (now - PREVIEW_LASTS,))
            await connection.execute(_SHOW, row)
        return kept

    async def begin_shown(  # noqa: PLR0913, PLR0917 - what is said yes to, by whom and why
        self,
        caller: Caller,
        batch_id: BatchId,
        command: Command,
        preview_id: str,
        digest: str,
        why: str,
    ) -> Batch:
        """Write down the batch of exactly the list that was shown; the same one again is the first.

        Raises `Forbidden`, `NotFound` (no such preview of the caller's for this command),
        `Outdated` (it has expired), `InvalidInput` (the digest is another list's), `Conflict` (the
        id is another batch's) and `Unavailable`.
        """
        caller.require(Permission(f"deals.{command}"))
        begun = await self._begun(caller, batch_id)
        if begun is not None and (begun.command, begun.digest) == (command, digest):
            return begun
        async with (
            self._control.lend() as connection,
            connection.cursor(row_factory=dict_row) as rows,
        ):
            await rows.execute(_SHOWN, (datetime.now(UTC), preview_id))
            row = await rows.fetchone()
        if row is None or (row["principal_id"], row["command"]) != (caller.who, command):
            raise _never_shown(preview_id)
        if row["expired"]:
            raise _expired(preview_id, row["expires_at"])
        chosen = BatchList(command, row["filter"], tuple(row["deals"]), row["digest"])
        if digest != chosen.digest:
            raise another_list(digest)
        return await self._batches.begin(caller, batch_id, chosen, why)

    async def _begun(self, caller: Caller, batch_id: BatchId) -> Batch | None:
        try:
            return await self._batches.find(caller, batch_id)
        except NotFound:
            return None


def _never_shown(preview_id: str) -> NotFound:
    return NotFound(
        f"you were shown no preview {preview_id} of this command",
        field="preview_id",
        value=preview_id,
        next_action="look at a new preview, and say yes to that",
    )


def _expired(preview_id: str, expires_at: datetime) -> Outdated:
    return Outdated(
        "the preview has expired: the deals may stand elsewhere by now",
        field="preview_id",
        value=preview_id,
        limit=f"{expires_at:%Y-%m-%d %H:%M:%S} UTC",
        next_action="look at a new preview, and say yes to that",
    )
