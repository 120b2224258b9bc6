"""How a request gets to its endpoint: counted, known, allowed, and not for the second time."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final

import structlog
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from domain.errors import DealError, OutcomeUnknown, Unauthenticated, Unavailable
from domain.identity import Caller
from starters.api import idempotency
from starters.api.describing import Terms
from starters.api.documents import Once
from starters.api.idempotency import Given
from starters.api.limiting import Allowance, Exhausted, Rate
from starters.api.problems import invalid_request, problem_response
from starters.api.refusals import BadRequest, Internal, PreconditionRequired, UnsupportedMedia
from starters.api.services import Services

Handler = Callable[[Request], Coroutine[Any, Any, Response]]

_log = structlog.get_logger(__name__)
_KEPT_HEADERS: Final = ("content-type", "etag", "location")
_CHANGED_BELOW: Final = 500
_SAID_LATER: Final = frozenset({401, 408, 429})
"""Statuses that say nothing about the request itself, so that they are not kept."""


class Entry(APIRoute):
    """A route whose endpoint has `Terms`."""

    def get_route_handler(self) -> Handler:
        """Wrap what FastAPI makes of the endpoint."""
        terms: Terms = self.endpoint.__dict__["terms"]
        inner = super().get_route_handler()

        async def handle(request: Request) -> Response:
            return await _enter(request, terms, inner)

        return handle


async def _enter(request: Request, terms: Terms, inner: Handler) -> Response:
    services: Services = request.app.state.services
    spent: Allowance | None = None
    try:
        await services.limits.count(Rate.ADDRESS, request.state.address or "nowhere")
        caller = await _known(request, services)
        terms.admit(caller)
        spent = await services.limits.spend(terms.rate, caller.who)
        response = await _answered(request, terms, caller, inner)
    except DealError as error:
        if isinstance(error, Exhausted):
            spent = error.allowance
        response = _failed(request, error)
        if isinstance(error, Exhausted):
            response.headers["Retry-After"] = str(error.allowance.reset)
    if spent is not None:
        response.headers.update(spent.headers())
    return response


async def _known(request: Request, services: Services) -> Caller:
    """Find out who asks; whoever guesses credentials is soon not listened to any more."""
    address = request.state.address or "nowhere"
    await services.limits.check(Rate.UNAUTHENTICATED, address)
    try:
        caller = await services.authenticate(
            _bearer(request), address=request.state.address, request_id=request.state.request_id
        )
    except Unauthenticated:
        await services.limits.count(Rate.UNAUTHENTICATED, address)
        raise
    request.state.caller = caller
    request.state.who = caller.who
    return caller


def _bearer(request: Request) -> str:
    scheme, _, credential = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer" and credential.strip():
        return credential.strip()
    raise Unauthenticated(
        "a credential is needed",
        field="Authorization",
        limit="Bearer, and an API key or a token of the identity provider",
        next_action="send it with every request",
    )


async def _answered(request: Request, terms: Terms, caller: Caller, inner: Handler) -> Response:
    if terms.if_match and "If-Match" not in request.headers:
        raise PreconditionRequired(
            "If-Match is missing",
            field="If-Match",
            limit="the ETag under which it was read",
            next_action="read it, and change what you have read",
        )
    if not terms.changes:
        return await _timed(request, terms, inner)
    key = idempotency.parse_key(request.headers.get(idempotency.HEADER))
    services: Services = request.app.state.services
    digest = await _digest(request)
    held = await services.requests.claim(caller.who, key, digest)
    if isinstance(held, Given):
        headers = held.headers | {idempotency.REPLAYED: "true"}
        return Response(held.body, status_code=held.status, headers=headers)
    request.state.command_id = held.command_id
    kept = False
    try:
        response = await _timed(request, terms, inner)
        if response.status_code < _CHANGED_BELOW and response.status_code not in _SAID_LATER:
            headers = {n: v for n, v in response.headers.items() if n in _KEPT_HEADERS}
            body = response.again if isinstance(response, Once) else bytes(response.body)
            await services.requests.keep(held, Given(response.status_code, headers, body))
            kept = True
    finally:
        if not kept:
            await asyncio.shield(_let_go(services, held))
    return response


async def _let_go(services: Services, held: idempotency.Held) -> None:
    """Let the request be repeated; if that cannot be written down, it is let go by time."""
    try:
        await services.requests.let_go(held)
    except Unavailable as error:
        _log.warning("a request is held for a while", actual=error.problem.actual)


async def _digest(request: Request) -> str:
    try:
        body = await request.body()
    except ClientDisconnect:
        raise BadRequest(
            "the request was not sent whole", field="body", next_action="send it again"
        ) from None
    kind = request.headers.get("Content-Type", "application/json").partition(";")[0].strip()
    if body and kind.lower() != "application/json":
        raise UnsupportedMedia(
            "the body is not JSON",
            field="Content-Type",
            value=kind[:100],
            limit="application/json",
            next_action="send JSON",
        )
    target = f"{request.url.path}?{request.url.query}"
    return idempotency.digest(request.method, target, body, request.headers.get("If-Match", ""))


async def _timed(request: Request, terms: Terms, inner: Handler) -> Response:
    """Have the endpoint answer in time; what it refuses is its answer."""
    services: Services = request.app.state.services
    limit = None if terms.streams else services.settings.api_request_seconds
    try:
        async with asyncio.timeout(limit):
            return await inner(request)
    except DealError as error:
        return _failed(request, error)
    except RequestValidationError as error:
        return _failed(request, invalid_request(error.errors()))
    except HTTPException as error:  # FastAPI's own, of a body that it cannot read
        wrong = BadRequest(
            "the body cannot be read", field="body", next_action="send one JSON object"
        )
        _log.info("unreadable body", status=error.status_code)
        return _failed(request, wrong)
    except TimeoutError:
        return _failed(request, _late(limit))


def _failed(request: Request, error: DealError) -> Response:
    if error.code in {DealError.code, Internal.code, "invalid_configuration"}:
        _log.error("request failed", **error.problem.model_dump(exclude_none=True))
    return problem_response(error, request.state.request_id)


def _late(limit: float | None) -> DealError:
    return OutcomeUnknown(
        "no answer in time: it is not known what has come of it",
        limit=f"{limit:g} s",
        next_action="repeat the request with the same Idempotency-Key, or look at the deal",
    )
