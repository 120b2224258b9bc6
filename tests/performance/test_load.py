"""The load benchmark in its smallest form: it measures everything, and the chain has it once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.performance.figures import Aim, Figure
from tests.performance.load_watch import Sendings
from tests.performance.running import measured

INTENTS = 12
OF_EACH = {
    "accepted_to_broadcast_p50",
    "accepted_to_broadcast_p99",
    "ordered_to_broadcast_p50",
    "included_per_second",
    "included_per_second_to_plain",
    "all_known",
    "in_flight",
    "node_requests_each",
    "node_calls_each",
    "processor_time_each",
    "memory",
    "executed_once",
}


@pytest.fixture(scope="module")
def results() -> dict[str, Any]:
    options = ("--intents", str(INTENTS), "--accounts", "1", "3", "--batch", "4", "--batches", "4")
    return measured("tests.performance.load", *options)[0]


def test_every_figure_is_there(results: dict[str, Any]) -> None:
    figures = results["figures"]
    assert set(figures) == {f"load_{n}_{name}" for n in (1, 3, "batches") for name in OF_EACH}
    assert all(figure["deal"] > 0 for figure in figures.values())


def test_every_intent_is_executed_once_on_both_sides(results: dict[str, Any]) -> None:
    for accounts in (1, 3):
        once = results["figures"][f"load_{accounts}_executed_once"]
        assert once["deal"] == once["script"] == INTENTS
        assert once["met"]


def test_the_seconds_are_in_their_order(results: dict[str, Any]) -> None:
    for accounts in (1, 3):
        waited, p99, since_order, known = (
            results["figures"][f"load_{accounts}_{name}"]["deal"]
            for name in (
                "accepted_to_broadcast_p50",
                "accepted_to_broadcast_p99",
                "ordered_to_broadcast_p50",
                "all_known",
            )
        )
        assert waited <= p99 < known
        assert waited < since_order < known


def test_an_absolute_aim_is_not_held_against_the_ratio() -> None:
    absolute = Aim(3.0, of_ratio=False)
    assert not Figure("requests", "", deal=4.0, script=2.0, aim=absolute).met
    assert Figure("requests", "", deal=3.0, script=0.5, aim=absolute).met


def test_the_first_sending_counts_and_half_a_line_is_left_for_later(tmp_path: Path) -> None:
    file = tmp_path / "sent"
    sendings = Sendings(file)
    sendings.look()
    file.write_text("1.5 a\n2.5 a\n3.5 b")
    sendings.look()
    assert sendings.first == {"a": 1.5}
    with file.open("a") as more:
        more.write("c\n4.5 a\n")
    sendings.look()
    assert sendings.first == {"a": 1.5, "bc": 3.5}
