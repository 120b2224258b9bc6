"""Deals as JSON documents."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from domain.deals import commands_for
from domain.views import DealView
from starters.deals.comparing import comparison_document


def deal_document(
    view: DealView, *, from_workflow: bool = True, web_ui: str | None = None
) -> dict[str, Any]:
    """The view, who answered, and where to look further.

    `source` is ``workflow`` or ``records``; `age_seconds` says how long ago the records changed.
    `commands` are those that the deal would take now. What is frozen is valued as of now.
    """
    document = view.model_dump(mode="json")
    document["comparison"] = view.comparison and comparison_document(view.comparison)
    document["source"] = "workflow" if from_workflow else "records"
    if not from_workflow:
        document["age_seconds"] = round((datetime.now(UTC) - view.updated_at).total_seconds())
    if view.frozen is not None:
        now = datetime.now(UTC)
        document["frozen"] |= {
            "age_seconds": round(view.frozen.age(now).total_seconds()),
            "haircut_bps": view.frozen.haircut_bps(now),
            "value_usd8": str(view.frozen.value_usd8(now)),
        }
    document["commands"] = [str(command) for command in commands_for(view.status)]
    document["web_ui"] = web_ui
    return document


def standing(changes: Iterable[datetime]) -> dict[str, Any]:
    """How old records are that are listed: when the newest of them changed, and how long ago.

    While Temporal or a node is away they are the last that is known. An empty list has neither.
    """
    newest = max(changes, default=None)
    return {
        "as_of": newest and newest.isoformat(),
        "age_seconds": newest and round((datetime.now(UTC) - newest).total_seconds()),
    }


def standing_text(changes: Iterable[datetime]) -> str:
    """The same in words, to go on with after what is listed; nothing of an empty list."""
    age = standing(changes)["age_seconds"]
    return "" if age is None else f", as of {age} s ago"
