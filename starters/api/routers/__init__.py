"""The resources, one module each."""

from typing import Final

from fastapi import APIRouter

from starters.api.routers import (
    approvals,
    audit,
    batches,
    chains,
    commands,
    deals,
    delegations,
    dry_runs,
    groups,
    halts,
    identity,
    keys,
    operations,
    policy,
    schedules,
    transactions,
    users,
)

ROUTERS: Final[tuple[APIRouter, ...]] = (
    identity.router,
    deals.router,
    commands.router,
    batches.router,
    approvals.router,
    dry_runs.router,
    halts.router,
    transactions.router,
    chains.router,
    policy.router,
    operations.router,
    keys.router,
    schedules.router,
    users.router,
    groups.router,
    delegations.router,
    audit.router,
)
