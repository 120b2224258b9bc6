"""Logs, metrics and traces of a process, in processes of their own: all three are global."""

import socket
import urllib.request

import pytest

from domain.errors import InvalidConfiguration
from tests.workers.processes import ended, running, until
from workers.runtime.telemetry import serve_metrics, tracing_interceptors

LOGGING = """
import logging, structlog
from workers.runtime.telemetry import set_up_logging
set_up_logging()
log = structlog.get_logger("ours")
log.info("hello", deal="alpha", number=7)
with structlog.contextvars.bound_contextvars(batch="alpha/swap/1/1"):
    log.warning("careful")
try:
    1 / 0
except ZeroDivisionError:
    log.exception("broken")
logging.getLogger("theirs").warning("from a %s", "library")
logging.getLogger("theirs").debug("not told")
"""
METRICS = """
import time
from workers.runtime.telemetry import serve_metrics
from activities.rpc.meters import REQUESTS
REQUESTS.labels(138, 1).inc()
serve_metrics("127.0.0.1:{port}")
time.sleep(60)
"""
TRACING = """
from opentelemetry import trace
from workers.runtime.telemetry import tracing_interceptors
(interceptor,) = tracing_interceptors("deal-chain")
resource = trace.get_tracer_provider().resource.attributes
print(type(interceptor).__name__, resource["service.name"])
"""


def test_every_log_line_is_one_json_object() -> None:
    with running(LOGGING) as process:
        code, lines = ended(process)
    assert code == 0
    assert [(line["event"], line["level"], line["logger"]) for line in lines] == [
        ("hello", "info", "ours"),
        ("careful", "warning", "ours"),
        ("broken", "error", "ours"),
        ("from a library", "warning", "theirs"),
    ]
    hello, careful, broken, _ = lines
    assert (hello["deal"], hello["number"]) == ("alpha", 7)
    assert careful["batch"] == "alpha/swap/1/1"
    assert "batch" not in hello
    assert "ZeroDivisionError" in broken["exception"]
    assert all(line["timestamp"].endswith("Z") for line in lines)


def test_metrics_are_served_where_they_are_asked_for() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}/metrics"

    def scraped() -> str:
        try:
            with urllib.request.urlopen(url, timeout=5) as reply:
                return str(reply.read().decode())
        except OSError:
            return ""

    with running(METRICS.replace("{port}", str(port))) as process:
        until(scraped, process)
        text = scraped()
    assert 'deal_node_requests_total{chain="138",endpoint="1"} 1.0' in text


@pytest.mark.parametrize("address", ["", "localhost", "localhost:http", "127.0.0.1:99999", ":-1"])
def test_an_address_for_metrics_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(InvalidConfiguration) as caught:
        serve_metrics(address)
    problem = caught.value.problem
    assert (problem.field, problem.value) == ("DEAL_METRICS_ADDRESS", address)


def test_a_port_that_is_taken_is_refused() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(InvalidConfiguration) as caught:
            serve_metrics(f"127.0.0.1:{taken.getsockname()[1]}")
    assert "in use" in (caught.value.problem.actual or "")


def test_without_an_address_no_metrics_are_served() -> None:
    serve_metrics(None)


def test_without_a_collector_nothing_is_traced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)
    assert tracing_interceptors("deal-chain") == []


def test_with_a_collector_calls_are_traced_under_the_services_name() -> None:
    nowhere = "http://127.0.0.1:1"
    with running(TRACING, OTEL_EXPORTER_OTLP_ENDPOINT=nowhere) as process:
        output, _ = process.communicate(timeout=30)
    assert output.split() == ["TracingInterceptor", "deal-chain"]
