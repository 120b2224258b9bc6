"""Making the services of a process from its settings."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

from domain.identity import Caller, Via
from starters.access.authentication import authenticator
from starters.access.people import PeopleReader
from starters.api.connections import Pool, TemporalConnection, open_pool
from starters.api.events import Followers
from starters.api.limiting import RateLimits
from starters.api.services import Authenticate, Services
from starters.api.settings import ApiSettings
from workers.runtime import checks
from workers.runtime.background import beside
from workers.runtime.connect import connect, silent_runtime
from workers.runtime.health import Health
from workers.runtime.process import BUILD_ID

_READING: Final = 32
"""Enough that requests which come together do not wait for each other's connections."""
_CHANGING: Final = 8


@asynccontextmanager
async def open_services(
    settings: ApiSettings, authenticate: Authenticate | None = None
) -> AsyncIterator[Services]:
    """Open what endpoints work with; nothing outside has to be there yet.

    `authenticate` stands in for asking the database whose a credential is.
    """
    async with (
        open_pool(settings.database_url.get_secret_value(), _READING) as reading,
        open_pool(settings.control_database(), _CHANGING) as changing,
    ):
        temporal = TemporalConnection(partial(connect, runtime=silent_runtime()))
        limits = RateLimits(settings)
        followers = Followers(reading.connection, settings.api_followers)
        services = Services(
            settings=settings,
            reading=reading,
            changing=changing,
            temporal=temporal,
            limits=limits,
            health=_health(reading, changing, temporal, limits),
            followers=followers,
            authenticate=authenticate or _by_credential(settings, reading),
        )
        try:
            async with beside(services.requests.forget_old()):
                yield services
        finally:
            await followers.close()


def _by_credential(settings: ApiSettings, reading: Pool) -> Authenticate:
    door = authenticator(settings, PeopleReader(reading.connection))

    async def authenticate(credential: str, *, address: str | None, request_id: str) -> Caller:
        return await door.authenticate(
            credential, via=Via.API, address=address, request_id=request_id
        )

    return authenticate


def _health(
    reading: Pool, changing: Pool, temporal: TemporalConnection, limits: RateLimits
) -> Health:
    """Postgres alone is needed: without Temporal and Redis there is still much to answer."""

    async def ask_temporal() -> None:
        await temporal.client()

    health = Health("api", BUILD_ID)
    health.watch("postgres", checks.database(reading.connection), without="nothing is answered")
    health.watch(
        "postgres-control", checks.database(changing.connection), without="nobody is known"
    )
    health.watch(
        "temporal",
        ask_temporal,
        needed=False,
        without="deals are read from the records; cancel and unwind are queued, the rest refused",
    )
    health.watch("redis", limits.ping, needed=False, without="launches are refused")
    return health
