"""The benchmark of the API in its smallest form: it measures everything."""

from __future__ import annotations

from tests.performance.running import measured


def test_list_show_and_start_are_measured() -> None:
    options = ("--deals", "2000", "--at-once", "5", "--reads", "20", "--starts", "5")
    results, told = measured("tests.performance.api", *options)
    assert "5 times start" in told
    assert results["settings"]["deals"] == 2_000
    assert set(results["requests"]) == {"list", "show", "start"}
    for name, figures in results["requests"].items():
        assert figures["requests"] == (5 if name == "start" else 20)
        assert figures["refused"] == 0
        assert 0 < figures["p50_ms"] <= figures["p99_ms"]
        assert figures["per_second"] > 0
        assert figures["api_processor_ms"] > 0
