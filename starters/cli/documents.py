"""Deals as JSON documents."""

from datetime import UTC, datetime
from typing import Any

from domain.views import DealView


def deal_document(
    view: DealView, *, from_workflow: bool = True, web_ui: str | None = None
) -> dict[str, Any]:
    """The view, who answered, and where to look further.

    `source` is ``workflow`` or ``records``; `age_seconds` says how long ago the records changed.
    """
    document = view.model_dump(mode="json")
    document["source"] = "workflow" if from_workflow else "records"
    if not from_workflow:
        document["age_seconds"] = round((datetime.now(UTC) - view.updated_at).total_seconds())
    document["web_ui"] = web_ui
    return document
