"""One endpoint of a chain: its requests over kept connections, and how it fares."""

import json
from enum import Enum
from functools import cache
from time import monotonic
from typing import Any, Final

from aiohttp import (
    ClientError,
    ClientResponse,
    ClientSession,
    ClientTimeout,
    DummyCookieJar,
    TCPConnector,
)

from activities.rpc.calls import MalformedAnswer, RpcCall, RpcError, answers_in, body_of
from activities.rpc.circuit import Circuit
from activities.rpc.lag import HeadHint, head_in
from activities.rpc.meters import CALLS, ERRORS, LATENCY, REQUESTS
from activities.rpc.trouble import (
    ErrorKind,
    NodeTrouble,
    RateLimited,
    kind_of,
    pause_from,
    trouble_in,
)
from domain.chains import EndpointProfile
from domain.identifiers import ChainId
from domain.masking import mask

TRANSPORT_ERRORS: Final = (ClientError, TimeoutError, OSError, ValueError)
"""What an endpoint's failure looks like; a ValueError is an answer that cannot be read."""

_KEPT_SECONDS: Final = 4.0
"""How long an unused connection is kept: less than servers do, or they would close it meanwhile."""
_CONNECTIONS: Final = 100
"""At most, to one endpoint."""
_HEADERS: Final = {"Content-Type": "application/json"}
_TOO_MANY_REQUESTS: Final = 429
_UNAVAILABLE: Final = 503
_NEWEST_SHARE: Final = 0.2
"""What the newest request counts for in the average latency."""
_CHECK: Final = [RpcCall("eth_chainId"), RpcCall("eth_blockNumber")]


class Operation(Enum):
    """What a request is for; the value is how many seconds its answer may take."""

    CHECK = 3.0
    READ = 10.0
    SIMULATE = 30.0
    SEND = 5.0


_WITH_OTHERS: Final = 0.3
"""The share of the time that an endpoint is given if there are others to turn to."""


def operation_of(calls: list[RpcCall]) -> Operation:
    """The most patient kind that one of the calls needs."""
    methods = {call.method for call in calls}
    if "eth_simulateV1" in methods:
        return Operation.SIMULATE
    return Operation.SEND if "eth_sendRawTransaction" in methods else Operation.READ


