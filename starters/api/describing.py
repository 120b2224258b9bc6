"""Endpoints, each with what it takes to be let in and how it is described.

What an endpoint is described by is also what it is guarded by: the guard reads the same `Terms`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, TypeVar

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.responses import JSONResponse, Response

from domain import errors
from domain.errors import DealError
from domain.identity import Caller, Permission
from starters.api import refusals
from starters.api.idempotency import HEADER, KEY_FORM
from starters.api.limiting import Rate
from starters.api.problems import MEDIA_TYPE, TYPE_PREFIX, status_of

ANY: Final = "any"
"""In place of a permission: whoever is known."""

F = TypeVar("F", bound=Callable[..., Any])
Failures = tuple[type[DealError], ...]

_ALWAYS: Final[Failures] = (
    errors.Unauthenticated,
    errors.Forbidden,
    errors.InvalidInput,
    refusals.BadRequest,
    refusals.RateLimited,
    errors.Unavailable,
    errors.DealError,
)
_OF_CHANGES: Final[Failures] = (
    refusals.KeyReused,
    refusals.RequestInProgress,
    refusals.TooLarge,
    errors.OutcomeUnknown,
    errors.Conflict,
)
_LIMIT_HEADERS: Final = {
    "RateLimit-Policy": {
        "description": "The limit that counted: quota q in a window of w seconds.",
        "schema": {"type": "string", "examples": ['"read";q=600;w=60']},
    },
    "RateLimit": {
        "description": "What is left of it: r requests, and t seconds until it is whole again.",
        "schema": {"type": "string", "examples": ['"read";r=599;t=60']},
    },
    "X-Request-ID": {
        "description": "Names the request in the log; the caller's own, if he sent one.",
        "schema": {"type": "string"},
    },
}
ETAG: Final = {
    "ETag": {
        "description": "Names this version; send it as `If-Match` with a change.",
        "schema": {"type": "string"},
    }
}
_KEY_PARAMETER: Final = {
    "name": HEADER,
    "in": "header",
    "required": True,
    "description": "A new one for each change; the same one when the request is repeated.",
    "schema": {"type": "string", "pattern": f"^{KEY_FORM}$", "minLength": 16, "maxLength": 128},
    "example": "5f0c1a52-6a67-4b0e-8b53-0c1f5d0d5f6e",
}
_MATCH_PARAMETER: Final = {
    "name": "If-Match",
    "in": "header",
    "required": True,
    "description": "The ETag under which it was read: a change of something newer is refused.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 200},
    "example": '"3"',
}


@dataclass(frozen=True)
class Terms:
    """What an endpoint asks of its caller.

    `permission` is None where anybody who is known is answered; `alternative` does as well, if
    there is one. `if_match`: only with the ETag of what is changed. `streams`: the answer goes on
    until the caller has had enough.
    """

    rate: Rate
    permission: Permission | None
    changes: bool = False
    if_match: bool = False
    streams: bool = False
    alternative: Permission | None = None

    def admit(self, caller: Caller) -> None:
        """Raise `Forbidden` unless the caller may use the endpoint at all."""
        if self.permission is None:
            return
        if self.alternative is None or not caller.may(self.alternative):
            caller.require(self.permission)


_EACH: Final[Mapping[str, Any]] = {
    "text/event-stream": {
        "type": "object",
        "description": "One event.",
        "properties": {
            "id": {"type": "string"},
            "event": {"type": "string"},
            "data": {"type": "string", "contentMediaType": "application/json"},
        },
    },
    "application/x-ndjson": {"type": "object", "description": "One line."},
}
"""What an answer consists of that is no single document."""
_WAITING: Final = {
    "state": "QUEUED",
    "command": "cancel",
    "deal_id": "alpha",
    "command_id": "api-0123456789abcdef0123456789abcdef01234567",
}


@dataclass(frozen=True)
class Examples:
    """What an endpoint's answers and its body look like.

    They are added to the document when it is complete: FastAPI leaves out what is null.
    """

    media_type: str
    statuses: tuple[int, ...]
    answer: Any
    body: Any
    queued: Any

    def add_to(self, operation: dict[str, Any]) -> None:
        """Put them where they belong."""
        for status in self.statuses:
            operation["responses"][str(status)]["content"][self.media_type]["example"] = self.answer
        if self.queued is not None:
            operation["responses"]["202"]["content"][self.media_type]["example"] = self.queued
        if "requestBody" in operation:
            operation["requestBody"]["content"]["application/json"]["example"] = self.body


class _EventStream(Response):
    media_type = "text/event-stream"


class _JsonLines(Response):
    media_type = "application/x-ndjson"


_ResponseOf: Final[Mapping[str, type[Response]]] = {
    "application/json": JSONResponse,
    "text/event-stream": _EventStream,
    "application/x-ndjson": _JsonLines,
}


def endpoint(  # noqa: PLR0913 - what an endpoint is described by
    router: APIRouter,
    method: str,
    path: str,
    permission: Permission | None,
    rate: Rate,
    *,
    answer: type[BaseModel] | None,
    example: Any,  # noqa: ANN401 - any JSON
    status: int = 200,
    queued: type[BaseModel] | None = None,
    failures: Failures = (),
    body_example: Any = None,  # noqa: ANN401 - likewise
    if_match: bool = False,
    media_type: str = "application/json",
    headers: Mapping[str, Any] | None = None,
    alternative: Permission | None = None,
) -> Callable[[F], F]:
    """Add an endpoint. Its operation id is the function's name, its docstring its description.

    `queued` is the answer 202 to what is done later. A POST, PUT, PATCH or DELETE changes
    something, and takes an idempotency key. With `alternative` either permission will do.
    """
    changes = method != "GET"
    streams = media_type == "text/event-stream"
    terms = Terms(rate, permission, changes, if_match, streams, alternative)
    good = {status: "Done."}
    told = _ALWAYS + failures + (_OF_CHANGES if changes else ())
    if rate is Rate.LAUNCH:
        told += (refusals.LimitsUnavailable,)
    if if_match:
        told += (refusals.PreconditionRequired, refusals.PreconditionFailed)
    content: dict[str, Any] = {} if answer else {media_type: {"schema": _EACH[media_type]}}
    shown = dict(_LIMIT_HEADERS) | dict(headers or {})
    responses: dict[int | str, dict[str, Any]] = {
        number: {"description": words, "content": content, "headers": shown}
        | ({"model": answer} if answer else {})
        for number, words in good.items()
    }
    if queued is not None:
        responses[202] = {"description": "It waits, and is done later.", "model": queued}
        responses[202] |= {"content": {}, "headers": shown}
    responses |= _failures(told)
    extra: dict[str, Any] = {
        "x-permission": permission.value if permission else ANY,
        **({"x-permission-or": alternative.value} if alternative else {}),
        "x-rate-limit": rate.value,
        "parameters": [
            *([_KEY_PARAMETER] if changes else []),
            *([_MATCH_PARAMETER] if if_match else []),
        ],
    }

    waiting = None if queued is None else _WAITING

    def add(function: F) -> F:
        function.__dict__["terms"] = terms
        function.__dict__["examples"] = Examples(
            media_type, tuple(good), example, body_example, waiting
        )
        router.add_api_route(
            path,
            function,
            methods=[method],
            operation_id=function.__name__,
            status_code=status,
            response_class=_ResponseOf[media_type],
            response_model=None,
            responses=responses,
            openapi_extra=extra,
        )
        return function

    return add


def _failures(kinds: Failures) -> dict[int | str, dict[str, Any]]:
    """Describe each status once, with the codes that have it and an example of the first."""
    by_status: dict[int, list[type[DealError]]] = {}
    for kind in dict.fromkeys(kinds):
        by_status.setdefault(status_of(kind), []).append(kind)
    return {number: _failure(number, found) for number, found in sorted(by_status.items())}


def _failure(number: int, kinds: list[type[DealError]]) -> dict[str, Any]:
    words = " ".join(f"`{kind.code}`: {(kind.__doc__ or '').splitlines()[0]}" for kind in kinds)
    first = kinds[0]
    example = {
        "type": f"{TYPE_PREFIX}{first.code}",
        "title": HTTPStatus(number).phrase,
        "status": number,
        "code": first.code,
        "detail": (first.__doc__ or "").splitlines()[0].rstrip("."),
        "next_action": "see detail",
        "request_id": "0d9f8a1c2b3e4f5061728394a5b6c7d8",
    }
    headers: dict[str, Any] = {"X-Request-ID": _LIMIT_HEADERS["X-Request-ID"]}
    if number in {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}:
        headers["Retry-After"] = {
            "description": "Seconds after which to try again.",
            "schema": {"type": "string"},
        }
    return {
        "description": words,
        "content": {
            MEDIA_TYPE: {
                "schema": {"$ref": "#/components/schemas/ProblemDocument"},
                "example": example,
            }
        },
        "headers": headers,
    }
