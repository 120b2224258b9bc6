"""People as they count now, from rows of the view ``control.standing``."""

from collections.abc import Mapping
from typing import Any

from domain.identity import Principal


def principal_from(row: Mapping[str, Any]) -> Principal:
    """Whoever starts a deal, as its admission sees him; `person_kind` is his kind."""
    return Principal(
        principal_id=row["principal_id"],
        kind=row["person_kind"],
        roles=frozenset(row["roles"]),
        banks=frozenset(row["banks"]),
        max_deal_usd8=int(row["max_deal_usd8"]),
        groups=frozenset(row["groups"]),
    )
