"""JSON-RPC to one chain: batched, pooled, over every endpoint of its profile.

web3's provider does the transport. Its own retries are off: they would include
``eth_sendRawTransaction``, and what is retried, and when, is the engine's decision.
"""

import asyncio
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import ClientError, ClientTimeout
from prometheus_client import Counter
from web3 import AsyncHTTPProvider
from web3.types import RPCEndpoint

from domain.chains import ChainProfile
from domain.errors import Unavailable

REQUESTS: Final = Counter(
    "deal_node_requests", "HTTP requests sent to nodes", ["chain", "endpoint"]
)
CALLS: Final = Counter("deal_node_calls", "JSON-RPC calls sent to nodes", ["chain", "method"])
_TIMEOUT_SECONDS: Final = 10.0
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
        """Make a pooled session for each endpoint of the profile."""
        self.chain_id = profile.chain_id
        self._providers = [
            AsyncHTTPProvider(
                url,
                request_kwargs={"timeout": ClientTimeout(total=_TIMEOUT_SECONDS)},
                exception_retry_configuration=None,
            )
            for url in profile.endpoints
        ]
        self._preferred = 0

    async def batch(self, calls: list[RpcCall]) -> list[Any]:
        """Answers in the order of the calls, node errors as `RpcError` values.

        Raises `Unavailable` when no endpoint answers.
        """
        failures: list[str] = []
        for offset in range(len(self._providers)):
            index = (self._preferred + offset) % len(self._providers)
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
            *(self._ask(index, calls) for index in range(len(self._providers))),
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
        """Close the pooled connections."""
        for provider in self._providers:
            await provider.disconnect()

    async def _ask(self, index: int, calls: list[RpcCall]) -> list[Any]:
        REQUESTS.labels(self.chain_id, index + 1).inc()
        for call in calls:
            CALLS.labels(self.chain_id, call.method).inc()
        provider = self._providers[index]
        if len(calls) == 1:
            call = calls[0]
            return [_answer(await provider.make_request(RPCEndpoint(call.method), call.params))]
        try:
            responses = await provider.make_batch_request(
                [(RPCEndpoint(call.method), call.params) for call in calls]
            )
        except (AttributeError, TypeError) as error:
            # web3 puts answers in the order of their ids, and trips over those that have none.
            msg = "the answers cannot be put in order"
            raise _Malformed(msg) from error
        if not isinstance(responses, list) or len(responses) != len(calls):
            # Also how a node refuses a batch as a whole: another endpoint may take it.
            msg = f"not one answer for each call: {str(responses)[:_SHOWN]}"
            raise _Malformed(msg)
        return [_answer(response) for response in responses]

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