class Endpoint:
    """One node's JSON-RPC over HTTP. Its address is never shown: it may hold a provider's key."""

    def __init__(
        self, chain_id: ChainId, number: int, profile: EndpointProfile, *, private: bool = False
    ) -> None:
        """Take its place in the profile, counted from 1, and what the profile says of it."""
        self.chain_id = chain_id
        self.number = number
        self.label = profile.name or f"endpoint {number}"
        self.weight = profile.weight
        self.private = private
        self.meter = profile.name or str(number)
        self.circuit = Circuit()
        self.checked = False
        """Whether it was asked for its chain since it was last away."""
        self.checked_at = 0.0
        self.chain_id_ok: bool | None = None
        self.other_chain: int | None = None
        """The chain that it is of, if that is another."""
        self.head: int | None = None
        self.head_at = 0.0
        self.latency_seconds: float | None = None
        self.last_error: str | None = None
        self._url = profile.url.get_secret_value()
        self._requests = REQUESTS.labels(chain_id, self.meter)
        self._latencies = {
            operation: LATENCY.labels(chain_id, self.meter, operation.name.lower())
            for operation in Operation
        }
        self._paused_until = 0.0

    @property
    def paused(self) -> bool:
        """Whether it asked to be left alone for a while."""
        return monotonic() < self._paused_until

    @property
    def answers(self) -> bool:
        """Whether there is no reason to expect that it fails."""
        return self.circuit.allows and not self.paused

    async def ask(
        self, session: ClientSession, calls: list[RpcCall], *, others: bool = False
    ) -> list[Any]:
        """Answers in the order of the calls, node errors as `RpcError` values.

        `others`: there are others to ask, so it is not waited for as long. Raises one of
        `TRANSPORT_ERRORS`.
        """
        operation = operation_of(calls)
        seconds = operation.value * (_WITH_OTHERS if others else 1.0)
        answers = await self._measured(session, calls, operation, seconds)
        trouble = trouble_in(answers)
        if trouble is None:
            self._fares_well()
        else:
            self._note(trouble)
        return answers

    async def check(self, session: ClientSession) -> None:
        """Ask for its chain and its head; afterwards `checked`, `chain_id_ok` and `head` tell."""
        try:
            answers = await self._measured(session, _CHECK, Operation.CHECK, Operation.CHECK.value)
            chain, _ = answers
            self._judge_chain(chain)
        except TRANSPORT_ERRORS:
            return
        self.checked, self.checked_at = True, monotonic()
        if self.chain_id_ok is not False and self.circuit.state != "closed":
            # Failures in a row are those of what it is there for: a check does not end the row.
            self._fares_well()

    async def _measured(
        self, session: ClientSession, calls: list[RpcCall], operation: Operation, seconds: float
    ) -> list[Any]:
        self._requests.inc()
        for call in calls:
            CALLS.labels(self.chain_id, call.method).inc()
        began = monotonic()
        try:
            answers = await self._post(session, calls, seconds)
        except TRANSPORT_ERRORS as error:
            self._note(error)
            raise
        self._took(monotonic() - began, operation)
        self._note_head(head_in(calls, answers), began)
        return answers

    async def _post(
        self, session: ClientSession, calls: list[RpcCall], seconds: float
    ) -> list[Any]:
        data = json.dumps(body_of(calls), separators=(",", ":")).encode()
        limit = _limit(seconds)
        async with session.post(self._url, data=data, headers=_HEADERS, timeout=limit) as response:
            _ensure_welcome(response)
            response.raise_for_status()
            return answers_in(json.loads(await response.read()), len(calls))

    def _judge_chain(self, answer: Any) -> None:  # noqa: ANN401 - JSON of any shape
        """Note the chain that it is of. A relay that cannot say so is not asked for anything."""
        if isinstance(answer, RpcError) and self.private:
            return
        actual = _number_in(answer)
        if actual is None:
            error = trouble_in([answer]) or MalformedAnswer(f"no chain id: {str(answer)[:100]}")
            self._note(error)
            raise error
        self.chain_id_ok = actual == self.chain_id
        self.other_chain = None if self.chain_id_ok else actual
        if not self.chain_id_ok:
            ERRORS.labels(self.chain_id, self.meter, ErrorKind.CHAIN_ID).inc()
            self.last_error = f"it is of chain {actual}"

    def _note_head(self, hint: HeadHint, asked_at: float) -> None:
        """Keep the newest block it has, by the answers to the newest request that told."""
        if hint.exact is not None and asked_at >= self.head_at:
            self.head, self.head_at = hint.exact, asked_at
        if hint.at_least is not None and asked_at >= self.head_at:
            self.head = max(hint.at_least, self.head or 0)

    def _fares_well(self) -> None:
        self.circuit.succeeded()
        self.last_error = None

    def _note(self, error: BaseException) -> None:
        """Note a failure that is the endpoint's; what comes back may be another node."""
        ERRORS.labels(self.chain_id, self.meter, kind_of(error)).inc()
        self.last_error = failure_of(error)
        if isinstance(error, RateLimited):
            self._paused_until = monotonic() + error.seconds
            return
        self.circuit.failed(error)
        if not isinstance(error, NodeTrouble):
            self.checked = False

    def _took(self, seconds: float, operation: Operation) -> None:
        self._latencies[operation].observe(seconds)
        before = seconds if self.latency_seconds is None else self.latency_seconds
        self.latency_seconds = before + _NEWEST_SHARE * (seconds - before)


@cache
def _limit(seconds: float) -> ClientTimeout:
    return ClientTimeout(total=seconds)


def new_session() -> ClientSession:
    """A session for all endpoints; it belongs to the loop that it is made in."""
    # No common limit: what hangs at one endpoint must not keep others from another.
    connector = TCPConnector(keepalive_timeout=_KEPT_SECONDS, limit=0, limit_per_host=_CONNECTIONS)
    return ClientSession(connector=connector, cookie_jar=DummyCookieJar())


def failure_of(error: BaseException) -> str:
    """What is told of an endpoint's failure; the transport's own words may hold its address."""
    told = isinstance(error, MalformedAnswer | RateLimited | NodeTrouble)
    return mask(str(error)) if told else type(error).__name__


def _number_in(answer: Any) -> int | None:  # noqa: ANN401 - JSON of any shape
    try:
        return int(answer, 16) if isinstance(answer, str) else None
    except ValueError:
        return None


def _ensure_welcome(response: ClientResponse) -> None:
    """Raise `RateLimited` if the endpoint says when to come back."""
    after = response.headers.get("Retry-After")
    if response.status == _TOO_MANY_REQUESTS or (response.status == _UNAVAILABLE and after):
        raise RateLimited(pause_from(after))
