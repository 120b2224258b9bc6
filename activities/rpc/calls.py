"""JSON-RPC itself: calls, a node's own error answers, and how answers are read."""

from dataclasses import dataclass
from typing import Any, Final

_SHOWN: Final = 100


class MalformedAnswer(ValueError):
    """The endpoint answered, but not as JSON-RPC does."""


@dataclass(frozen=True, slots=True)
class RpcError:
    """A node's own error answer to one call."""

    code: int
    message: str
    data: Any = None


@dataclass(frozen=True, slots=True)
class RpcCall:
    """One JSON-RPC call."""

    method: str
    params: tuple[Any, ...] = ()


def body_of(calls: list[RpcCall]) -> object:
    """What is posted for these calls: an object for one, a list for several; ids count from 0."""
    bodies = [
        {"jsonrpc": "2.0", "id": number, "method": call.method, "params": call.params}
        for number, call in enumerate(calls)
    ]
    return bodies[0] if len(bodies) == 1 else bodies


def answers_in(response: Any, count: int) -> list[Any]:  # noqa: ANN401 - JSON of any shape
    """The answers in the order of the calls, node errors as `RpcError` values.

    Raises `MalformedAnswer` unless there is one for each.
    """
    if count == 1:
        return [_answer(response)]
    return [_answer(each) for each in _in_order(response, count)]


def _in_order(responses: Any, count: int) -> list[Any]:  # noqa: ANN401 - JSON of any shape
    """Put the answers to a batch in the order of its calls, whose ids count from 0."""
    try:
        ordered = sorted(responses, key=lambda response: response["id"])
        in_order = [response["id"] for response in ordered] == list(range(count))
    except (KeyError, TypeError):
        ordered, in_order = [], False
    if not in_order:
        # Also how a node refuses a batch as a whole: another endpoint may take it.
        msg = f"not one answer for each call: {str(responses)[:_SHOWN]}"
        raise MalformedAnswer(msg)
    return ordered


def _answer(response: Any) -> Any:  # noqa: ANN401 - JSON of any shape
    if isinstance(response, dict):
        # An object by the standard, but some nodes send plain text, and some null with a result.
        error = response.get("error")
        if isinstance(error, dict):
            message = str(error.get("message") or "")
            return RpcError(error.get("code", 0), message, error.get("data"))
        if error is not None:
            return RpcError(0, str(error))
        if "result" in response:
            return response["result"]
    msg = f"neither a result nor an error: {str(response)[:_SHOWN]}"
    raise MalformedAnswer(msg)
