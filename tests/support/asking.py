"""The HTTP API on a stack, as its people use it: real credentials, records, workflows."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx

from starters.api.application import create_app
from starters.api.opening import open_services
from starters.api.settings import ApiSettings
from starters.local.identities import key_file
from starters.local.stack import Stack
from starters.local.state import load_environment
from tests.support.stacks import own_environment


@dataclass(frozen=True)
class Asking:
    """A client whose requests are those of the people of a stack."""

    stack: Stack
    client: httpx.AsyncClient

    async def get(self, who: str, path: str, **query: object) -> httpx.Response:
        """Read something; `query` is what the path does not say itself."""
        parameters: Any = query or None
        return await self.client.get(f"/v1{path}", headers=self._as(who), params=parameters)

    async def post(
        self, who: str, path: str, body: dict[str, Any], key: str | None = None
    ) -> httpx.Response:
        """Change something, under a key of its own unless one is given."""
        headers = self._as(who) | {"Idempotency-Key": key or str(uuid4())}
        return await self.client.post(f"/v1{path}", json=body, headers=headers)

    def _as(self, who: str) -> dict[str, str]:
        text = key_file(who, self.stack.folder).read_text(encoding="utf-8").strip()
        return {"Authorization": f"Bearer {text}"}


@asynccontextmanager
async def asking(stack: Stack) -> AsyncIterator[Asking]:
    """Run the API in this process, by the stack's own environment."""
    with own_environment(load_environment(stack.folder)):
        settings = ApiSettings.load()
        app = create_app(settings, lambda: open_services(settings))
        async with app.router.lifespan_context(app):
            transport = httpx.ASGITransport(app, raise_app_exceptions=False)
            async with httpx.AsyncClient(
                transport=transport, base_url="http://api", timeout=120
            ) as client:
                yield Asking(stack, client)
