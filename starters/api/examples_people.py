"""What people, keys, groups and delegations look like, for the API's document."""

from typing import Any, Final

_AT: Final = "2026-11-28T12:00:00Z"
_LATER: Final = "2026-12-12T12:00:00Z"

PERSON: Final[dict[str, Any]] = {
    "principal_id": "ann",
    "kind": "human",
    "name": "Ann",
    "subject": "00u1ab",
    "roles": ["trader"],
    "banks": ["bank-one"],
    "max_deal_usd8": "200000000000000",
    "groups": [],
    "stands_in": [],
    "disabled_at": None,
    "version": 3,
    "created_at": _AT,
    "updated_at": _AT,
}
API_KEY: Final[dict[str, Any]] = {
    "key_id": "k23456789012",
    "principal_id": "settlement-bot",
    "label": "daily report",
    "scopes": ["deals.read"],
    "created_at": _AT,
    "expires_at": _LATER,
    "revoked_at": None,
    "last_used_at": None,
    "expired": False,
}
CREATE_USER: Final[dict[str, Any]] = {
    "principal_id": "ann",
    "kind": "human",
    "name": "Ann",
    "subject": "00u1ab",
    "roles": ["trader"],
    "banks": ["bank-one"],
    "max_deal_usd8": "200000000000000",
    "reason": "joined the desk",
}
SET_USER: Final[dict[str, Any]] = {
    "roles": ["senior_trader"],
    "max_deal_usd8": "2000000000000000",
    "reason": "promoted",
}
CREATE_KEY: Final[dict[str, Any]] = {
    "days": 90,
    "scopes": ["deals.read"],
    "label": "daily report",
    "reason": "daily report",
}
MADE_KEY: Final[dict[str, Any]] = {
    "api_key": API_KEY,
    "key": "dk_k23456789012_this-is-shown-once-and-kept-by-its-owner-only",
    "note": "this is the only time that the key is shown",
}
GROUP: Final[dict[str, Any]] = {
    "group_id": "deputies",
    "name": "While they are away",
    "created_at": _AT,
    "members": ["vera"],
}
DELEGATION: Final[dict[str, Any]] = {
    "delegation_id": "5f0c1a52-6a67-4b0e-8b53-0c1f5d0d5f6e",
    "approver": "approver-1",
    "group_id": "deputies",
    "starts_at": _AT,
    "ends_at": _LATER,
    "ended_at": None,
    "why": "holidays",
    "created_at": _AT,
}
