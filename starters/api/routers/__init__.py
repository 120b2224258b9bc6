"""The resources, one module each."""

from typing import Final

from fastapi import APIRouter

from starters.api.routers import (
    approvals,
    audit,
    chains,
    commands,
    deals,
    dry_runs,
    halts,
    identity,
    operations,
    policy,
    transactions,
)

ROUTERS: Final[tuple[APIRouter, ...]] = (
    identity.router,
    deals.router,
    commands.router,
    approvals.router,
    dry_runs.router,
    halts.router,
    transactions.router,
    chains.router,
    policy.router,
    operations.router,
    audit.router,
)
