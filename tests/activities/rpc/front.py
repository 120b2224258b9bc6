"""A server in front of a node, or of none, that drops, delays, lies, refuses and counts."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import ClientSession, web

from tests.activities.chain import CHAIN

CHECK = ["eth_chainId", "eth_blockNumber"]
Params = list[Any]
Lie = Callable[[Params, Any], Any]
Answer = Callable[[Any], Awaitable[web.StreamResponse]]


class Fault(dict[str, Any]):
    """An error as a node words it."""


@dataclass
class Front:
    """What it does can be changed at any time; `requests` are the methods of each request."""

    upstream: str | None = None
    url: str = ""
    requests: list[list[str]] = field(default_factory=list)
    params: list[tuple[str, Params]] = field(default_factory=list)
    checks: int = 0
    """How often the pool has asked for chain and head, which are not among the requests."""
    down: bool = False
    """Every connection is dropped before the node hears of it."""
    lose_reply_to: set[str] = field(default_factory=set)
    """The node does what a request with this method asks, but its reply never arrives."""
    lies: dict[str, Lie] = field(default_factory=dict)
    """Given the parameters and the true result of a method (None: an error), the answer instead."""
    honest_to_single_calls: bool = False
    """Lies are only told within a batch."""
    errors: dict[str, dict[str, Any] | str] = field(default_factory=dict)
    """The error that a method is answered with; the node does not hear of it."""
    answer: Answer | None = None
    """Answers instead of everything else, given the decoded body."""
    delay_seconds: float = 0.0
    check_delay_seconds: float = 0.0
    """The delay of the pool's checks, on top of that."""

    def count(self, method: str) -> int:
        """How many calls of the method have arrived."""
        return sum(methods.count(method) for methods in self.requests)

    def sent(self) -> list[str]:
        """The raw transactions that have arrived, in order."""
        return [params[0] for method, params in self.params if method == "eth_sendRawTransaction"]

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one HTTP request."""
        body = json.loads(await request.read())
        calls = body if isinstance(body, list) else [body]
        checked = [call["method"] for call in calls] == CHECK
        if checked:
            self.checks += 1
        else:
            self.requests.append([call["method"] for call in calls])
            self.params.extend((call["method"], call["params"]) for call in calls)
        await asyncio.sleep(self.delay_seconds + checked * self.check_delay_seconds)
        if self.down:
            return self._drop(request)
        if self.answer is not None and not checked:
            return await self.answer(body)
        answers = [await self._ask(call, batched=len(calls) > 1) for call in calls]
        if self.lose_reply_to & {call["method"] for call in calls}:
            return self._drop(request)
        return web.json_response(answers if isinstance(body, list) else answers[0])

    async def _ask(self, call: dict[str, Any], *, batched: bool) -> dict[str, Any]:
        method, params = call["method"], call["params"]
        if method in self.errors:
            return {"jsonrpc": "2.0", "id": call["id"], "error": self.errors[method]}
        if self.upstream is None:
            result = hex(CHAIN) if method == "eth_chainId" else "0x1"
            answer: dict[str, Any] = {"jsonrpc": "2.0", "id": call["id"], "result": result}
        else:
            async with ClientSession() as session, session.post(self.upstream, json=call) as reply:
                answer = await reply.json()
        if method not in self.lies or (self.honest_to_single_calls and not batched):
            return answer
        told = self.lies[method](params, answer.get("result"))
        kind = "error" if isinstance(told, Fault) else "result"
        return {"jsonrpc": "2.0", "id": call["id"], kind: told}

    @staticmethod
    def _drop(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.close()
        return web.Response()


@asynccontextmanager
async def front_of(upstream: str | None = None, **behaviour: Any) -> AsyncIterator[Front]:
    """Serve a front on a free loopback port until the block ends."""
    front = Front(upstream, **behaviour)
    runner = web.ServerRunner(web.Server(front.handle))
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0]
        front.url = f"http://{host}:{port}"
        yield front
    finally:
        await runner.cleanup()


def always(status: int = 200, body: object = None, raw: bytes | None = None) -> Answer:
    """An answer that is the same whatever was asked: a body as JSON, or raw bytes."""

    async def answer(_: Any) -> web.StreamResponse:
        if raw is not None:
            return web.Response(status=status, body=raw)
        return web.json_response(body, status=status)

    return answer
