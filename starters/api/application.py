"""The application: all resources under ``/v1``, health beside them."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response

from domain.errors import NotFound
from starters.api import health, refusals
from starters.api.boundary import Boundary
from starters.api.entry import Entry
from starters.api.idempotency import HEADER
from starters.api.problems import ProblemDocument, problem_response
from starters.api.routers import ROUTERS
from starters.api.services import Services
from starters.api.settings import ApiSettings

API_VERSION: Final = "1.0.0"
PREFIX: Final = "/v1"
_DESCRIPTION: Final = """
Launch deals, follow them, and keep them in hand: what the `deal` command does, over HTTP.

**Who asks** sends an API key or a token of the identity provider as `Authorization: Bearer`. Each
endpoint names the permission that it takes (`x-permission`; any: whoever is known). Deals of
other banks are answered as if there were none.

**Errors** are `application/problem+json`: `code` is stable, `next_action` says what to do.

**Every change** takes an `Idempotency-Key`. The same key with the same body gets the same answer
(`Idempotency-Replayed: true`), with another body 422, while the first is under way 409. After no
answer, or 5xx, repeat the request with the same key: its effect happens once.

**Rate limits** are counted for each caller, by the kind of endpoint (`x-rate-limit`), and told in
`RateLimit` and `RateLimit-Policy`; above them comes 429 with `Retry-After`. While requests cannot
be counted, `launch` is refused with 503 and everything else goes on.

**Lists** are pages, newest first: pass `next_cursor` as `cursor` for the next one.

**Age**: what is answered from the records has `source`, `as_of` and `age_seconds`.
"""


def create_app(
    settings: ApiSettings, services: Callable[[], AbstractAsyncContextManager[Services]] | None
) -> FastAPI:
    """Return the application; without `services` only its description can be asked for."""

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        if services is None:
            yield
            return
        async with services() as opened:
            app.state.services = opened
            opened.health.started = True
            yield
            opened.health.stopping = True

    app = FastAPI(
        title="Deal orchestrator",
        version=API_VERSION,
        description=_DESCRIPTION,
        lifespan=life,
        docs_url="/docs" if settings.api_docs else None,
        redoc_url=None,
        openapi_url="/openapi.json" if settings.api_docs else None,
    )
    for router in ROUTERS:
        app.include_router(router, prefix=PREFIX)
    health.add_routes(app)
    app.add_exception_handler(HTTPException, _unknown)
    if settings.api_cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.api_cors_origins,
            allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
            allow_headers=["Authorization", "Content-Type", HEADER, "If-Match", "Last-Event-ID"],
            expose_headers=["ETag", "RateLimit", "RateLimit-Policy", "Retry-After"],
        )
    app.add_middleware(Boundary, settings=settings)
    app.openapi = lambda: _document(app)  # type: ignore[method-assign]
    return app


def document_text() -> str:
    """The API's document as it is committed: JSON, keys in their order, a line at the end."""
    described = create_app(ApiSettings.model_construct(), None).openapi()
    return json.dumps(described, indent=2, ensure_ascii=False) + "\n"


async def _unknown(request: Request, error: Exception) -> Response:
    """Answer for what no endpoint is there for."""
    if isinstance(error, HTTPException) and error.status_code == 405:  # noqa: PLR2004 - HTTP's
        allowed = (error.headers or {}).get("Allow", "")
        refusal = refusals.MethodNotAllowed(
            "this resource does not know this method",
            field="method",
            value=request.method,
            limit=allowed,
            next_action="look it up in the API's document",
        )
        return problem_response(refusal, request.state.request_id, {"Allow": allowed})
    nothing = NotFound(
        "there is no such resource",
        field="path",
        value=request.url.path[:200],
        next_action="look it up in the API's document",
    )
    return problem_response(nothing, request.state.request_id)


def _document(app: FastAPI) -> dict[str, Any]:
    if app.openapi_schema is None:
        made = get_openapi(
            title=app.title,
            version=app.version,
            description=app.description.strip(),
            routes=app.routes,
            separate_input_output_schemas=True,
        )
        _complete(made)
        app.openapi_schema = made
    return app.openapi_schema


def _complete(document: dict[str, Any]) -> None:
    """Add what FastAPI does not know of: credentials, the problem's schema; drop its own 422."""
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    schemas["ProblemDocument"] = ProblemDocument.model_json_schema(mode="serialization")
    components["securitySchemes"] = {
        "bearer": {
            "type": "http",
            "scheme": "bearer",
            "description": "An API key, or a token of the identity provider.",
        }
    }
    examples = {
        route.operation_id: route.endpoint.__dict__["examples"]
        for router in ROUTERS
        for route in router.routes
        if isinstance(route, Entry)
    }
    for path in document["paths"].values():
        for operation in path.values():
            if "x-permission" in operation:
                operation["security"] = [{"bearer": []}]
                if operation["operationId"] in examples:
                    examples[operation["operationId"]].add_to(operation)
