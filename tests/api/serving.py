"""The API as it is served: uvicorn, on a port of its own, in a thread of this process."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from fastapi import FastAPI

from starters.api.serving import configuration
from starters.local.processes import wait_until
from tests.workers.test_health import free_port


@contextmanager
def served(app: FastAPI) -> Iterator[str]:
    """Serve until this ends; gives the address."""
    port = free_port()
    server = uvicorn.Server(configuration(app, "127.0.0.1", port))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    assert wait_until(lambda: server.started or not thread.is_alive(), timeout=60)
    assert thread.is_alive()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(60)
