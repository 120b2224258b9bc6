"""The measurement of signatures, in its smallest form."""

from __future__ import annotations

import os

import pytest

from tests.performance.signatures import BARE, Figures, Results, measure


async def test_every_provider_that_is_there_is_measured_beside_bare_eth_account() -> None:
    results = await measure(signatures=3)
    measured = {one.name for one in results.figures}
    assert {BARE, "local"} <= measured
    assert len(measured) + len(results.missing) == 4
    assert not (os.environ.get("CI") and results.missing)
    assert all(len(one.seconds) == 3 and min(one.seconds) > 0 for one in results.figures)
    assert all(name in results.table() for name in measured)


def test_the_table_says_rates_percentiles_ratios_and_aims() -> None:
    bare = Figures(BARE, [0.001] * 100)
    slow = Figures("local", [0.0015] * 98 + [0.004] * 2)
    hsm = Figures("pkcs11", [0.003] * 100)
    _, first, second, third, *aims = Results([bare, slow, hsm], ["vault: no"]).table().splitlines()
    assert first.split() == ["bare", "eth_account", "1,000", "1.00", "ms", "1.00", "ms", "1.0"]
    assert second.split()[1:] == ["645", "1.50", "ms", "4.00", "ms", "1.5"]
    assert third.split()[-1] == "3.0"
    assert aims == [
        "aim: local under 2 ms: median met, 99 % missed",
        "aim: pkcs11 under 2 ms: median missed, 99 % missed",
        "vault: no",
    ]
    assert slow.p99_ms == pytest.approx(4.0)
