"""API7 of OWASP's list, from outside: what a caller names, the API never asks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from domain.identity import Role
from tests.api.conftest import UNLIMITED, Api, as_, key
from tests.api.test_document import OURS
from tests.control.people import add_principal
from tests.support.postgres import Database


class Canary:
    """A server that nobody has a reason to ask."""

    def __init__(self) -> None:
        self.asked = 0
        self.url = ""

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[Canary]:
        async def note(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.asked += 1
            writer.close()

        server = await asyncio.start_server(note, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        async with server:
            yield self


def with_address(value: Any, address: str) -> Any:
    """The same document with an address in place of every text."""
    if isinstance(value, dict):
        return {name: with_address(each, address) for name, each in value.items()}
    if isinstance(value, list):
        return [with_address(each, address) for each in value]
    return address if isinstance(value, str) else value


def texts(value: Any) -> list[tuple[Any, str]]:
    """The places of all texts in an object: those of its own, each to be replaced alone."""
    return [(name, each) for name, each in value.items() if isinstance(each, str)]


async def test_no_endpoint_asks_an_address_that_it_is_sent(api: Api, database: Database) -> None:
    """In each text of each body, one by one and all together, in the query and in headers."""
    add_principal(database, "everybody", *Role)
    canary, sent = Canary(), 0
    async with api(api_rate_address="100000/minute", **UNLIMITED) as client, canary.listening():
        port = canary.url.removesuffix("/").rpartition(":")[2]
        for method, path, operation in OURS.values():
            headers = as_("everybody") | {
                "If-Match": '"1-abc"',
                "Host": f"127.0.0.1:{port}",
                "X-Forwarded-Host": canary.url,
                "Origin": canary.url,
                "Referer": canary.url,
            }
            example = {}
            if "requestBody" in operation:
                example = operation["requestBody"]["content"]["application/json"]["example"]
            bodies = [with_address(example, canary.url)]
            bodies += [example | {name: canary.url} for name, _ in texts(example)]
            query = {
                parameter["name"]: canary.url
                for parameter in operation.get("parameters", ())
                if parameter["in"] == "query"
            }
            for body in bodies:
                answer = await client.request(
                    method,
                    path.replace("{deal_id}", "alpha").replace("{chain_id}", "138"),
                    json=body if "requestBody" in operation else None,
                    params=query,
                    headers=headers | key(),
                )
                assert answer.status_code != 500, (path, answer.text)
                sent += 1
        assert canary.asked == 0
        assert sent >= len(OURS)
        _, writer = await asyncio.open_connection("127.0.0.1", int(port))
        writer.close()
        await asyncio.sleep(0.05)
        assert canary.asked == 1  # it would have been noticed


async def test_nothing_is_served_beside_the_document(api: Api) -> None:
    """API9, for the application as it is served: each of its routes is in the document."""
    from fastapi.routing import APIRoute

    from starters.api.application import PREFIX, create_app
    from starters.api.routers import ROUTERS
    from starters.api.settings import ApiSettings
    from tests.api.test_document import DOCUMENT

    app = create_app(ApiSettings(database_url="postgresql://x"), None)
    own = [route for route in app.routes if isinstance(route, APIRoute)]
    assert len(app.routes) == len(own) + len(ROUTERS)
    served = {(method, route.path) for route in own for method in route.methods}
    for router in ROUTERS:
        for route in router.routes:
            assert isinstance(route, APIRoute)
            served |= {(method, f"{PREFIX}{route.path}") for method in route.methods}
    described = {
        (method.upper(), path) for path, methods in DOCUMENT["paths"].items() for method in methods
    }
    assert {(method, path.replace(":path}", "}")) for method, path in served} == described
    async with api() as client:
        for path in DOCUMENT["paths"]:
            assert (await client.request("TRACE", path)).status_code in {404, 405}
