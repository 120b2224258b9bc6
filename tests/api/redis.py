"""A Redis of a test's own, to be taken away."""

from __future__ import annotations

import subprocess
from pathlib import Path

from starters.local.ports import is_free
from starters.local.processes import wait_until
from starters.local.redis import redis_binary
from tests.workers.test_health import free_port


class Redis:
    """A server of one's own, to be taken away."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._folder = folder
        self.start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        command = (str(redis_binary()), "--port", str(self.port), "--bind", "127.0.0.1")
        self._process = subprocess.Popen(
            (*command, "--save", "", "--dir", str(self._folder)), stdout=subprocess.DEVNULL
        )
        assert wait_until(lambda: not is_free(self.port), timeout=10)

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()
