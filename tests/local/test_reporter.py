"""The local chain's price feeds are kept fresh, at the price they have."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from deploy.chain import ensure_state, running_anvil
from starters.local.probes import rpc
from starters.local.reporter import repeat_old_answers
from tests.activities.chain import CHAIN, Node

DAY = 86_400
FEEDS = {"eth_usd_feed", "usdt_usd_feed", "usdtz_usd_feed"}


@pytest.fixture
def node() -> Iterator[Node]:
    state = ensure_state(CHAIN)
    start = ("--load-state", str(state.state_file), "--timestamp", str(state.tip_timestamp + 1))
    with running_anvil(CHAIN, *start) as running:
        yield Node(running.url)


def port_of(node: Node) -> int:
    port = urlsplit(node.url).port
    assert port is not None
    return port


def rounds(node: Node) -> dict[str, Any]:
    return {feed: node.read(feed, "latestRoundData") for feed in FEEDS}


def test_answers_that_have_grown_old_are_repeated_as_of_now(node: Node) -> None:
    node.send("usdtz_usd_feed", "setAnswer", 98_700_000)
    before = rounds(node)
    assert repeat_old_answers(port_of(node)) == []
    rpc(port_of(node), "evm_increaseTime", DAY)  # no block has this time yet
    assert set(repeat_old_answers(port_of(node))) == FEEDS
    now = int(node.block()["timestamp"], 16)
    for feed, (_, answer, _, updated_at, _) in rounds(node).items():
        assert answer == before[feed][1]
        assert 0 <= now - updated_at < 60
    assert repeat_old_answers(port_of(node)) == []
