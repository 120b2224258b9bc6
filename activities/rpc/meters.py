"""Prometheus metrics of the endpoints, labelled by name or number and never by address."""

from collections.abc import Callable
from typing import Final

from prometheus_client import Counter, Gauge, Histogram

from activities.rpc.status import EndpointStatus
from domain.identifiers import ChainId

_LABELS: Final = ["chain", "endpoint"]
REQUESTS: Final = Counter("deal_node_requests", "HTTP requests sent to nodes", _LABELS)
CALLS: Final = Counter("deal_node_calls", "JSON-RPC calls sent to nodes", ["chain", "method"])
ERRORS: Final = Counter(
    "deal_node_errors", "Requests that failed by the node's fault", [*_LABELS, "kind"]
)
LATENCY: Final = Histogram(
    "deal_node_latency_seconds",
    "Time until a node's answer is read",
    [*_LABELS, "operation"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)
SUBMISSIONS: Final = Counter(
    "deal_node_submissions", "Transactions sent, by what a node made of them", [*_LABELS, "result"]
)
_HEALTHY: Final = Gauge("deal_node_healthy", "Whether an endpoint is used: 1 or 0", _LABELS)
_CIRCUIT: Final = Gauge(
    "deal_node_circuit", "Circuit breaker: 0 closed, 1 half-open, 2 open", _LABELS
)
_HEAD: Final = Gauge("deal_node_head", "Newest block that an endpoint told of", _LABELS)
_LAG: Final = Gauge("deal_node_lag_blocks", "Blocks behind the other endpoints", _LABELS)
_STATES: Final = {"closed": 0.0, "half-open": 1.0, "open": 2.0}
_UNKNOWN: Final = float("nan")

Ask = Callable[[], EndpointStatus]


def watch(chain_id: ChainId, label: str, status: Ask) -> None:
    """Have an endpoint's gauges read its status whenever they are collected."""
    names = (chain_id, label)
    _HEALTHY.labels(*names).set_function(lambda: float(status().healthy))
    _CIRCUIT.labels(*names).set_function(lambda: _STATES[status().circuit])
    _HEAD.labels(*names).set_function(lambda: _number(status().head))
    _LAG.labels(*names).set_function(lambda: _number(status().lag))


def _number(value: int | None) -> float:
    return _UNKNOWN if value is None else float(value)
