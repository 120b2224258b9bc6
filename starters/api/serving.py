"""Serving the API until SIGTERM or SIGINT, which let what is under way come to its end."""

import asyncio
from functools import partial
from typing import Final

import uvicorn
from fastapi import FastAPI

from domain.errors import InvalidConfiguration
from starters.api.application import create_app
from starters.api.opening import open_services
from starters.api.settings import ApiSettings
from workers.runtime.telemetry import set_up_logging

_MOST_AT_ONCE: Final = 1000
_KEEP_ALIVE_SECONDS: Final = 15
_DRAIN_SECONDS: Final = 30


def serve(settings: ApiSettings) -> None:
    """Serve. Raises `InvalidConfiguration` if it cannot listen where it should."""
    set_up_logging()
    host, port = settings.listens_on()
    server = uvicorn.Server(configuration(application(settings), host, port))
    try:
        asyncio.run(server.serve())
    except SystemExit:  # uvicorn's own way to say that it could not listen; it has logged why
        raise InvalidConfiguration(
            "the API cannot listen there",
            field="DEAL_API_ADDRESS",
            value=settings.api_address,
            limit="an address of this machine with a free port",
            next_action="choose another port",
        ) from None


def application(settings: ApiSettings) -> FastAPI:
    """The application as it is served."""
    return create_app(settings, partial(open_services, settings))


def configuration(app: FastAPI, host: str, port: int) -> uvicorn.Config:
    """How it is served: who asks is found out by the application, and it logs by itself."""
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        proxy_headers=False,
        server_header=False,
        access_log=False,
        log_config=None,
        limit_concurrency=_MOST_AT_ONCE,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=_DRAIN_SECONDS,
    )
