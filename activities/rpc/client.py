"""JSON-RPC to one chain: batched, over kept connections, to every endpoint of its profile.

Nothing is sent twice by itself: what is retried, and when, is the engine's decision. That is one
reason for doing without web3's provider, which also opens a new connection for every request.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

from aiohttp import ClientSession

from activities.rpc.calls import RpcCall, RpcError
from activities.rpc.endpoint import TRANSPORT_ERRORS, Endpoint, failure_of, new_session
from activities.rpc.sending import Sender
from activities.rpc.submission import EndpointAnswer, SendResult, Submission, result_of
from domain.chains import ChainProfile
from domain.errors import Unavailable

__all__ = ["Rpc", "RpcCall", "RpcError"]


class Rpc:
    """All endpoints of one chain. Reads go to the last one that answered, writes to all."""

    def __init__(self, profile: ChainProfile) -> None:
        """Take the endpoints of the profile; connections are made when they are needed."""
        self.chain_id = profile.chain_id
        self._endpoints = [
            Endpoint(profile.chain_id, number, url)
            for number, url in enumerate(profile.endpoints, start=1)
        ]
        self._session: ClientSession | None = None
        self._preferred = 0
        self._sender = Sender()

    async def batch(self, calls: list[RpcCall]) -> list[Any]:
        """Answers in the order of the calls, node errors as `RpcError` values.

        Raises `Unavailable` when no endpoint answers.
        """
        failures: list[str] = []
        for offset in range(len(self._endpoints)):
            index = (self._preferred + offset) % len(self._endpoints)
            try:
                answers = await self._endpoints[index].ask(self._open(), calls)
            except TRANSPORT_ERRORS as error:
                failures.append(f"endpoint {index + 1}: {failure_of(error)}")
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
            *(endpoint.ask(self._open(), calls) for endpoint in self._endpoints),
            return_exceptions=True,
        )
        answered = [result for result in results if not isinstance(result, BaseException)]
        failed = [result for result in results if isinstance(result, BaseException)]
        for error in failed:
            if not isinstance(error, TRANSPORT_ERRORS):
                raise error
        if not answered:
            failures = ", ".join(failure_of(error) for error in failed)
            raise self._unavailable("no endpoint of chain {} answers", failures)
        return answered

    async def submit(self, raws: Sequence[str]) -> list[Submission]:
        """Send signed transactions to every endpoint, once; one result for each, in their order.

        An endpoint that hangs delays nothing once another has answered: the sending goes on in the
        background, and its answers are not among those returned. Without any answer all results
        are `UNANSWERED`; nothing is raised, because the bytes may be out.
        """
        if not raws:
            return []
        sendings = [self._send(endpoint, raws) for endpoint in self._endpoints]
        return await self._sender.send(sendings, len(raws))

    def expect(self, answer: Any) -> Any:  # noqa: ANN401 - JSON of any shape
        """The answer itself, or `Unavailable` if it is a node's error."""
        if isinstance(answer, RpcError):
            said = f"{answer.code} {answer.message}"
            raise self._unavailable("the node of chain {} answers with an error", said)
        return answer

    async def close(self) -> None:
        """Close the kept connections, and give up what is still being sent."""
        await self._sender.close()
        if self._session is not None:
            await self._session.close()

    async def _send(self, endpoint: Endpoint, raws: Sequence[str]) -> list[EndpointAnswer]:
        calls = [RpcCall("eth_sendRawTransaction", (raw,)) for raw in raws]
        try:
            answers = await endpoint.ask(self._open(), calls)
        except TRANSPORT_ERRORS as error:
            answer = EndpointAnswer(
                endpoint.number, endpoint.label, SendResult.UNANSWERED, failure_of(error)
            )
            return [answer] * len(raws)
        return [_answer_of(endpoint, answer) for answer in answers]

    def _open(self) -> ClientSession:
        """Return the session that all endpoints share, made within the loop that uses it."""
        if self._session is None:
            self._session = new_session()
        return self._session

    def _unavailable(self, message: str, actual: str) -> Unavailable:
        return Unavailable(
            message.format(self.chain_id),
            field="endpoints",
            value=self.chain_id,
            actual=actual,
            next_action="check the endpoints with `deal config check`",
        )


def _answer_of(endpoint: Endpoint, answer: Any) -> EndpointAnswer:  # noqa: ANN401 - JSON of any shape
    message = answer.message if isinstance(answer, RpcError) else None
    return EndpointAnswer(endpoint.number, endpoint.label, result_of(answer), message)
