"""Pages of lists: how long one may be, and the word that says where the next one begins."""

import base64
import binascii
import json
from datetime import UTC, datetime
from typing import Any, Final

from domain.errors import InvalidInput

MAX_LIMIT: Final = 500
DEFAULT_LIMIT: Final = 50


def check_limit(limit: int, what: str) -> None:
    """Raise `InvalidInput` for a page that is empty or too large; `what` is listed."""
    if not 1 <= limit <= MAX_LIMIT:
        raise InvalidInput(
            "limit is out of range",
            field="limit",
            value=limit,
            limit=f"1 to {MAX_LIMIT}",
            next_action=f"ask for fewer {what} and follow next_cursor",
        )


def cursor_text(moment: datetime, *key: str | int) -> str:
    """One opaque word for the last row of a page: its time, and what orders rows of one time."""
    text = json.dumps([moment.isoformat(), *key])
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def cursor_parts(text: str, *kinds: type) -> tuple[datetime, list[Any]]:
    """Read a cursor back; raise `InvalidInput` unless it holds a time and values of these kinds."""
    try:
        padded = text + "=" * (-len(text) % 4)
        moment, *key = json.loads(base64.urlsafe_b64decode(padded))
        if [type(part) for part in key] != list(kinds):
            raise ValueError  # noqa: TRY301 - told below like every other
        when = datetime.fromisoformat(moment)
    except (binascii.Error, ValueError, TypeError):
        raise invalid_cursor(text) from None
    return (when if when.tzinfo else when.replace(tzinfo=UTC)), key


def invalid_cursor(text: str) -> InvalidInput:
    """Say that a cursor is not one of ours."""
    return InvalidInput(
        "the cursor is not one that a list has given out",
        field="cursor",
        value=text,
        limit="next_cursor of the page before",
        next_action="list again without a cursor",
    )
