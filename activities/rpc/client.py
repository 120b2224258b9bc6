"""JSON-RPC to one chain: batched, over kept connections, to every endpoint of its profile.

Nothing is sent twice by itself: what is retried, and when, is the engine's decision. That is one
reason for doing without web3's provider, which also opens a new connection for every request.
"""

import asyncio
import json
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import ClientError, ClientSession, ClientTimeout, DummyCookieJar, TCPConnector
from prometheus_client import Counter

from domain.chains import ChainProfile
from domain.errors import Unavailable

REQUESTS: Final = Counter(
    "deal_node_requests", "HTTP requests sent to nodes", ["chain", "endpoint"]
)
CALLS: Final = Counter("deal_node_calls", "JSON-RPC calls sent to nodes", ["chain", "method"])
_TIMEOUT_SECONDS: Final = 10.0
_KEPT_SECONDS: Final = 4.0
"""How long an unused connection is kept: less than servers do, or they would close it meanwhile."""
_CONNECTIONS: Final = 100
"""At most, to one endpoint."""
_HEADERS: Final = {"Content-Type": "application/json"}
_SHOWN: Final = 100


class _Malformed(ValueError):
    """The endpoint answered, but not as JSON-RPC does."""


_TRANSPORT_ERRORS: Final = (ClientError, TimeoutError, OSError, ValueError)
"""What an endpoint's failure looks like; a ValueError is an answer that cannot be read."""


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


class Rpc:
    """All endpoints of one chain. Reads go to the last one that answered, writes to all."""

    def __init__(self, profile: ChainProfile) -> None:
        """Take the endpoints of the profile; connections are made when they are needed."""
        self.chain_id = profile.chain_id
        self._endpoints = tuple(profile.endpoints)
        self._session: ClientSession | None = None
        self._preferred = 0

    async def batch(self, calls: list[RpcCall]) -> list[Any]:
        """Answers in the order of the calls, node errors as `RpcError` values.

        Raises `Unavailable` when no endpoint answers.
        """
        failures: list[str] = []
        for offset in range(len(self._endpoints)):
            index = (self._preferred + offset) % len(self._endpoints)
            try:
                answers = await self._ask(index, calls)
            except _TRANSPORT_ERRORS as error:
                failures.append(f"endpoint {index + 1}: {_failure(error)}")
                continue
            self._preferred = index
            return answers
        raise self._unavailable("no endpoint of chain {} answers", ", ".join(failures))

    async def call(self, method: str, *params: Any) -> Any:  # noqa: ANN401 - JSON of any shape
        """One answer. Raises `Unavailable` if the node answers with an error or not at all."""
        (answer,) = await self.batch([RpcCall(method, params)])
        return self.expect(answer)

    async def everywhere(self, calls: list[RpcCall]) -> list[list[Any]]:
        """The answers of every endpoint that answers; raises `Unavailable` if none does."""
        results = await asyncio.gather(
            *(self._ask(index, calls) for index in range(len(self._endpoints))),
            return_exceptions=True,
        )
        answered = [result for result in results if not isinstance(result, BaseException)]
        failed = [result for result in results if isinstance(result, BaseException)]
        for error in failed:
            if not isinstance(error, _TRANSPORT_ERRORS):
                raise error
        if not answered:
            failures = ", ".join(_failure(error) for error in failed)
            raise self._unavailable("no endpoint of chain {} answers", failures)
        return answered

    def expect(self, answer: Any) -> Any:  # noqa: ANN401 - JSON of any shape
        """The answer itself, or `Unavailable` if it is a node's error."""
        if isinstance(answer, RpcError):
            said = f"{answer.code} {answer.message}"
            raise self._unavailable("the node of chain {} answers with an error", said)
        return answer

    async def close(self) -> None:
        """Close the kept connections."""
        if self._session is not None:
            await self._session.close()

    async def _ask(self, index: int, calls: list[RpcCall]) -> list[Any]:
        REQUESTS.labels(self.chain_id, index + 1).inc()
        for call in calls:
            CALLS.labels(self.chain_id, call.method).inc()
        bodies = [
            {"jsonrpc": "2.0", "id": number, "method": call.method, "params": call.params}
            for number, call in enumerate(calls)
        ]
        if len(bodies) == 1:
            return [_answer(await self._post(index, bodies[0]))]
        responses = _in_order(await self._post(index, bodies), len(bodies))
        return [_answer(response) for response in responses]

    async def _post(self, index: int, body: object) -> Any:  # noqa: ANN401 - JSON of any shape
        """Send one request to one endpoint and return its answer, decoded."""
        data = json.dumps(body, separators=(",", ":")).encode()
        url, session = self._endpoints[index], self._open()
        async with session.post(url, data=data, headers=_HEADERS) as response:
            response.raise_for_status()
            return json.loads(await response.read())

    def _open(self) -> ClientSession:
        """Return the session that all endpoints share, made within the loop that uses it."""
        if self._session is None:
            self._session = ClientSession(
                # No common limit: what hangs at one endpoint must not keep others from another.
                connector=TCPConnector(
                    keepalive_timeout=_KEPT_SECONDS, limit=0, limit_per_host=_CONNECTIONS
                ),
                cookie_jar=DummyCookieJar(),
                timeout=ClientTimeout(total=_TIMEOUT_SECONDS),
            )
        return self._session

    def _unavailable(self, message: str, actual: str) -> Unavailable:
        return Unavailable(
            message.format(self.chain_id),
            field="endpoints",
            value=self.chain_id,
            actual=actual,
            next_action="check the endpoints with `deal config check`",
        )


def _failure(error: BaseException) -> str:
    """What is told of an endpoint's failure; the transport's own words may hold its address."""
    return str(error) if isinstance(error, _Malformed) else type(error).__name__


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
        raise _Malformed(msg)
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
    raise _Malformed(msg)
