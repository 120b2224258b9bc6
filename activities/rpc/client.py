"""JSON-RPC to one chain: batched, over kept connections, by the endpoints of its profile.

Nothing is sent twice by itself: what is retried, and when, is the engine's decision. That is one
reason for doing without web3's provider, which also opens a new connection for every request.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from activities.rpc.calls import RpcCall, RpcError
from activities.rpc.endpoint import TRANSPORT_ERRORS, Endpoint, failure_of
from activities.rpc.meters import SUBMISSIONS
from activities.rpc.pool import EndpointPool
from activities.rpc.sending import Sender
from activities.rpc.status import EndpointStatus
from activities.rpc.submission import EndpointAnswer, SendResult, Submission, result_of
from domain.chains import ChainProfile
from domain.errors import Unavailable
from domain.masking import mask

__all__ = ["Questions", "Rpc", "RpcCall", "RpcError"]


class Questions(ABC):
    """What may be asked of a chain by whoever only looks."""

    def __init__(self, profile: ChainProfile) -> None:
        """Take the chain's profile."""
        self.chain_id = profile.chain_id

    @abstractmethod
    async def batch(self, calls: list[RpcCall]) -> list[Any]:
        """The answers in the order of the calls, node errors as `RpcError` values.

        Raises `Unavailable` when nobody answers.
        """

    async def call(self, method: str, *params: Any) -> Any:  # noqa: ANN401 - JSON of any shape
        """One answer. Raises as `batch`, and `Unavailable` if the node answers with an error."""
        (answer,) = await self.batch([RpcCall(method, params)])
        return self.expect(answer)

    def expect(self, answer: Any) -> Any:  # noqa: ANN401 - JSON of any shape
        """The answer itself, or `Unavailable` if it is a node's error."""
        if isinstance(answer, RpcError):
            raise Unavailable(
                f"the node of chain {self.chain_id} answers with an error",
                field="endpoints",
                value=self.chain_id,
                actual=f"{answer.code} {answer.message}",
                next_action="check the endpoints with `deal config check`",
            )
        return answer


class Rpc(Questions):
    """All endpoints of one chain. Reads go to a good one, transactions to all of them."""

    def __init__(self, profile: ChainProfile) -> None:
        """Take the endpoints of the profile; connections are made when they are needed."""
        super().__init__(profile)
        self._pool = EndpointPool(profile)
        self._sender = Sender()

    async def batch(self, calls: list[RpcCall]) -> list[Any]:
        """Answers of one endpoint in the order of the calls, node errors as `RpcError` values.

        Raises `Unavailable` when no endpoint answers, and `InvalidConfiguration` when they all are
        of another chain and none ever was of this one.
        """
        return await self._pool.read(calls)

    async def everywhere(self, calls: list[RpcCall]) -> list[list[Any]]:
        """The answers of every endpoint that answers; raises as `batch` if none does."""
        return await self._pool.read_everywhere(calls)

    async def submit(self, raws: Sequence[str], *, public: bool = False) -> list[Submission]:
        """Send signed transactions, to every endpoint once; one result for each, in their order.

        Where the profile names private endpoints they go to those alone; `public` sends them to the
        others as well, if the profile's policy ever allows that: when it is due is for the caller
        to know (`ChainProfile.goes_public_after`).

        An endpoint that hangs delays nothing once another has answered: the sending goes on in the
        background, and its answers are not among those returned (they are counted, and logged if
        they contradict). Without any answer all results are `UNANSWERED`; nothing is raised,
        because the bytes may be out.
        """
        if not raws:
            return []
        calls = [RpcCall("eth_sendRawTransaction", (raw,)) for raw in raws]
        endpoints = self._pool.senders(public=public)
        return await self._sender.send([self._send(e, calls) for e in endpoints], len(raws))

    def status(self) -> list[EndpointStatus]:
        """How every endpoint stands, as far as is known without asking."""
        return self._pool.status()

    async def close(self) -> None:
        """Close the kept connections, and give up what is still being sent."""
        await self._sender.close()
        await self._pool.close()

    async def _send(self, endpoint: Endpoint, calls: list[RpcCall]) -> list[EndpointAnswer]:
        """One endpoint's answers; also those that come too late to be returned are counted."""
        answers = await self._answers_of(endpoint, calls)
        for answer in answers:
            SUBMISSIONS.labels(self.chain_id, endpoint.meter, answer.result).inc()
        return answers

    async def _answers_of(self, endpoint: Endpoint, calls: list[RpcCall]) -> list[EndpointAnswer]:
        lacking = await self._pool.lacking(endpoint)
        if lacking is None:
            try:
                answers = await endpoint.ask(self._pool.session(), calls)
                return [_answer_of(endpoint, answer) for answer in answers]
            except TRANSPORT_ERRORS as error:
                lacking = failure_of(error)
        silence = EndpointAnswer(endpoint.number, endpoint.label, SendResult.UNANSWERED, lacking)
        return [silence] * len(calls)


def _answer_of(endpoint: Endpoint, answer: Any) -> EndpointAnswer:  # noqa: ANN401 - JSON of any shape
    message = mask(answer.message) if isinstance(answer, RpcError) else None
    return EndpointAnswer(endpoint.number, endpoint.label, result_of(answer), message)
