"""What the signer's keys and schedules look like, for the API's document. No key is in here."""

from typing import Any, Final

from starters.api.examples import ACCOUNT

_AT: Final = "2026-11-28T12:00:00Z"

KEY: Final[dict[str, Any]] = {
    "purpose": "deal",
    "deal_id": "alpha",
    "address": ACCOUNT,
    "label": "deal-1-0",
    "generation": 1,
    "provider": "vault",
    "created_at": _AT,
    "retired_at": None,
    "retired_by": None,
    "retired_why": None,
}
KEYS: Final[dict[str, Any]] = {
    "provider": "vault",
    "generation": 1,
    "keys": [KEY],
    "next_cursor": None,
}
RETIRED: Final[dict[str, Any]] = KEY | {
    "retired_at": _AT,
    "retired_by": "admin-1",
    "retired_why": "swept by hand",
}
JOURNAL: Final[dict[str, Any]] = {
    "rows": 1204,
    "head": "ab" * 32,
    "broken": None,
    "head_found": None,
    "intact": True,
}
ROTATED: Final[dict[str, Any]] = {
    "rotated": [{"rotation": "seed", "provider": "vault", "generation": 2, "note": None}]
}
SCHEDULES: Final[dict[str, Any]] = {
    "schedules": [{"schedule": "rotate-keys", "every_days": 90, "created": False}]
}
