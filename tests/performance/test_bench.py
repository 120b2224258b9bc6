"""The bench in its smallest form: it measures everything, and compares like with like."""

from __future__ import annotations

import os
from typing import Any

import pytest

from tests.performance.figures import Aim, Figure
from tests.performance.running import measured

FIGURES = {
    "wall_time_instant",
    "wall_time_instant_script_tuned",
    "wall_time_instant_pipelined",
    "deals_per_second_stepwise",
    "deals_per_second_pipelined",
    "transactions",
    "blocks",
    "blocks_pipelined",
    "node_requests_instant",
    "node_calls_instant",
    "history_events",
    "history_bytes",
    "memory_of_workers",
}
PER_SECOND = {name for name in FIGURES if name.startswith("deals_per_second")}
COMPARED = FIGURES - PER_SECOND - {"history_events", "history_bytes"}
PROCESSES = {"temporal", "postgres", "redis", "chain-138", "deals", "chain", "signer"}


@pytest.fixture(scope="module")
def results() -> dict[str, Any]:
    options = ("--rounds", "1", "--block-rounds", "0", "--deals", "1")
    # As if somebody worked with another stack, which the bench must leave alone.
    other = os.environ | {"TEMPORAL_ADDRESS": "127.0.0.1:1", "DEAL_LOCAL_DIR": "/nonexistent"}
    document, told = measured("tests.performance.bench", *options, environment=other)
    assert "round 1 of 1" in told
    return document


def test_every_figure_is_there(results: dict[str, Any]) -> None:
    figures = results["figures"]
    assert set(figures) == FIGURES
    assert all(figure["deal"] > 0 for figure in figures.values())
    assert {name for name, figure in figures.items() if figure["ratio"]} == COMPARED
    assert {name for name, figure in figures.items() if figure["aim"]} == {
        "wall_time_instant",
        "wall_time_instant_pipelined",
        *PER_SECOND,
    }


def test_deal_and_script_send_the_same_calls(results: dict[str, Any]) -> None:
    calls = results["calls"]
    assert calls["deal"] == calls["script"]
    assert len(calls["deal"]) == results["figures"]["transactions"]["deal"] == 15
    assert calls["deal"][0] == "account 0x"  # funded
    assert calls["deal"][-1] == "treasury 0x"  # swept


def test_processor_time_and_memory_are_told_by_process(results: dict[str, Any]) -> None:
    assert set(results["processor_seconds"]) == {"stepwise", "pipelined"}
    for spent in results["processor_seconds"].values():
        assert set(spent["by_process"]) >= PROCESSES | {"bench"}
        assert spent["total"] > 0
    assert set(results["memory_bytes"]) >= PROCESSES


def test_an_aim_is_held_against_the_ratio_where_there_is_one() -> None:
    assert Figure("time", "s", deal=3.0, script=2.0, aim=Aim(1.5)).met
    assert not Figure("time", "s", deal=3.1, script=2.0, aim=Aim(1.5)).met
    assert Figure("rate", "1/s", deal=2.0, aim=Aim(2.0, at_most=False)).met
    assert not Figure("rate", "1/s", deal=1.9, aim=Aim(2.0, at_most=False)).met
    assert Figure("size", "B", deal=1.0).met is None
