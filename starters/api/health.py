"""`/live`, `/startup`, `/ready` and `/health` of the API; they take no credential."""

from collections.abc import Awaitable, Callable
from typing import Final

from fastapi import FastAPI
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

_PATHS: Final = {
    "/live": "Whether the process answers. It asks nobody: it is not to be killed for others.",
    "/startup": "Whether the process has started.",
    "/ready": "Whether requests should be sent here: 503 while something needed is away.",
    "/health": "What the process depends on, each with its state and how long it took to answer.",
}
_EXAMPLE: Final = {
    "status": "degraded",
    "process": "api",
    "version": "0.1.0",
    "started": True,
    "stopping": False,
    "dependencies": [
        {
            "name": "redis",
            "needed": False,
            "state": "away",
            "latency_ms": 501.2,
            "checked_at": "2026-11-28T12:00:00+00:00",
            "actual": "ConnectionError",
            "without": "launches are refused",
        }
    ],
}


class DependencyDocument(BaseModel):
    """One thing that the process depends on; `without` says what is not done while it is away."""

    name: str
    needed: bool
    state: str
    latency_ms: float
    checked_at: str
    actual: str | None = None
    without: str | None = None


class HealthDocument(BaseModel):
    """How the process stands."""

    status: str
    process: str
    version: str | None = None
    started: bool | None = None
    stopping: bool | None = None
    dependencies: list[DependencyDocument] | None = None


def add_routes(app: FastAPI) -> None:
    """Add the four."""
    for path, words in _PATHS.items():
        app.add_api_route(
            path,
            _answer_to(path),
            methods=["GET"],
            operation_id=f"health_{path.removeprefix('/')}",
            description=words,
            tags=["health"],
            response_model=None,
            responses={
                number: {
                    "description": meaning,
                    "model": HealthDocument,
                    "content": {"application/json": {"example": _EXAMPLE | {"status": status}}},
                }
                for number, meaning, status in (
                    (200, "Yes; `degraded` without something that is not needed.", "ok"),
                    (503, "No.", "unavailable"),
                )
            },
        )


def _answer_to(path: str) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        status, document = await request.app.state.services.health.answer(path)
        return JSONResponse(document, status_code=status)

    return answer
