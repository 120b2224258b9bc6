"""Logs as JSON lines, metrics for Prometheus, traces by OTLP where a collector is named."""

import logging
import os
import sys

import structlog
from prometheus_client import start_http_server
from temporalio.client import Interceptor as ClientInterceptor
from temporalio.runtime import (
    LogForwardingConfig,
    LoggingConfig,
    Runtime,
    TelemetryConfig,
    TelemetryFilter,
)

from domain.errors import InvalidConfiguration
from workers.runtime.masking import mask_event, mask_tracebacks


def set_up_logging() -> None:
    """One JSON object a line on standard error, for our logs and those of libraries.

    Secrets are masked in all of them, and in the traceback of a process that dies.
    """
    mask_tracebacks()
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        mask_event,
    ]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processor=structlog.processors.JSONRenderer(), foreign_pre_chain=shared
        )
    )
    logging.basicConfig(handlers=[handler], level=logging.INFO, force=True)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


def worker_runtime() -> Runtime:
    """For workers: what the SDK's core has to say goes into the same log."""
    core = LogForwardingConfig(logger=logging.getLogger("temporalio.core"))
    level = TelemetryFilter(core_level="WARN", other_level="ERROR")
    return Runtime(telemetry=TelemetryConfig(logging=LoggingConfig(level, forwarding=core)))


def serve_metrics(address: str | None) -> None:
    """Serve Prometheus metrics on ``host:port``; nothing without an address."""
    if address is None:
        return
    host, _, port = address.rpartition(":")
    try:
        start_http_server(int(port), addr=host)
    except (OSError, OverflowError, ValueError) as error:
        raise InvalidConfiguration(
            "metrics cannot be served there",
            field="DEAL_METRICS_ADDRESS",
            value=address,
            limit="host:port with a free port",
            actual=str(error),
            next_action="choose another port",
        ) from None


def tracing_interceptors(service: str) -> list[ClientInterceptor]:
    """Trace to the collector that ``OTEL_EXPORTER_OTLP_ENDPOINT`` names, if it does."""
    if not os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT"):
        return []
    from workers.runtime.tracing import tracing  # noqa: PLC0415 - a tenth of a worker's start

    return [tracing(service)]
