"""What only the API refuses; each becomes a problem like every other error."""

from domain.errors import DealError, InvalidInput


class BadRequest(InvalidInput):
    """The request itself cannot be taken, whatever it asks for."""

    code = "bad_request"


class KeyReused(InvalidInput):
    """The idempotency key was used with another body; the first request stands."""

    code = "idempotency_key_reused"


class RequestInProgress(DealError):
    """The same request is being worked on."""

    code = "request_in_progress"
    retryable = True


class PreconditionRequired(InvalidInput):
    """A change of what others may change as well has to say which version it changes."""

    code = "precondition_required"


class PreconditionFailed(DealError):
    """Somebody else has changed it since it was read."""

    code = "precondition_failed"


class RateLimited(DealError):
    """Too many requests; later ones are answered."""

    code = "rate_limited"
    retryable = True


class LimitsUnavailable(DealError):
    """Requests cannot be counted now, and this kind is not let through uncounted."""

    code = "rate_limits_unavailable"
    retryable = True


class TooLarge(DealError):
    """The body of the request is too large."""

    code = "too_large"


class UnsupportedMedia(InvalidInput):
    """The body is not in a form that is read here."""

    code = "unsupported_media_type"


class MethodNotAllowed(DealError):
    """There is such a resource, and it does not know this method."""

    code = "method_not_allowed"


class Internal(DealError):
    """A defect. What it is stands in the log, under the request's id."""

    code = "internal"
