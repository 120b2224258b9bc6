"""The resources, one module each."""

from typing import Final

from fastapi import APIRouter

from starters.api.routers import (
    audit,
    chains,
    commands,
    deals,
    identity,
    operations,
    policy,
    transactions,
)

ROUTERS: Final[tuple[APIRouter, ...]] = (
    identity.router,
    deals.router,
    commands.router,
    transactions.router,
    chains.router,
    policy.router,
    operations.router,
    audit.router,
)
