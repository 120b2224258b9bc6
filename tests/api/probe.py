"""An application of one endpoint that changes something, as often as it is told."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import APIRouter, FastAPI, Query
from pydantic import BaseModel
from starlette.responses import JSONResponse, Response

from domain.identity import Permission
from starters.api.asking import Asking, CommandIdOf, Why
from starters.api.describing import endpoint
from starters.api.entry import Entry
from starters.api.limiting import Rate


class Done(BaseModel):
    times: int


class Probe:
    """Counts what was done; `work` may raise, wait, or kill."""

    def __init__(self) -> None:
        self.times = 0
        self.commands: list[str] = []
        self.work: Callable[[], Awaitable[None]] = self._nothing

    @staticmethod
    async def _nothing() -> None:
        await asyncio.sleep(0)

    def add_to(self, app: FastAPI) -> None:
        router = APIRouter(route_class=Entry)
        for rate in (Rate.READ, Rate.SAFETY, Rate.CHANGE, Rate.LAUNCH):
            self._add(router, rate)
        app.include_router(router, prefix="/probe")

    def _add(self, router: APIRouter, rate: Rate) -> None:
        async def change(
            _: Asking,
            command_id: CommandIdOf,
            why: Why,
            status: Annotated[int, Query()] = 200,
        ) -> Response:
            self.times += 1
            self.commands.append(command_id)
            await self.work()
            return JSONResponse({"times": self.times, "why": why.reason}, status_code=status)

        change.__name__ = f"probe_{rate}"
        endpoint(router, "POST", f"/{rate}", Permission.DEALS_PAUSE, rate, answer=Done, example={})(
            change
        )
