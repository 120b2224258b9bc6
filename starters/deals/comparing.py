"""Predicted against realised, for programs."""

from typing import Any

from domain.predictions import Comparison


def comparison_document(comparison: Comparison) -> list[dict[str, Any]]:
    """Figure by figure; amounts that JavaScript would round are text."""
    return [
        {
            "name": each.name,
            "predicted": str(each.predicted),
            "realised": str(each.realised),
            "difference": str(each.difference),
            "ratio": None if each.ratio is None else str(each.ratio),
        }
        for each in comparison.differences
    ]
