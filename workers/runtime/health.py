"""What a process needs and whether it is there: `/live`, `/startup`, `/ready` and `/health`."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

from domain.errors import DealError, InvalidConfiguration
from domain.masking import mask

CHECK_SECONDS: Final = 2.0
"""How long a dependency may take to answer before it counts as away."""
_KEPT_SECONDS: Final = 1.0
"""Many who ask at once, or one who asks all the time, ask the dependencies once."""
_REQUEST_SECONDS: Final = 5.0
_LONGEST_HEAD: Final = 8 * 1024
_LOOPBACK: Final = "127.0.0.1"
_HEALTH_PATHS: Final = ("/live", "/startup", "/ready", "/health")

Check = Callable[[], Awaitable[object]]


class Standing(StrEnum):
    """How a process stands: whole, without something it can do without, or of no use now."""

    OK = "ok"
    DEGRADED = "degraded"
    UNAVAILABLE = "unavailable"


@dataclass(frozen=True)
class Dependency:
    """Something outside. `needed`: the process is not ready without it.

    `check` raises, or does not come back in time, while it is away; `without` says what is not
    done then.
    """

    name: str
    check: Check
    needed: bool
    without: str


@dataclass(frozen=True)
class Seen:
    """What came of asking one dependency; `latency_ms` until it answered or was given up."""

    name: str
    needed: bool
    up: bool
    latency_ms: float
    checked_at: datetime
    actual: str | None
    without: str | None

    def document(self) -> dict[str, Any]:
        """For programs."""
        told = {
            "name": self.name,
            "needed": self.needed,
            "state": "up" if self.up else "away",
            "latency_ms": round(self.latency_ms, 1),
            "checked_at": self.checked_at.isoformat(),
        }
        return told if self.up else told | {"actual": self.actual, "without": self.without}


@dataclass
class Health:
    """One process: whether it has started, whether it stops, and what it depends on."""

    process: str
    version: str
    dependencies: list[Dependency] = field(default_factory=list)
    started: bool = False
    stopping: bool = False
    _seen: tuple[Seen, ...] = ()
    _seen_at: float = float("-inf")
    _asking: asyncio.Lock = field(default_factory=asyncio.Lock)

    def watch(self, name: str, check: Check, *, without: str, needed: bool = True) -> None:
        """Ask this dependency from now on."""
        self.dependencies.append(Dependency(name, check, needed, without))

    async def look(self) -> tuple[Seen, ...]:
        """Ask every dependency at once; an answer is kept for a second."""
        async with self._asking:
            if time.monotonic() - self._seen_at > _KEPT_SECONDS:
                found = await asyncio.gather(*(_ask(each) for each in self.dependencies))
                self._seen, self._seen_at = tuple(found), time.monotonic()
            return self._seen

    def standing(self, seen: Sequence[Seen]) -> Standing:
        """How the process stands, as its dependencies were seen."""
        away = [each for each in seen if not each.up]
        if not self.started or self.stopping or any(each.needed for each in away):
            return Standing.UNAVAILABLE
        return Standing.DEGRADED if away else Standing.OK

    async def answer(self, path: str) -> tuple[int, dict[str, Any]]:
        """Answer one of the four questions: HTTP's status, and a document.

        ``/live`` asks nobody: that it is answered is the answer. A process that waits for
        somebody else is not to be killed for it.
        """
        if path == "/live":
            return 200, {"status": "ok", "process": self.process}
        if path == "/startup":
            state = "started" if self.started else "starting"
            return 200 if self.started else 503, {"status": state, "process": self.process}
        seen = await self.look()
        standing = self.standing(seen)
        document = {
            "status": standing.value,
            "process": self.process,
            "version": self.version,
            "started": self.started,
            "stopping": self.stopping,
            "dependencies": [each.document() for each in seen],
        }
        return 503 if standing is Standing.UNAVAILABLE else 200, document


async def _ask(dependency: Dependency) -> Seen:
    began, actual = time.monotonic(), None
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            await dependency.check()
    except TimeoutError:
        actual = f"no answer within {CHECK_SECONDS:g} s"
    except DealError as error:
        actual = error.problem.actual or error.problem.message
    except Exception as error:  # noqa: BLE001 - whatever a library raises, it is away
        actual = mask(type(error).__name__)
    return Seen(
        name=dependency.name,
        needed=dependency.needed,
        up=actual is None,
        latency_ms=(time.monotonic() - began) * 1000,
        checked_at=datetime.now(UTC),
        actual=actual,
        without=dependency.without,
    )


@asynccontextmanager
async def serving(health: Health, address: str | None) -> AsyncIterator[None]:
    """Answer on ``host:port``, or on loopback if only a port is given; nowhere without an address.

    Answered by the event loop that does the work: a loop that hangs is not alive. Raises
    `InvalidConfiguration`.
    """
    if address is None:
        yield
        return
    host, _, port = address.rpartition(":")

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _answer(health, reader, writer)

    try:
        server = await asyncio.start_server(answer, host or _LOOPBACK, int(port))
    except (OSError, OverflowError, ValueError) as error:
        raise InvalidConfiguration(
            "health cannot be told there",
            field="DEAL_HEALTH_ADDRESS",
            value=address,
            limit="host:port, or a port of loopback, that is free",
            actual=str(error),
            next_action="choose another port",
        ) from None
    async with server:
        yield


async def _answer(
    health: Health, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Answer one request and close; whoever sends nonsense, or nothing, is left without answer."""
    try:
        async with asyncio.timeout(_REQUEST_SECONDS):
            head = await reader.readuntil(b"\r\n\r\n")
            method, target, *_ = head[:_LONGEST_HEAD].split(b"\r\n", 1)[0].decode().split(" ")
            status, document = await _reply(health, method, target.partition("?")[0])
            writer.write(_response(status, document, with_body=method != "HEAD"))
            await writer.drain()
    except (
        TimeoutError,
        OSError,
        ValueError,
        asyncio.IncompleteReadError,
        asyncio.LimitOverrunError,
    ):
        pass
    finally:
        writer.close()


async def _reply(health: Health, method: str, path: str) -> tuple[int, dict[str, Any]]:
    if path not in _HEALTH_PATHS:
        return 404, {"status": "unknown", "paths": list(_HEALTH_PATHS)}
    if method not in {"GET", "HEAD"}:
        return 405, {"status": "unknown", "methods": ["GET", "HEAD"]}
    return await health.answer(path)


def _response(status: int, document: dict[str, Any], *, with_body: bool) -> bytes:
    body = json.dumps(document).encode()
    head = (
        f"HTTP/1.1 {status} {_REASONS[status]}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + (body if with_body else b"")


_REASONS: Final = {
    200: "OK",
    404: "Not Found",
    405: "Method Not Allowed",
    503: "Service Unavailable",
}
