"""The resources, one module each."""

from typing import Final

from fastapi import APIRouter

from starters.api.routers import chains, deals, identity, operations, policy, transactions

ROUTERS: Final[tuple[APIRouter, ...]] = (
    identity.router,
    deals.router,
    transactions.router,
    chains.router,
    policy.router,
    operations.router,
)
