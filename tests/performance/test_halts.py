"""The benchmark of halts in its smallest form: nothing that adds risk goes out, and exits do."""

from __future__ import annotations

from tests.performance.running import measured


def test_after_a_halt_nothing_that_adds_risk_goes_out() -> None:
    options = ("--deals", "4", "--halts", "4", "--seconds", "5.5")
    results, told = measured("tests.performance.halts", *options)
    assert "halts: 4 of 4" in told
    deals, halts = results["deals"], results["halts"]
    assert set(deals["ended"]) <= {"COMPLETED", "UNWOUND", "DENIED"}
    assert deals["ended"]["COMPLETED"] > 0
    assert deals["under_way"] == 0
    assert {name: each["halts"] for name, each in halts.items()} == {
        "all": 4,
        "HALTED": 2,
        "REDUCING": 2,
    }
    for each in halts.values():
        assert each["p50_seconds"] <= each["p99_seconds"] <= each["max_seconds"]
        assert each["max_seconds"] < each["aim_seconds"]
        assert each["met"]
        assert each["later_than_the_aim"] == []
    assert halts["all"]["exits_while_halted"] > 0
