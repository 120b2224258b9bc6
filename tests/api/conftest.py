"""The API in this process, on a real Postgres; what stands around it is what each test says."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from domain.errors import Unauthenticated
from domain.identity import Caller, Principal, Role, Via
from starters.api.application import create_app
from starters.api.opening import open_services
from starters.api.settings import ApiSettings
from tests.api.probe import Probe
from tests.api.redis import Redis
from tests.support.postgres import Database

Api = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]
NOWHERE = "127.0.0.1:1"
UNLIMITED = {f"api_rate_{name}": "100000/minute" for name in ("read", "safety", "change", "launch")}


class Known:
    """Stands in for authentication: a credential is a name, and these are the people."""

    def __init__(self) -> None:
        self.people: dict[str, Principal] = {}

    def add(self, name: str, *roles: Role, banks: tuple[str, ...] = ("*",)) -> str:
        self.people[name] = Principal(
            principal_id=name, roles=roles, banks=banks, max_deal_usd8=10**17
        )
        return name

    async def __call__(self, credential: str, *, address: str | None, request_id: str) -> Caller:
        if credential not in self.people:
            raise Unauthenticated("nobody has it", next_action="use another")
        return Caller(
            principal=self.people[credential],
            via=Via.API,
            address=address,
            credential=credential,
            request_id=request_id,
        )


def as_(name: str, **headers: str) -> dict[str, str]:
    """Headers of a request of somebody."""
    return {"Authorization": f"Bearer {name}"} | headers


def key(text: str | None = None) -> dict[str, str]:
    """A key for one change."""
    return {"Idempotency-Key": text or str(uuid4())}


def settings(database: Database, **changes: Any) -> ApiSettings:
    fields = {
        "environment": "development",
        "database_url": database.role("deal_reader"),
        "control_database_url": database.role("deal_control"),
    }
    return ApiSettings(**fields | changes)


@pytest.fixture
def known() -> Known:
    people = Known()
    people.add("everybody", *Role)
    people.add("viewer", Role.VIEWER)
    people.add("one", *Role, banks=("bank-one",))
    return people


@pytest.fixture
def probe() -> Probe:
    """What is changed by the endpoints ``/probe/...``."""
    return Probe()


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[Redis]:
    server = Redis(tmp_path)
    yield server
    server.stop()


@pytest.fixture
def api(database: Database, known: Known, probe: Probe, monkeypatch: pytest.MonkeyPatch) -> Api:
    """Run the API for as long as its client is used."""
    monkeypatch.setenv("TEMPORAL_ADDRESS", NOWHERE)
    monkeypatch.setenv("DEAL_CODEC_KEYS", "off")
    monkeypatch.setenv("DEAL_ENVIRONMENT", "development")

    @asynccontextmanager
    async def running(peer: str = "127.0.0.1", **changes: Any) -> AsyncIterator[httpx.AsyncClient]:
        chosen = settings(database, **changes)
        app = create_app(chosen, lambda: open_services(chosen, known))
        probe.add_to(app)
        async with app.router.lifespan_context(app):
            transport = httpx.ASGITransport(app, raise_app_exceptions=False, client=(peer, 1))
            async with httpx.AsyncClient(transport=transport, base_url="http://api") as client:
                yield client

    return running
