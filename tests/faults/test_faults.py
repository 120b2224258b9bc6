"""A fixed part of `make faults`, short enough for every run of the tests."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from tests.faults.__main__ import SEED
from tests.faults.boundaries import ALL, Boundary
from tests.faults.matrix import Matrix, full, subset
from tests.faults.results import Results, spread
from tests.faults.rig import Rig, running_rig
from tests.faults.wrapping import owner_of


@pytest.fixture(scope="module")
async def rig() -> AsyncIterator[Rig]:
    """One for this module; it is broken all the time."""
    async with running_rig() as rig:
        yield rig


async def test_killed_once_in_every_step_and_in_batches_each_intent_happens_once(rig: Rig) -> None:
    plan, results, said = subset(random.Random(SEED)), Results(SEED), list[str]()  # noqa: S311 - chance, not secrets
    async with AsyncExitStack() as stack:
        lanes = [await stack.enter_async_context(rig.lane(f"lane{n}")) for n in range(2)]
        await Matrix(rig, lanes, said.append).run(plan, results)
    assert len(said) == 2
    total = results.total()
    assert results.clean, total.verdict.notes
    assert total.cases == plan.cases
    assert total.verdict.executions == 15 + 12


def test_the_whole_matrix_is_at_least_two_hundred_different_crashes() -> None:
    plan = full(random.Random(SEED))  # noqa: S311 - chance, not secrets
    scenarios = (*plan.deals, *plan.batches, *plan.shared)
    crashes = [crash for scenario in scenarios for crash in scenario.crashes]
    assert plan.cases == len({(c.boundary, c.side, c.about, c.call) for c in crashes}) >= 200
    assert len({crash.case for crash in crashes}) == plan.cases


@pytest.mark.parametrize("boundary", ALL, ids=[boundary.name for boundary in ALL])
def test_every_boundary_is_a_place_in_the_code(boundary: Boundary) -> None:
    for target in filter(None, (boundary.target, boundary.also)):
        owner, name = owner_of(target)
        assert callable(getattr(owner, name))


def test_the_same_seed_is_the_same_matrix() -> None:
    first, again, other = (full(random.Random(seed)) for seed in (1, 1, 2))  # noqa: S311 - as above
    assert first == again
    assert first != other


def test_percentiles_are_values_that_were_measured() -> None:
    assert spread([]) is None
    assert spread([float(n) for n in range(1, 101)]) == {"median": 50.5, "p99": 99.0, "max": 100.0}
    assert spread([3.0, 1.0, 2.0]) == {"median": 2.0, "p99": 3.0, "max": 3.0}
