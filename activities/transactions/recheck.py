"""Looking again at a batch that was signed but not sent yet: would it still do what was promised?

Between simulation and sending a worker may have been away for a while, and the state have moved on.
What would revert, break its bounds, or come out otherwise by more than the deal's tolerance is not
sent; it is given up and prepared anew.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from activities.protocols.drafts import Call
from activities.protocols.reader import ChainReader
from activities.transactions.simulation import Simulator
from activities.transactions.trials import Trial
from domain.amounts import BASIS_POINTS
from domain.chains import ChainProfile
from domain.deals import DealRequest
from domain.errors import LimitExceeded, PostConditionFailed, Problem, SimulationFailed
from domain.limits import MAX_LTV_BPS
from domain.swaps import ensure_ltv
from domain.transactions import Asset, PreparedBatch, added_up, check_bounds

_FRESH_BLOCKS: Final = 2
_NEXT: Final = "the deal gives the batch up and prepares it anew"


def is_due(profile: ChainProfile, batch: PreparedBatch, now: float) -> bool:
    """Whether the batch is so old that it should be looked at again before it is first sent.

    `now` is in Unix seconds of the engine's clock, as `PreparedBatch.prepared_at` is. No-ops do
    nothing, so nothing about them can change.
    """
    age = now - batch.prepared_at
    return not batch.key.fills_gap and age > _FRESH_BLOCKS * profile.block_time_seconds


async def recheck(
    simulator: Simulator, reader: ChainReader, batch: PreparedBatch, request: DealRequest
) -> Problem | None:
    """Simulate the batch's own intents on the newest block; None if it may still be sent.

    Otherwise a `SimulationFailed`, whose `field` names the call that would revert, or the asset
    that would change by something else, or a `LimitExceeded` if a loan would be too large by now.
    Raises `Unavailable`: then nothing is known yet.
    """
    block = await reader.rpc.call("eth_getBlockByNumber", "latest", False)  # noqa: FBT003 - positional
    trial = Trial(
        sender=batch.intents[0].sender,
        calls=tuple(Call(i.to, i.purpose, i.data, i.value) for i in batch.intents),
        account=batch.account,
        module=request.module,
        block_number=int(block["number"], 16),
        timestamp=int(block["timestamp"], 16),
    )
    try:
        simulation = await simulator.simulate(trial)
        check_bounds(simulation.changes, batch.bounds)
    except SimulationFailed as error:
        return error.problem
    except PostConditionFailed as error:
        # Not its own code, which says of a batch that it has been executed.
        facts = {"code": SimulationFailed.code, "next_action": _NEXT}
        return error.problem.model_copy(update=facts)
    drift = _drift(batch, added_up(simulation.changes), request.max_slippage_bps)
    if drift is not None:
        return drift
    return await _too_large(reader, batch, request, simulation.changes)


async def recheck_loan(
    reader: ChainReader, batch: PreparedBatch, request: DealRequest
) -> Problem | None:
    """Hold the loan of a batch that was just simulated against the collateral as it stands now.

    What `recheck` finds besides would be found by the simulation of a moment ago as well, but the
    limit of a loan is looked at whenever bytes go out that were not out before. Raises
    `Unavailable`.
    """
    return await _too_large(reader, batch, request, (batch.simulated_changes,))


async def _too_large(
    reader: ChainReader,
    batch: PreparedBatch,
    request: DealRequest,
    changes: Sequence[Mapping[Asset, int]],
) -> Problem | None:
    """The same amounts may be another loan to value, if the collateral has lost its price."""
    if not any(change.get(Asset.DEBT, 0) > 0 for change in changes):
        return None
    position = await reader.position(request.module, batch.account)
    try:
        ensure_ltv(position, changes, min(request.max_ltv_bps, MAX_LTV_BPS))
    except LimitExceeded as error:
        return error.problem
    return None


def _drift(batch: PreparedBatch, now: dict[Asset, int], tolerance_bps: int) -> Problem | None:
    """Say which asset would change by more or less than it was to, beyond the tolerance."""
    for asset, promised in batch.simulated_changes.items():
        tolerance = abs(promised) * tolerance_bps // BASIS_POINTS
        actual = now.get(asset, 0)
        if abs(actual - promised) > tolerance:
            return SimulationFailed(
                f"the state has moved: the batch would change {asset} by {actual}",
                field=asset,
                value=promised,
                limit=f"{promised - tolerance} to {promised + tolerance}",
                actual=actual,
                next_action=_NEXT,
            ).problem
    return None
