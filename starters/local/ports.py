"""Loopback ports: the remembered one, the usual one, or any that is free."""

from __future__ import annotations

import os
import random
import socket
from typing import TYPE_CHECKING, Self

from starters.local.cache import cache_dir, try_lock
from starters.local.errors import LocalStackError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

LOOPBACK = "127.0.0.1"

# Below the range that systems hand out to outgoing connections, so that a port which is free now
# is not taken by some client's socket between two starts.
_FREE_RANGE = range(20_000, 32_000)


def is_free(port: int) -> bool:
    """Tell whether a server could listen on this loopback port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do: a port whose last connections are still timing out counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


class PortReservations:
    """Ports this process has chosen and not yet bound, kept from other stacks starting now.

    Two stacks that start side by side would otherwise both find the same port free. Leave the
    context once the servers listen.
    """

    def __init__(self) -> None:
        """Hold no reservation yet."""
        self._folder = cache_dir() / "ports"
        self._held: list[int] = []

    def __enter__(self) -> Self:
        """Begin with no reservation."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give up all reservations."""
        for descriptor in self._held:
            os.close(descriptor)
        self._held.clear()

    def choose(self, usual: int, remembered: int | None = None) -> int:
        """Reserve and return a free port, preferring the remembered one, then the usual one.

        Raises:
            LocalStackError: no port is free.

        """
        for port in _candidates(usual, remembered):
            if self._reserve(port):
                return port
        raise LocalStackError(
            what="No free port was found on loopback",
            why=f"port {usual} and all others that were tried are in use",
            action="End some of the servers that run on this machine and try again.",
        )

    def _reserve(self, port: int) -> bool:
        if not is_free(port):
            return False
        descriptor = try_lock(self._folder / str(port))
        if descriptor is None:
            return False
        if not is_free(port):  # bound by its last holder, who has just let go of it
            os.close(descriptor)
            return False
        self._held.append(descriptor)
        return True


def _candidates(usual: int, remembered: int | None) -> Iterator[int]:
    if remembered is not None:
        yield remembered
    yield usual
    yield from random.sample(_FREE_RANGE, 200)
