"""One endpoint of a chain: its requests over kept connections."""

import json
from enum import Enum
from typing import Any, Final

from aiohttp import ClientError, ClientSession, ClientTimeout, DummyCookieJar, TCPConnector
from prometheus_client import Counter

from activities.rpc.calls import MalformedAnswer, RpcCall, answers_in, body_of
from domain.identifiers import ChainId

REQUESTS: Final = Counter(
    "deal_node_requests", "HTTP requests sent to nodes", ["chain", "endpoint"]
)
CALLS: Final = Counter("deal_node_calls", "JSON-RPC calls sent to nodes", ["chain", "method"])
_KEPT_SECONDS: Final = 4.0
"""How long an unused connection is kept: less than servers do, or they would close it meanwhile."""
_CONNECTIONS: Final = 100
"""At most, to one endpoint."""
_HEADERS: Final = {"Content-Type": "application/json"}

TRANSPORT_ERRORS: Final = (ClientError, TimeoutError, OSError, ValueError)
"""What an endpoint's failure looks like; a ValueError is an answer that cannot be read."""


class Operation(Enum):
    """What a request is for; the value is how many seconds its answer may take."""

    CHECK = 3.0
    READ = 10.0
    SIMULATE = 30.0
    SEND = 5.0


def operation_of(calls: list[RpcCall]) -> Operation:
    """The most patient kind that one of the calls needs."""
    methods = {call.method for call in calls}
    if "eth_simulateV1" in methods:
        return Operation.SIMULATE
    return Operation.SEND if "eth_sendRawTransaction" in methods else Operation.READ


class Endpoint:
    """One node's JSON-RPC over HTTP."""

    def __init__(self, chain_id: ChainId, number: int, url: str) -> None:
        """Take its address, which is never shown: it may hold a provider's key."""
        self._chain_id = chain_id
        self.number = number
        self.label = f"endpoint {number}"
        self._url = url

    async def ask(self, session: ClientSession, calls: list[RpcCall]) -> list[Any]:
        """Answers in the order of the calls, node errors as `RpcError` values.

        Raises one of `TRANSPORT_ERRORS`.
        """
        REQUESTS.labels(self._chain_id, self.number).inc()
        for call in calls:
            CALLS.labels(self._chain_id, call.method).inc()
        seconds = ClientTimeout(total=operation_of(calls).value)
        data = json.dumps(body_of(calls), separators=(",", ":")).encode()
        async with session.post(
            self._url, data=data, headers=_HEADERS, timeout=seconds
        ) as response:
            response.raise_for_status()
            return answers_in(json.loads(await response.read()), len(calls))


def new_session() -> ClientSession:
    """A session for all endpoints; it belongs to the loop that it is made in."""
    # No common limit: what hangs at one endpoint must not keep others from another.
    connector = TCPConnector(keepalive_timeout=_KEPT_SECONDS, limit=0, limit_per_host=_CONNECTIONS)
    return ClientSession(connector=connector, cookie_jar=DummyCookieJar())


def failure_of(error: BaseException) -> str:
    """What is told of an endpoint's failure; the transport's own words may hold its address."""
    return str(error) if isinstance(error, MalformedAnswer) else type(error).__name__
