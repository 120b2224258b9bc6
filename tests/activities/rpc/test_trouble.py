"""Small parts of the pool: what errors say about a node, its circuit, and its head."""

import asyncio
from typing import Any

import pytest
from aiohttp import ClientError, ServerDisconnectedError
from hypothesis import given
from hypothesis import strategies as st

from activities.rpc import circuit
from activities.rpc.calls import MalformedAnswer, RpcCall, RpcError
from activities.rpc.circuit import Circuit
from activities.rpc.lag import HeadHint, head_in, reference_head
from activities.rpc.trouble import (
    ErrorKind,
    NodeTrouble,
    RateLimited,
    kind_of,
    pause_from,
    trouble_in,
)


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (RpcError(-32005, "daily request count exceeded, request rate limited"), 1),  # Infura
        (RpcError(-32005, "limit", {"rate": {"backoff_seconds": 30}}), 30),  # Infura
        (RpcError(-32005, "limit", {"rate": {"backoff_seconds": 10**6}}), 60),
        (
            RpcError(429, "Your app has exceeded its compute units per second capacity"),
            1,
        ),  # Alchemy
        (RpcError(-32029, "Too Many Requests"), 1),
        (RpcError(-32000, "rate limit exceeded"), 1),
    ],
)
def test_a_rate_limit_is_told_from_other_errors(error: RpcError, seconds: float) -> None:
    found = trouble_in(["0x1", RpcError(-32603, "internal error"), error])
    assert isinstance(found, RateLimited)
    assert found.seconds == seconds


@pytest.mark.parametrize(
    "error",
    [
        RpcError(-32603, "Internal error"),  # besu
        RpcError(-32000, "header not found"),  # geth
        RpcError(-32000, "missing trie node 1f (path )"),  # geth
        RpcError(-32002, "request timed out"),  # geth
        RpcError(-32008, "Initial sync is still in progress"),  # besu
        RpcError(-32000, "World state unavailable"),  # besu
    ],
)
def test_some_errors_are_the_nodes_own(error: RpcError) -> None:
    assert isinstance(trouble_in([error]), NodeTrouble)


@pytest.mark.parametrize(
    "error",
    [
        RpcError(3, "execution reverted: internal error", "0x08c379a0"),
        RpcError(-32005, "Transaction gas limit exceeds block gas limit"),  # besu
        RpcError(-32005, "Number of requests exceeds max batch size"),  # besu
        RpcError(-32000, "nonce too low"),
        RpcError(-32601, "the method eth_simulateV1 does not exist/is not available"),
        RpcError(-32602, "invalid argument 0"),
    ],
)
def test_an_error_about_the_call_is_no_trouble(error: RpcError) -> None:
    assert trouble_in(["0x1", error]) is None


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("7", 7.0), ("0.5", 0.5), (None, 1.0), ("", 1.0), ("Wed, 21 Oct 2026 07:28:00 GMT", 1.0)],
)
def test_a_server_says_how_long_to_wait(header: str | None, seconds: float) -> None:
    assert pause_from(header) == seconds


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (TimeoutError(), ErrorKind.TIMEOUT),
        (ServerDisconnectedError(), ErrorKind.CONNECTION),
        (ConnectionResetError(), ErrorKind.CONNECTION),
        (MalformedAnswer(), ErrorKind.MALFORMED),
        (ValueError(), ErrorKind.MALFORMED),
        (ClientError(), ErrorKind.MALFORMED),
        (RateLimited(), ErrorKind.RATE_LIMIT),
        (NodeTrouble(), ErrorKind.NODE),
    ],
)
def test_failures_have_a_kind(error: Exception, kind: ErrorKind) -> None:
    assert kind_of(error) is kind


async def test_a_circuit_opens_after_failures_in_a_row_and_is_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(circuit, "_PAUSE_SECONDS", 0.05)
    way = Circuit()
    for _ in range(4):  # no three in a row
        way.failed(TimeoutError())
        way.failed(TimeoutError())
        way.succeeded()
    assert (way.state, way.allows) == ("closed", True)
    for _ in range(3):
        way.failed(TimeoutError())
    assert (way.state, way.allows) == ("open", False)
    way.failed(TimeoutError())  # by one that was still under way
    await asyncio.sleep(0.06)
    assert (way.state, way.allows) == ("half-open", True)
    way.failed(TimeoutError())
    assert way.state == "open"
    await asyncio.sleep(0.06)
    way.succeeded()
    assert way.state == "closed"


def test_an_open_circuit_closes_when_it_was_used_all_the_same() -> None:
    way = Circuit()
    for _ in range(3):
        way.failed(OSError())
    way.succeeded()
    assert way.state == "closed"
    way.failed(OSError())
    assert way.state == "closed"


@pytest.mark.parametrize(
    ("call", "answer", "exact", "at_least"),
    [
        (RpcCall("eth_blockNumber"), "0x10", 16, 16),
        (RpcCall("eth_blockNumber"), "what", None, None),
        (RpcCall("eth_blockNumber"), RpcError(-32000, "no"), None, None),
        (RpcCall("eth_getBlockByNumber", ("latest", False)), {"number": "0x10"}, 16, 16),
        (RpcCall("eth_getBlockByNumber", ("finalized", False)), {"number": "0x10"}, None, None),
        (RpcCall("eth_getBlockByNumber", ("latest", False)), None, None, None),
        (RpcCall("eth_getTransactionReceipt", ("0x",)), {"blockNumber": "0x10"}, None, 16),
        (RpcCall("eth_getTransactionReceipt", ("0x",)), None, None, None),
        (RpcCall("eth_getTransactionReceipt", ("0x",)), {}, None, None),
        (
            RpcCall("eth_feeHistory", ("0x2", "latest", [])),
            {"oldestBlock": "0xf", "baseFeePerGas": ["0x1"] * 3},
            None,
            16,
        ),
        (RpcCall("eth_call", ({}, "latest")), "0x10", None, None),
    ],
)
def test_answers_tell_of_the_head_in_passing(
    call: RpcCall, answer: Any, exact: int | None, at_least: int | None
) -> None:
    assert head_in([call], [answer]) == HeadHint(exact, at_least)


def test_of_several_the_newest_counts() -> None:
    receipt = RpcCall("eth_getTransactionReceipt")
    calls = [RpcCall("eth_blockNumber"), RpcCall("eth_call"), RpcCall("eth_blockNumber"), receipt]
    assert head_in(calls, ["0x1", "0xff", "0x2", {"blockNumber": "0x1"}]) == HeadHint(2, 2)
    assert head_in(calls, ["0x1", "0xff", "0x2", {"blockNumber": "0x3"}]) == HeadHint(2, 3)
    assert head_in([], []) == HeadHint()


@given(st.lists(st.integers(min_value=0, max_value=10**9)), st.integers(1, 100))
def test_the_others_are_measured_by_one_of_the_two_highest_heads(
    heads: list[int], tolerance: int
) -> None:
    found = reference_head(heads, tolerance)
    assert found in sorted(heads)[-2:] if heads else found is None


@pytest.mark.parametrize(
    ("heads", "reference"),
    [([5], 5), ([5, 900], 900), ([5, 6, 900], 6), ([5, 6, 9], 9), ([5, 900, 901], 901)],
)
def test_one_that_is_alone_far_ahead_of_two_is_not_the_measure(
    heads: list[int], reference: int
) -> None:
    assert reference_head(heads, 3) == reference
