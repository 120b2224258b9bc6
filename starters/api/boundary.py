"""The outermost layer: what every request and every answer has, whatever is asked for."""

import re
import time
from collections.abc import MutableMapping
from typing import Any, Final
from uuid import uuid4

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from domain.errors import DealError, Forbidden
from starters.api import refusals
from starters.api.network import client_address, is_in
from starters.api.problems import problem_response
from starters.api.settings import ApiSettings

REQUEST_ID: Final = "X-Request-ID"
_REQUEST_ID_FORM: Final = re.compile(r"[A-Za-z0-9._-]{8,64}")
_SECURITY: Final = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Strict-Transport-Security": "max-age=31536000; includeSubDomains",
}
_CLOSED_PAGE: Final = "default-src 'none'; frame-ancestors 'none'"
_log = structlog.get_logger(__name__)


class Boundary:
    """Gives a request its id and its address, keeps strangers out, limits bodies, logs."""

    def __init__(self, app: ASGIApp, settings: ApiSettings) -> None:
        """Stand before the application."""
        self._app = app
        self._allowed = settings.networks("api_allowed_networks")
        self._trusted = settings.networks("api_trusted_proxies")
        self._longest = settings.api_body_bytes
        self._docs = settings.api_docs

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        request_id, began = _request_id(headers), time.monotonic()
        peer = scope["client"][0] if scope.get("client") else None
        address = client_address(peer, headers.getlist("X-Forwarded-For"), self._trusted)
        state: MutableMapping[str, Any] = scope.setdefault("state", {})
        state["request_id"] = request_id
        state["address"] = None if address is None else str(address)
        answer = _Answer(send, request_id, with_page=self._docs)
        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                if self._allowed and (address is None or not is_in(address, self._allowed)):
                    raise _stranger(state["address"])  # noqa: TRY301 - answered as every other
                await self._app(scope, self._limited(headers, receive), answer)
            except DealError as error:
                await answer.fail(error, scope, receive)
            except Exception:  # noqa: BLE001 - a defect is an answer as well, and is logged
                _log.exception("request failed", path=scope["path"])
                await answer.fail(_defect(), scope, receive)
            _log_request(scope, state, answer.status, began)

    def _limited(self, headers: Headers, receive: Receive) -> Receive:
        """Read no more of a body than is allowed, whatever its length is said to be."""
        said = headers.get("Content-Length", "0")
        if said.isdecimal() and int(said) > self._longest:
            raise _too_large(said, self._longest)
        read = 0

        async def limited() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > self._longest:
                raise _too_large(f"more than {self._longest}", self._longest)
            return message

        return limited


class _Answer:
    """Sends what the application answers, with the headers that every answer has."""

    def __init__(self, send: Send, request_id: str, *, with_page: bool) -> None:
        self._send = send
        self._request_id = request_id
        self._with_page = with_page
        self.status = 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers[REQUEST_ID] = self._request_id
            for name, value in _SECURITY.items():
                headers[name] = value
            headers.setdefault("Cache-Control", "no-store")
            if not (self._with_page and headers.get("Content-Type", "").startswith("text/html")):
                headers["Content-Security-Policy"] = _CLOSED_PAGE
        await self._send(message)

    async def fail(self, error: DealError, scope: Scope, receive: Receive) -> None:
        """Tell of an error, unless an answer has begun: then the connection is all that can end."""
        if self.status:
            raise error
        await problem_response(error, self._request_id)(scope, receive, self)


def _request_id(headers: Headers) -> str:
    """The caller's own, if it is one, so that both sides' logs have the same."""
    given = headers.get(REQUEST_ID, "")
    return given if _REQUEST_ID_FORM.fullmatch(given) else uuid4().hex


def _log_request(scope: Scope, state: MutableMapping[str, Any], status: int, began: float) -> None:
    _log.info(
        "request",
        method=scope["method"],
        path=scope["path"],
        status=status,
        milliseconds=round((time.monotonic() - began) * 1000, 1),
        address=state["address"],
        who=state.get("who"),
    )


def _stranger(address: str | None) -> Forbidden:
    return Forbidden(
        "requests from this address are not answered",
        field="address",
        value=address,
        next_action="ask from a network that is allowed, or have it added",
    )


def _too_large(actual: object, longest: int) -> refusals.TooLarge:
    return refusals.TooLarge(
        "the body is too large",
        field="body",
        limit=f"{longest} bytes",
        actual=f"{actual} bytes",
        next_action="send less",
    )


def _defect() -> refusals.Internal:
    return refusals.Internal("a defect", next_action="look into the log")
