"""Dry runs beside the real deal."""

import pytest

from activities.dryrun.activities import DryRuns
from activities.dryrun.interface import DryRun, DryRunResult
from tests.activities.desk import Desk


class Runner:
    """Runs the desk's deal dry."""

    async def __call__(self, desk: Desk, **fields: object) -> DryRunResult:
        runs = DryRuns(desk.reader, desk.rpc, desk.treasury)
        order = DryRun.model_validate({"request": desk.request, **fields})
        result: DryRunResult = await desk.temporal.run(runs.dry_run, order)
        return result


@pytest.fixture
def dry_run() -> Runner:
    return Runner()
