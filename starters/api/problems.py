"""Errors as answers: problem+json (RFC 9457), with one table from error to status."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Annotated, Any, Final

from pydantic import BaseModel, Field
from starlette.responses import Response

from domain import errors
from domain.errors import DealError, InvalidInput, Problem
from domain.masking import mask
from starters.api import refusals

MEDIA_TYPE: Final = "application/problem+json"
TYPE_PREFIX: Final = "urn:deal-orchestrator:problem:"
_RETRY_SECONDS: Final = 5
_LONGEST_VALUE: Final = 200

STATUS_OF: Final[Mapping[type[DealError], int]] = {
    DealError: 500,
    errors.InvalidInput: 422,
    errors.InvalidConfiguration: 500,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.NotAllowed: 409,
    errors.Halted: 409,
    errors.Unauthenticated: 401,
    errors.Forbidden: 403,
    errors.PolicyDenied: 403,
    errors.LimitExceeded: 422,
    errors.SizingRefused: 422,
    errors.SigningRefused: 422,
    errors.RedemptionFrozen: 409,
    errors.SimulationFailed: 422,
    errors.NoPrediction: 422,
    errors.TransactionReverted: 409,
    errors.TransactionReplaced: 409,
    errors.PostConditionFailed: 409,
    errors.OutcomeUnknown: 504,
    errors.ApprovalNeeded: 409,
    errors.WaitTimedOut: 504,
    errors.Unavailable: 503,
    errors.Outdated: 412,
    refusals.BadRequest: 400,
    refusals.KeyReused: 422,
    refusals.RequestInProgress: 409,
    refusals.PreconditionRequired: 428,
    refusals.PreconditionFailed: 412,
    refusals.RateLimited: 429,
    refusals.LimitsUnavailable: 503,
    refusals.TooLarge: 413,
    refusals.UnsupportedMedia: 415,
    refusals.MethodNotAllowed: 405,
    refusals.Internal: 500,
}
"""The one table; a class that is not in it has its parent's status."""


def status_of(kind: type[DealError]) -> int:
    """HTTP's status of a kind of error."""
    return next(STATUS_OF[base] for base in kind.__mro__ if base in STATUS_OF)


class ProblemDocument(BaseModel):
    """What went wrong, and what to do (RFC 9457). Facts are text, as they were given."""

    type: Annotated[str, Field(description="Names the kind of problem for programs.")]
    title: Annotated[str, Field(description="The status in words.")]
    status: Annotated[int, Field(ge=400, le=599)]
    detail: Annotated[str, Field(description="One sentence for people.")]
    code: Annotated[str, Field(description="Stable for ever.")]
    next_action: Annotated[str, Field(description="What the reader can do.")]
    request_id: Annotated[str, Field(description="Find it in the log under this.")]
    field: Annotated[str | None, Field(description="What is wrong.")] = None
    value: str | None = None
    limit: str | None = None
    actual: str | None = None
    headroom: str | None = None


def problem_document(error: DealError, request_id: str) -> ProblemDocument:
    """Describe an error; of a defect, and of the process's own settings, nothing is told."""
    status = status_of(type(error))
    problem = error.problem
    if status == HTTPStatus.INTERNAL_SERVER_ERROR:
        problem = _untold()
    return ProblemDocument(
        type=f"{TYPE_PREFIX}{problem.code}",
        title=HTTPStatus(status).phrase,
        status=status,
        detail=_legible(problem.message),
        request_id=request_id,
        **{
            name: _legible(value) if isinstance(value, str) else value
            for name, value in problem.model_dump(exclude={"message"}).items()
        },
    )


def problem_response(
    error: DealError, request_id: str, headers: Mapping[str, str] | None = None
) -> Response:
    """The answer to a request that failed."""
    document = problem_document(error, request_id)
    told = dict(headers or {})
    if document.status == HTTPStatus.UNAUTHORIZED:
        told["WWW-Authenticate"] = 'Bearer realm="deal"'
    if document.status in {503, 504} or document.code == "request_in_progress":
        told.setdefault("Retry-After", str(_RETRY_SECONDS))
    return Response(
        document.model_dump_json(exclude_none=True),
        status_code=document.status,
        headers=told,
        media_type=MEDIA_TYPE,
    )


def invalid_request(findings: Sequence[Mapping[str, Any]]) -> InvalidInput:
    """Turn the first finding of FastAPI's validation into the error that people are shown.

    A parser's own message is kept, what was sent is repeated only where it is short.
    """
    first = findings[0]
    place, *path = (str(part) for part in first["loc"])
    if first["type"] == "json_invalid":
        return refusals.BadRequest(
            "the body is not JSON",
            field="body",
            actual=str(first.get("ctx", {}).get("error", first["msg"])),
            next_action="send one JSON object",
        )
    cause = first.get("ctx", {}).get("error")
    field = ".".join(path) or place
    if isinstance(cause, DealError):
        problem = cause.problem.model_copy(update={"field": field})
        return InvalidInput.from_problem(_short(problem))
    missing = first["type"] == "missing"
    return InvalidInput(
        f"{field} is missing" if missing else f"{field}: {first['msg']}",
        field=field,
        value=None if missing else _told(first.get("input")),
        limit=first["msg"],
        next_action="correct the field and try again",
    )


def _short(problem: Problem) -> Problem:
    return problem.model_copy(update={"code": InvalidInput.code, "value": _told(problem.value)})


def _told(value: object) -> str | None:
    if value is None or isinstance(value, bytes):
        return None
    text = str(value)
    return mask(text) if len(text) <= _LONGEST_VALUE else f"{mask(text[:_LONGEST_VALUE])}..."


def _legible(text: str) -> str:
    """What was sent is told again; half of a surrogate pair cannot be written."""
    return text.encode(errors="replace").decode()


def _untold() -> Problem:
    return Problem(
        code=refusals.Internal.code,
        message="the API could not do this; nothing more is told here",
        next_action="give the request id to whoever runs it: the log has the cause",
    )
