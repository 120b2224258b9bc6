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
from web3.types import RPCEndpoint, RPCResponse

from domain.chains import ChainProfile
from domain.errors import Unavailable

REQUESTS: Final = Counter(
    "deal_node_requests", "HTTP requests sent to nodes", ["chain", "endpoint"]
)
CALLS: Final = Counter("deal_node_calls", "JSON-RPC calls sent to nodes", ["chain", "method"])
_TIMEOUT_SECONDS: Final = 10.0
_TRANSPORT_ERRORS: Final = (ClientError, TimeoutError, OSError, ValueError)


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
                failures.append(f"endpoint {index + 1}: {type(error).__name__}")
                continue
            self._preferred = index
            return answers
        raise self._unavailable(", ".join(failures))

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
            raise self._unavailable(", ".join(type(error).__name__ for error in failed))
        return answered

    def expect(self, answer: Any) -> Any:  # noqa: ANN401 - JSON of any shape
        """The answer itself, or `Unavailable` if it is a node's error."""
        if isinstance(answer, RpcError):
            raise self._unavailable(f"{answer.code} {answer.message}")
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
        responses = await provider.make_batch_request(
            [(RPCEndpoint(call.method), call.params) for call in calls]
        )
        if not isinstance(responses, list):
            # A node that refuses the batch as a whole answers with one error for all of it.
            return [_answer(responses)] * len(calls)
        return [_answer(response) for response in responses]

    def _unavailable(self, actual: str) -> Unavailable:
        return Unavailable(
            f"no endpoint of chain {self.chain_id} answers",
            field="endpoints",
            value=self.chain_id,
            actual=actual,
            next_action="check the endpoints with `deal config check`",
        )


def _answer(response: RPCResponse) -> Any:  # noqa: ANN401 - JSON of any shape
    if "error" in response:
        # Typed as an object by web3, but some nodes send plain text.
        error: Any = response["error"]
        if isinstance(error, str):
            return RpcError(0, error)
        return RpcError(error.get("code", 0), error.get("message", ""), error.get("data"))
    return response["result"]
